// SPDX-License-Identifier: MIT
#include "agent/resource_monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/testing/task_fixture.h"

namespace cirrus::agent {
namespace {

using ::testing::Gt;
using ::testing::Le;

class Usage : public testing::TaskFixture {};

TEST_F(Usage, OfATaskIsInItsFinalReport) {
  for (const bool shared : {true, false}) {
    SCOPED_TRACE(shared);
    bootstrap.set_shares_machine(shared);
    bootstrap.mutable_commands()->clear_commands();
    // Uses processor time whatever else the machine does.
    add_script("main", {"i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"});
    new_gateway();
    run();
    wire::ResourceUtilization used;
    for (const auto& event : gateway().events()) {
      if (event.has_finished()) used = event.finished().resource_utilization();
    }
    EXPECT_THAT(used.cpu_total(), Gt(0));
    EXPECT_THAT(used.memory_total(), Gt(1e6));
    ASSERT_THAT(used.cpu_chart_size(), Gt(0));
    ASSERT_EQ(used.cpu_chart_size(), used.memory_chart_size());
    double most = 0;
    for (const auto& point : used.cpu_chart()) most = std::max(most, point.value());
    EXPECT_THAT(most, Gt(0.01));
  }
}

TEST(ResourceMonitor, LooksOftenAtFirstAndThenSeldom) {
  ResourceMonitor monitor(
      os::UsageMeter::of_descendants(),
      {std::chrono::milliseconds(20), std::chrono::hours(1), std::chrono::milliseconds(60)});
  const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  int points = 0;
  while (points < 3 && std::chrono::steady_clock::now() < deadline) {
    points = monitor.charts().cpu_chart_size();
  }
  EXPECT_GE(points, 3);
  EXPECT_EQ(monitor.problem(), "");
}

TEST(ResourceMonitor, HasAPointOfATaskThatEndsAtOnce) {
  ResourceMonitor monitor(os::UsageMeter::of_descendants());
  const wire::ResourceUtilization charts = monitor.charts();
  EXPECT_EQ(charts.cpu_chart_size(), 1);
  EXPECT_EQ(charts.memory_chart_size(), 1);
}

}  // namespace
}  // namespace cirrus::agent
