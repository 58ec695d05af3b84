// SPDX-License-Identifier: MIT
// Flags that `controller run` and `standalone` share.
#pragma once

#include <map>
#include <string>

#include "controller/controller.h"

namespace CLI {
class App;
}

namespace cirrus::cli {

struct ControllerFlags {
  std::string data_directory;
  std::string rpc_address = "127.0.0.1:7470";
  std::string http_address = "127.0.0.1:7480";
  std::string public_http_url;
  std::string ready_file;
  bool allow_cleartext = false;
};

void add_controller_flags(CLI::App& command, ControllerFlags& flags);
/// `data_dir` is as given, possibly empty.
controller::ControllerOptions controller_options(const ControllerFlags& flags);
/// What the ready file says of a running controller. Source: design 5.
std::map<std::string, std::string> ready_fields(const controller::Controller& controller);

}  // namespace cirrus::cli
