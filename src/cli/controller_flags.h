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
  std::string tls_certificate;
  std::string tls_key;
  bool allow_cleartext = false;
  int keep_logs_days = 90;
  int keep_artifacts_days = 90;
  int keep_builds_days = 365;
  int most_builds = 0;
  int least_free_megabytes = 1024;
  int uploads_least_free_megabytes = 512;
};

void add_controller_flags(CLI::App& command, ControllerFlags& flags);
/// `data_dir` is as given, possibly empty.
controller::ControllerOptions controller_options(const ControllerFlags& flags);
/// What the ready file says of a running controller. Source: design 5.
std::map<std::string, std::string> ready_fields(const controller::Controller& controller);

}  // namespace cirrus::cli
