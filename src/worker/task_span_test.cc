// SPDX-License-Identifier: MIT
#include "worker/task_span.h"

#include <gtest/gtest.h>

namespace cirrus::worker {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kParent[] = "00f067aa0ba902b7";

TaskRecord record_with(const std::string& traceparent) {
  TaskRecord record;
  record.set_task_id("7");
  record.set_upstream_endpoint("https://ci.example.org:7470");
  record.set_assigned_at(1'780'000'000'123);
  record.set_traceparent(traceparent);
  record.set_tracestate("vendor=1");
  record.mutable_isolation()->mutable_container()->set_image("debian");
  return record;
}

TEST(TaskSpan, IsBelowTheOneOfTheAssignment) {
  TaskRecord record = record_with(std::string("00-") + kTrace + "-" + kParent + "-01");
  begin_span(record);
  const TaskSpan span = span_of(record, "mac-1");
  EXPECT_EQ(span.trace_id, kTrace);
  EXPECT_EQ(span.parent_span_id, kParent);
  EXPECT_EQ(span.span_id.size(), 16U);
  EXPECT_NE(span.span_id, kParent);
  EXPECT_TRUE(span.sampled);
  EXPECT_EQ(span.trace_state, "vendor=1");
  EXPECT_EQ(record.traceparent(), std::string("00-") + kTrace + "-" + span.span_id + "-01")
      << "what the task's processes get";
  EXPECT_EQ(to_unix_millis(span.start), 1'780'000'000'123);
  EXPECT_EQ(span.task_id, "7");
  EXPECT_EQ(span.worker_name, "mac-1");
  EXPECT_EQ(span.upstream_host, "ci.example.org");
  EXPECT_EQ(span.kind, (InstanceKind{"debian", "container", span.kind.cpus}));
}

TEST(TaskSpan, ARestartOfTheWorkerKeepsIt) {
  TaskRecord record = record_with(std::string("00-") + kTrace + "-" + kParent + "-01");
  begin_span(record);
  const TaskSpan before = span_of(record, "w");
  begin_span(record);
  const TaskSpan after = span_of(record, "w");
  EXPECT_EQ(after.span_id, before.span_id);
  EXPECT_EQ(after.parent_span_id, kParent);
}

TEST(TaskSpan, WhatNobodyAskedForHasNone) {
  const TaskRecord record = record_with(std::string("00-") + kTrace + "-" + kParent + "-01");
  EXPECT_EQ(span_of(record, "w").span_id, "");
}

TEST(TaskSpan, ParentsAreTakenAsTheStandardSays) {
  const std::string ids = std::string(kTrace) + "-" + kParent;
  const struct {
    const char* name;
    std::string traceparent;
    bool valid;
    bool sampled;
  } cases[] = {
      {"sampled", "00-" + ids + "-01", true, true},
      {"not sampled", "00-" + ids + "-00", true, false},
      {"other flags are not that one", "00-" + ids + "-fe", true, false},
      {"a flag in a letter", "00-" + ids + "-0b", true, true},
      {"a version to come", "cc-" + ids + "-01-what-the-future-brings", true, true},
      {"none", "", false, true},
      {"a version that never comes", "ff-" + ids + "-01", false, true},
      {"version 0 is not longer", "00-" + ids + "-01-x", false, true},
      {"a later one has a dash there", "cc-" + ids + "-01.x", false, true},
      {"upper case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + std::string(kParent) + "-01", false,
       true},
      {"a trace of zeros", "00-" + std::string(32, '0') + "-" + kParent + "-01", false, true},
      {"a parent of zeros", std::string("00-") + kTrace + "-0000000000000000-01", false, true},
      {"too short", "00-" + ids + "-0", false, true},
      {"no dashes", "00." + ids + "-01", false, true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    TaskRecord record = record_with(c.traceparent);
    begin_span(record);
    const TaskSpan span = span_of(record, "w");
    EXPECT_EQ(span.trace_id == kTrace, c.valid);
    EXPECT_EQ(span.parent_span_id, c.valid ? kParent : "");
    EXPECT_EQ(span.trace_state, c.valid ? "vendor=1" : "");
    EXPECT_EQ(span.trace_id.size(), 32U);
    EXPECT_EQ(span.sampled, c.sampled);
  }
}

TEST(TaskSpan, NamesTheHostOfAnEndpoint) {
  const std::pair<const char*, const char*> cases[] = {
      {"https://ci.example.org:7470", "ci.example.org"},
      {"http://10.0.0.1:1/", "10.0.0.1"},
      {"http://[::1]:7470", "::1"},
      {"grpc.cirrus-ci.com:443", "grpc.cirrus-ci.com"},
      {"https://ci.example.org", "ci.example.org"},
  };
  for (const auto& [endpoint, host] : cases) EXPECT_EQ(host_of_endpoint(endpoint), host);
}

}  // namespace
}  // namespace cirrus::worker
