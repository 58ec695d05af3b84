// SPDX-License-Identifier: MIT
// tasks_per_second: trivial tasks (one script `true`, no clone) through one worker, 16 at a time,
// from the submit request to the build's end.
#include <cstring>

#include "base/clock.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

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
  for (;;) {
    const Result<nlohmann::json> state = stack.value().get("/api/v1/builds/" + id);
    if (!state.ok()) return give_up(state.error());
    const nlohmann::json& now =
        state.value().contains("build") ? state.value()["build"] : state.value();
    const std::string status = now.value("status", "");
    if (status == "completed") break;
    if (status == "failed" || status == "aborted") {
      return give_up(error(Code::Internal, "the build ended as {}", status));
    }
    (void)wait_for(StopToken(), std::chrono::milliseconds(50));
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
