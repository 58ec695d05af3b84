// SPDX-License-Identifier: MIT
// `cirrus worker doctor`: what on this machine would keep a worker from running tasks well.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "worker/settings.h"

namespace cirrus::cli {

struct Finding {
  enum class Level { Ok, Warn, Fail } level = Level::Ok;
  std::string subject;
  /// What was found and, unless it is fine, what to do.
  std::string text;
};

/// Reaches every upstream once, at most 10 s each.
void examine_upstreams(const worker::Settings& settings, std::vector<Finding>& findings);
/// Disk, clock, limits, cgroups, users and the tools that isolations need.
void examine_machine(const worker::Settings& settings, const std::filesystem::path& data_directory,
                     std::vector<Finding>& findings);
/// One line each on standard output, or all as JSON. Returns the exit code: 1 if anything failed.
int print_findings(const std::vector<Finding>& findings, bool as_json);

}  // namespace cirrus::cli
