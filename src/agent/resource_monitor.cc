// SPDX-License-Identifier: MIT
#include "agent/resource_monitor.h"

#include <algorithm>
#include <utility>

namespace cirrus::agent {
namespace {

// Ours: two looks nearer than this say nothing about a rate.
constexpr std::chrono::milliseconds kShortestSpan{10};

}  // namespace

ResourceMonitor::ResourceMonitor(os::UsageMeter meter, Rhythm rhythm)
    : meter_(std::move(meter)), rhythm_(rhythm), begun_(std::chrono::steady_clock::now()) {
  const Result<os::Usage> usage = meter_.read();
  const os::UsageLimits limits = meter_.limits();
  state_.with([&](State& state) {
    state.last = begun_;
    if (usage.ok()) state.last_cpu = usage.value().cpu_seconds;
    state.charts.set_cpu_total(limits.cpus);
    state.charts.set_memory_total(static_cast<double>(limits.memory_bytes));
  });
  thread_ = Thread([this](const StopToken& stop) { run(stop); });
}

wire::ResourceUtilization ResourceMonitor::charts() {
  look();
  return state_.with([](const State& state) { return state.charts; });
}

std::string ResourceMonitor::problem() const {
  return state_.with([](const State& state) { return state.problem; });
}

void ResourceMonitor::look() {
  const Result<os::Usage> usage = meter_.read();
  const Monotonic now = std::chrono::steady_clock::now();
  state_.with([&](State& state) {
    if (!usage.ok()) {
      if (state.problem.empty()) state.problem = usage.error().to_string();
      return;
    }
    // The shortest task has a point all the same.
    if (now - state.last < kShortestSpan && state.charts.cpu_chart_size() > 0) return;
    const double span = std::chrono::duration<double>(
                            std::max<Monotonic::duration>(now - state.last, kShortestSpan))
                            .count();
    state.last = now;
    const double spent =
        usage.value().cpu_seconds - std::exchange(state.last_cpu, usage.value().cpu_seconds);
    const auto second = static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::seconds>(now - begun_).count());
    wire::ChartPoint& cpu = *state.charts.add_cpu_chart();
    cpu.set_seconds_from_start(second);
    // A process that ended without being waited for takes its time along.
    cpu.set_value(std::max(0.0, spent / span));
    wire::ChartPoint& memory = *state.charts.add_memory_chart();
    memory.set_seconds_from_start(second);
    memory.set_value(static_cast<double>(usage.value().memory_bytes));
  });
}

void ResourceMonitor::run(const StopToken& stop) {
  for (;;) {
    const bool young = std::chrono::steady_clock::now() - begun_ < rhythm_.change;
    if (!wait_for(stop, young ? rhythm_.first : rhythm_.later)) return;
    look();
  }
}

}  // namespace cirrus::agent
