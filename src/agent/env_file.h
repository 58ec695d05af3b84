// SPDX-License-Identifier: MIT
// The file named by CIRRUS_ENV: how a step hands variables to later steps.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/expansion.h"

namespace cirrus::agent {

struct EnvFile {
  Variables variables;
  /// One sentence for each line that could not be used, with its number; if there are many of them,
  /// the last sentence says how many more.
  std::vector<std::string> problems;
};

/// Reads `KEY=VALUE` lines, split at the first equals sign; a carriage return at the end is
/// dropped and later lines win. Source: reference agent. Ours: blank lines and lines that start
/// with `#` are skipped, `KEY<<WORD` takes everything up to a line `WORD` as a value of several
/// lines, and a bad line spoils only itself.
EnvFile parse_env_file(std::string_view text);

}  // namespace cirrus::agent
