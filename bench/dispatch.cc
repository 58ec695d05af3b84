// SPDX-License-Identifier: MIT
// dispatch_p50, dispatch_p99: from submitting a task to its first output byte being durable in the
// controller and seen by a reader there. The start is taken before the request is sent, so the
// figures include HTTP and the evaluation of the configuration: an upper bound.
#include <cstring>

#include "base/clock.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

constexpr char kConfig[] =
    "task:\n  name: dispatch\n  persistent_worker:\n    isolation:\n      none: {}\n"
    "  script: echo first\n";

Result<double> one(const Stack& stack) {
  const Monotonic start = system_clock().now();
  const nlohmann::json build = CIRRUS_TRY(stack.submit(kConfig));
  const std::string task = build["tasks"][0].value("id", "");
  double millis = 0;
  CIRRUS_TRY(stack.events(
      "/api/v1/tasks/" + task + "/logs/main?follow=1", [&](const net::EventParser::Event& event) {
        if (event.name == "log" && millis == 0) {
          millis = std::chrono::duration<double, std::milli>(system_clock().now() - start).count();
        }
        return event.name != "end";
      }));
  if (millis == 0) return error(Code::Internal, "task {} printed nothing", task);
  // The worker must be idle, its next poll held and its next agent ready.
  CIRRUS_TRY(
      stack.events("/api/v1/builds/" + build.value("id", "") + "/events",
                   [](const net::EventParser::Event& event) { return event.name != "end"; }));
  (void)wait_for(StopToken(), std::chrono::milliseconds(40));
  return millis;
}

int run(bool full) {
  const Result<Stack> stack = Stack::start("slot=16");
  if (!stack.ok()) return give_up(stack.error());
  const std::size_t count = full ? 1000 : 200;
  std::vector<double> samples;
  for (std::size_t i = 0; i < count + 10; ++i) {
    const Result<double> sample = one(stack.value());
    if (!sample.ok()) return give_up(sample.error());
    if (i >= 10) samples.push_back(sample.value());  // the first ten warm everything up
  }
  print_figure("dispatch_p50", quantile(samples, 0.5), "ms", count);
  print_figure("dispatch_p99", quantile(samples, 0.99), "ms", count);
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  return cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
}
