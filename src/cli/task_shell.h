// SPDX-License-Identifier: MIT
// `cirrus task shell`: this terminal inside a running task.
#pragma once

#include <string>

#include "cli/api_client.h"

namespace cirrus::cli {

/// Opens a shell and stays until it ends. Without a terminal on standard input it copies what is
/// there, says end-of-file after it and prints what comes back. The exit status of the command.
int open_task_shell(const ApiClient& api, const std::string& task);

}  // namespace cirrus::cli
