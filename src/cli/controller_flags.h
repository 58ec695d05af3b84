// SPDX-License-Identifier: MIT
// Flags that `controller run` and `standalone` share, and the settings file with the same names.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

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
  std::string public_rpc_endpoint;
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

/// What a settings file says, into `flags`: the keys are the long flags without their dashes.
/// Keys for which `is_given` (the flag, with its dashes) holds are checked and left alone. `file`
/// names the text in errors.
/// Errors: InvalidArgument, `controller.yml:3:5: ...`, for a key that is unknown or written twice
/// and for a value of the wrong kind.
Status read_controller_settings(std::string_view yaml, const std::string& file,
                                const std::function<bool(const std::string& flag)>& is_given,
                                ControllerFlags& flags);

/// `data_dir` is as given, possibly empty.
controller::ControllerOptions controller_options(const ControllerFlags& flags);
/// What the ready file says of a running controller. Source: design 5.
std::map<std::string, std::string> ready_fields(const controller::Controller& controller);

}  // namespace cirrus::cli
