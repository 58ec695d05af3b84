// SPDX-License-Identifier: MIT
// logs: megabytes a second that a script writes and that are stored by the controller, masked, from
// the start of the script to the report of its end (which follows its last byte). logs_to_file: the
// same script writing to a file, in the same run. logs_worker_rss: the worker's peak memory.
#include <cstring>
#include <fstream>

#include "base/clock.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

/// The producer is not the bottleneck: lines of a hundred bytes, from memory.
std::string writer(std::size_t megabytes) {
  return "(yes 'the quick brown fox jumps over the lazy dog, again and again and again, until the "
         "log is full enough' || true) | head -c " +
         std::to_string(megabytes * 1'000'000);
}

std::string config(const std::string& script) {
  return "task:\n  name: t\n  persistent_worker:\n    isolation:\n      none: {}\n"
         "  env:\n    MY_TOKEN: 0123456789abcdef0123\n    OTHER_PASSWORD: quick-brown-secret\n"
         "  script: " +
         nlohmann::json(script).dump() + "\n";
}

double peak_megabytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1000;
  }
  return 0;
}

Result<double> seconds_of(const Stack& stack, const std::string& script) {
  const Monotonic begun = system_clock().now();
  CIRRUS_TRY(stack.run_task(config(script)));
  return std::chrono::duration<double>(system_clock().now() - begun).count();
}

int run(bool full) {
  const Result<Stack> stack = Stack::start("slot=4");
  if (!stack.ok()) return give_up(stack.error());
  const std::size_t megabytes = full ? 4000 : 800;
  const Result<double> empty = seconds_of(stack.value(), "true");
  if (!empty.ok()) return give_up(empty.error());
  const Result<double> took = seconds_of(stack.value(), writer(megabytes));
  if (!took.ok()) return give_up(took.error());
  const Result<double> plain =
      time_shell(writer(megabytes) + " > " + (stack.value().scratch() / "plain").string());
  if (!plain.ok()) return give_up(plain.error());
  const double size = static_cast<double>(megabytes);
  print_figure("logs", size / (took.value() - empty.value()), "MB/s", megabytes);
  print_figure("logs_to_file", size / plain.value(), "MB/s", megabytes);
  print_figure("logs_worker_rss", peak_megabytes(stack.value().worker_pid()), "MB", 1);
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  return cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
}
