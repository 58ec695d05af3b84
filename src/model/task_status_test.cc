// SPDX-License-Identifier: MIT
#include "model/task_status.h"

#include <gtest/gtest.h>

namespace cirrus::model {

namespace {
constexpr TaskStatus kAll[] = {TaskStatus::Created,   TaskStatus::Ready,     TaskStatus::Assigned,
                               TaskStatus::Executing, TaskStatus::Completed, TaskStatus::Failed,
                               TaskStatus::Aborted,   TaskStatus::Skipped};
}

TEST(TaskStatus, FinalStatesAreNeverLeft) {
  for (const TaskStatus from : kAll) {
    if (!is_final(from)) continue;
    for (const TaskStatus to : kAll) EXPECT_FALSE(may_move(from, to));
  }
}

TEST(TaskStatus, EveryOpenStateCanBeAborted) {
  for (const TaskStatus from : kAll)
    EXPECT_EQ(may_move(from, TaskStatus::Aborted), !is_final(from));
}

TEST(TaskStatus, OnlyAConfirmedTaskCompletes) {
  for (const TaskStatus from : kAll) {
    EXPECT_EQ(may_move(from, TaskStatus::Completed), from == TaskStatus::Executing);
  }
}

TEST(TaskStatus, StoredNumbersAreChecked) {
  for (const TaskStatus status : kAll) {
    EXPECT_EQ(task_status_of(static_cast<int>(status)).value(), status);
  }
  EXPECT_EQ(task_status_of(8).error().code(), Code::DataLoss);
  EXPECT_EQ(task_status_of(-1).error().code(), Code::DataLoss);
}

}  // namespace cirrus::model
