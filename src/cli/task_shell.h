// SPDX-License-Identifier: MIT
// `cirrus task shell`: this terminal inside a running task.
#pragma once

#include <chrono>
#include <string>

#include "cli/api_client.h"

namespace cirrus::cli {

/// Opens a shell and stays until it ends. Without a terminal on standard input it copies what is
/// there, says end-of-file after it and prints what comes back, until the shell ends or has been
/// silent for `patience`: then it hangs up and says so. The exit status of the command.
int open_task_shell(const ApiClient& api, const std::string& task, std::chrono::seconds patience);

}  // namespace cirrus::cli
