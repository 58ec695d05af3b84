// SPDX-License-Identifier: MIT
// One function per untrusted input. The fuzzer and the test that replays the seeds both call them.
#pragma once

#include <string_view>

namespace cirrus::fuzz {

/// Any text as YAML, then as a tree of the language with merges and matrices.
void run_yaml(std::string_view input);
/// Any text as a condition, a path pattern and a command line.
void run_condition(std::string_view input);
/// The first line is the text to expand, each further `NAME=value` line a variable.
void run_expand(std::string_view input);
/// Any text as a whole configuration, all kinds known, and its report.
void run_config(std::string_view input);

}  // namespace cirrus::fuzz
