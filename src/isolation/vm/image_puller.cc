// SPDX-License-Identifier: MIT
#include "isolation/vm/image_puller.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "isolation/vm/tool_command.h"

namespace cirrus::isolation {
namespace {

// Ours: large images over slow lines.
constexpr std::chrono::hours kPullTime{6};

}  // namespace

ImagePuller::ImagePuller(PullPlan plan, os::Environment environment)
    : plan_(std::move(plan)),
      environment_(std::move(environment)),
      thread_([this](const StopToken& stop) { run(stop); }) {}

void ImagePuller::run(const StopToken& stop) {
  std::minstd_rand random{std::random_device{}()};
  std::vector<Monotonic> due(plan_.images.size(), std::chrono::steady_clock::now());
  while (!due.empty()) {
    const auto next = std::min_element(due.begin(), due.end());
    const auto wait = *next - std::chrono::steady_clock::now();
    if (wait.count() > 0 && !wait_for(stop, wait)) return;
    if (stop.stop_requested()) return;
    pull(plan_.images[static_cast<std::size_t>(next - due.begin())], stop);
    if (plan_.check_interval.count() == 0) {
      *next = Monotonic::max();
      if (std::all_of(due.begin(), due.end(), [](Monotonic t) { return t == Monotonic::max(); })) {
        return;
      }
      continue;
    }
    const double part = std::uniform_real_distribution<double>(0, 1)(random);
    *next = std::chrono::steady_clock::now() + plan_.check_interval +
            std::chrono::nanoseconds(
                static_cast<std::int64_t>(part * static_cast<double>(plan_.jitter.count())));
  }
}

void ImagePuller::pull(const std::string& image, const StopToken& stop) const {
  const Result<std::string> pulled = run_tool({"tart", "pull", image}, environment_, stop,
                                              std::chrono::steady_clock::now() + kPullTime);
  if (pulled.ok()) return log_info("image pulled ahead", {{"image", image}});
  if (!stop.stop_requested()) {
    log_warning("image not pulled ahead", {{"image", image}, {"error", pulled.error()}});
  }
}

}  // namespace cirrus::isolation
