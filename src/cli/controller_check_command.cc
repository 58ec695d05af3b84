// SPDX-License-Identifier: MIT
// `cirrus controller check`: the whole store, however large.
#include <cstdio>

#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "controller/blobs/paths.h"
#include "controller/store/sqlite_store.h"
#include "os/host.h"

namespace cirrus::cli {

namespace {

int check(const std::string& data_directory) {
  const std::filesystem::path data = data_directory.empty()
                                         ? os::default_state_directory() / "controller"
                                         : std::filesystem::path(data_directory);
  const std::filesystem::path path = controller::blobs::Paths(data).database();
  const Status sound = controller::store::check_sqlite_store(path);
  if (!sound.ok()) {
    complain(sound.error().to_string());
    return kFailed;
  }
  std::printf("%s is sound\n", path.c_str());
  return kOk;
}

}  // namespace

void add_controller_check_command(CLI::App& controller, Invocation& invocation) {
  static std::string data_directory;
  CLI::App* const command =
      controller.add_subcommand("check", "Look through a whole store for damage, also in use");
  command->add_option("--data-dir", data_directory, "where state is kept")
      ->envname("CIRRUS_CONTROLLER_DATA_DIR")
      ->type_name("DIR");
  command->footer("Example:\n  cirrus controller check --data-dir /var/lib/cirrus/controller\n");
  command->callback([&invocation] { invocation.run = [] { return check(data_directory); }; });
}

}  // namespace cirrus::cli
