// SPDX-License-Identifier: MIT
// Runs one command of a VM tool to its end.
#pragma once

#include <filesystem>
#include <string>

#include "isolation/vm/vm_tool.h"
#include "os/process.h"

namespace cirrus::isolation {

/// What it printed, at most 1 MiB. Errors: NotFound with what to do if the program is not on PATH;
/// Internal with the first line it complained in; DeadlineExceeded; Cancelled, after it was ended.
Result<std::string> run_tool(const Argv& argv, const os::Environment& environment,
                             const StopToken& stop, Monotonic deadline);

/// The first line that says something, of the error output, else of the other.
/// Source: reference worker, VM back-ends.
std::string first_meaningful_line(const std::string& errors, const std::string& output);

}  // namespace cirrus::isolation
