// SPDX-License-Identifier: MIT
// tasks_per_second: trivial tasks (one script `true`, no clone) through one worker, 16 at a time,
// from the submit request to the build's end.
#include <cstring>

#include "base/clock.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

Status wait_completed(const Stack& stack, const char* noun, const std::string& path) {
  for (;;) {
    const nlohmann::json answer = CIRRUS_TRY(stack.get(path));
    const std::string status = (answer.contains(noun) ? answer[noun] : answer).value("status", "");
    if (status == "completed") return {};
    if (status == "failed" || status == "aborted") {
      return error(Code::Internal, "the {} ended as {}", noun, status);
    }
    (void)wait_for(StopToken(), std::chrono::milliseconds(20));
  }
}

int run(bool full) {
  const Result<Stack> stack = Stack::start("slot=16");
  if (!stack.ok()) return give_up(stack.error());
  const std::size_t count = full ? 2000 : 400;
  std::string config =
      "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    slot: 1\n";
  for (std::size_t i = 0; i < count; ++i) {
    config += fmt::format("task:\n  name: t{}\n  script: 'true'\n", i);
  }
  const Monotonic start = system_clock().now();
  const Result<nlohmann::json> build = stack.value().submit(config);
  if (!build.ok()) return give_up(build.error());
  const std::string id = build.value().value("id", "");
  // The last task is a small answer; asking for all of them again and again would be measured too.
  const std::string last = build.value()["tasks"][count - 1].value("id", "");
  for (const auto& [noun, path] :
       {std::pair("task", "/api/v1/tasks/" + last), std::pair("build", "/api/v1/builds/" + id)}) {
    const Status completed = wait_completed(stack.value(), noun, path);
    if (!completed.ok()) return give_up(completed.error());
  }
  const double seconds = std::chrono::duration<double>(system_clock().now() - start).count();
  print_figure("tasks_per_second", static_cast<double>(count) / seconds, "1/s", count);
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  return cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
}
