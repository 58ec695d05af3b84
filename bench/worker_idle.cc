// SPDX-License-Identifier: MIT
// anonymous, rss, wakeups: what a registered worker costs while its poll is held and nothing runs.
// Context switches are counted over all of its threads.
#include <charconv>
#include <cstring>

#include "base/clock.h"
#include "base/strings.h"
#include "os/files.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

/// The number after `key` in a file of `Key:  number unit` lines.
std::uint64_t number_after(const std::string& text, std::string_view key) {
  for (const std::string& line : split(text, '\n')) {
    if (!line.starts_with(key)) continue;
    const std::string_view rest = trim(std::string_view(line).substr(key.size()));
    std::uint64_t number = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), number);
    return number;
  }
  return 0;
}

std::uint64_t context_switches(const std::string& process) {
  std::uint64_t sum = 0;
  std::error_code failure;
  for (const auto& thread : std::filesystem::directory_iterator(process + "/task", failure)) {
    const std::string status = os::read_file(thread.path() / "status").value_or("");
    sum += number_after(status, "voluntary_ctxt_switches:");
    sum += number_after(status, "nonvoluntary_ctxt_switches:");
  }
  return sum;
}

int run(bool full) {
  const Result<Stack> stack = Stack::start("slot=16");
  if (!stack.ok()) return give_up(stack.error());
  const std::string process = "/proc/" + std::to_string(stack.value().worker_pid());
  // Until what start-up did has settled.
  (void)wait_for(StopToken(), std::chrono::seconds(3));
  const auto span = std::chrono::seconds(full ? 60 : 20);
  const std::uint64_t before = context_switches(process);
  (void)wait_for(StopToken(), span);
  const std::uint64_t after = context_switches(process);
  const Result<std::string> rollup = os::read_file(process + "/smaps_rollup");
  if (!rollup.ok()) return give_up(rollup.error());
  print_figure("anonymous", static_cast<double>(number_after(rollup.value(), "Anonymous:")), "KiB",
               1);
  print_figure("rss", static_cast<double>(number_after(rollup.value(), "Rss:")), "KiB", 1);
  print_figure("wakeups", static_cast<double>(after - before) / static_cast<double>(span.count()),
               "1/s", static_cast<std::size_t>(after - before));
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  return cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
}
