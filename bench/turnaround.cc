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
  const auto status_of = [&stack](const std::string& path,
                                  const char* noun) -> Result<std::string> {
    const nlohmann::json answer = CIRRUS_TRY(stack.value().get(path));
    return (answer.contains(noun) ? answer[noun] : answer).value("status", "");
  };
  // The last task is a small answer; asking for all of them again and again would be measured too.
  const std::string last = build.value()["tasks"][count - 1].value("id", "");
  for (std::string path = "/api/v1/tasks/" + last, noun = "task";;) {
    const Result<std::string> status = status_of(path, noun.c_str());
    if (!status.ok()) return give_up(status.error());
    if (status.value() == "failed" || status.value() == "aborted") {
      return give_up(error(Code::Internal, "the {} ended as {}", noun, status.value()));
    }
    if (status.value() == "completed") {
      if (noun == "build") break;
      path = "/api/v1/builds/" + id;
      noun = "build";
      continue;
    }
    (void)wait_for(StopToken(), std::chrono::milliseconds(20));
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
