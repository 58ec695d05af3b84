// SPDX-License-Identifier: MIT
#include "lang/evaluate.h"

#include <gtest/gtest.h>

#include "cirrus_instances.pb.h"
#include "lang/json.h"

namespace cirrus::lang {
namespace {

Outcome evaluated(std::string_view yaml, const EvaluateOptions& options = controller_options()) {
  return evaluate(yaml, MemorySourceTree(), options);
}

TEST(Evaluate, NoneIsolationIsMemberOne) {
  const Outcome outcome =
      evaluated("task:\n  persistent_worker:\n    isolation:\n      none: {}\n  script: date\n");
  ASSERT_FALSE(outcome.error) << render(*outcome.error);
  ASSERT_EQ(outcome.evaluation.tasks.size(), 1u);
  pb::PersistentWorkerInstance worker;
  ASSERT_TRUE(outcome.evaluation.tasks[0].instance().UnpackTo(&worker));
  EXPECT_TRUE(worker.isolation().has_none());
}

}  // namespace
}  // namespace cirrus::lang
