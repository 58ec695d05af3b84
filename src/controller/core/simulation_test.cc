// SPDX-License-Identifier: MIT
// T25: the core under virtual time with seeded faults: lost and repeated messages, crashes of
// workers and of the controller, partitions, pauses and cancels. 10,000 seeds in a release build;
// more:
//   CIRRUS_SIMULATION_SEEDS=1000000 core_test --gtest_filter='*T25*'
// A failing seed replays exactly:
//   CIRRUS_SIMULATION_FIRST=<seed> CIRRUS_SIMULATION_SEEDS=1
#include "controller/core/testing/simulation.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "base/log.h"

namespace cirrus::controller::core {

namespace {
int number_from_environment(const char* name, int fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::atoi(text);
}

/// Parts, so that they run side by side and each within a test's time.
constexpr int kParts = 8;
#ifdef NDEBUG
constexpr int kSeeds = 10'000;
#else
constexpr int kSeeds = 320;
#endif

class T25_Simulation : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Part, T25_Simulation, testing::Range(0, kParts));
}  // namespace

TEST_P(T25_Simulation, EveryBuildEndsInOrderAndNothingIsOvercommitted) {
  set_log_level(LogLevel::Error);
  const int first = number_from_environment("CIRRUS_SIMULATION_FIRST", 1);
  const int seeds = number_from_environment("CIRRUS_SIMULATION_SEEDS", kSeeds);
  for (int seed = first + GetParam(); seed < first + seeds; seed += kParts) {
    SCOPED_TRACE("replay with CIRRUS_SIMULATION_SEEDS=1 CIRRUS_SIMULATION_FIRST=" +
                 std::to_string(seed));
    Simulation(static_cast<unsigned>(seed)).run();
    if (HasFailure()) break;
  }
  set_log_level(LogLevel::Info);
}

}  // namespace cirrus::controller::core
