// SPDX-License-Identifier: MIT
// artifacts: small files a second from the step's start to its end, when all are stored;
// artifacts_large: megabytes a second of one large file. artifacts_copy: small files a second by
// `cp -r` of the same tree in the same run.
#include <cstring>

#include "stack.h"

namespace cirrus::bench {
namespace {

std::string config(const std::string& script, const std::string& paths) {
  return "task:\n  name: t\n  persistent_worker:\n    isolation:\n      none: {}\n  script: " +
         nlohmann::json(script).dump() +
         "\n  out_artifacts:\n    path: " + nlohmann::json(paths).dump() + "\n";
}

int run(bool full) {
  const Result<Stack> stack = Stack::start("slot=4");
  if (!stack.ok()) return give_up(stack.error());
  const std::size_t files = full ? 100'000 : 10'000;
  const std::string make = "mkdir -p out; i=0; while [ $i -lt " + std::to_string(files) +
                           " ]; do echo \"content of file $i\" > out/$i; i=$((i+1)); done";
  const auto small = stack.value().run_task(config(make, "out/**"));
  if (!small.ok()) return give_up(small.error());
  const double count = static_cast<double>(files);
  print_figure("artifacts", count / step_seconds(small.value(), "out"), "files/s", files);
  const std::string root = stack.value().scratch().string();
  const Result<double> made = time_shell("cd " + root + "; " + make);
  if (!made.ok()) return give_up(made.error());
  const Result<double> copied = time_shell("cp -r " + root + "/out " + root + "/copy; sync");
  if (!copied.ok()) return give_up(copied.error());
  print_figure("artifacts_copy", count / copied.value(), "files/s", files);
  const std::size_t megabytes = 400;
  const auto large = stack.value().run_task(
      config("head -c " + std::to_string(megabytes * 1'000'000) + " /dev/urandom > big", "big"));
  if (!large.ok()) return give_up(large.error());
  print_figure("artifacts_large",
               static_cast<double>(megabytes) / step_seconds(large.value(), "out"), "MB/s",
               megabytes);
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  return cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
}
