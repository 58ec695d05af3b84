// SPDX-License-Identifier: MIT
// As targets.h, for what the agent reads from tasks.
#pragma once

#include <string_view>

namespace cirrus::fuzz {

/// The first byte says how large the pieces are the text comes in, the rest of the first line
/// holds the secrets (between spaces), what follows is the text; compared with the plain rule.
void run_masker(std::string_view input);
/// Any text as a CIRRUS_ENV file, and each of its lines as a command line and a clone address.
void run_env_file(std::string_view input);

/// Unpacks the input as an archive; nothing may be written outside of the directory.
void run_archive(std::string_view input);
/// Reads the input as a report; its first byte says of which format.
void run_report(std::string_view input);

}  // namespace cirrus::fuzz
