// SPDX-License-Identifier: MIT
// What a worker says of itself: facts of its upstreams and tasks, and their spans.
#include "worker/testing/worker_fixture.h"

namespace cirrus::worker {
namespace {

using testing::kTwoUpstreams;
using WorkerFactsTest = testing::WorkerFixture;

TEST_F(WorkerFactsTest, SaysHowItsUpstreamsAndTasksGetOn) {
  agent("sleep 1000");
  second_.state.update([](auto& state) {
    for (int i = 0; i < 1000; ++i) {
      state.failures["register"].push_back(error(Code::Unavailable, "scripted"));
    }
  });
  start(kTwoUpstreams);
  rpc::pb::PollResponse two = assignment("1");
  *two.add_tasks_to_start() = assignment("2").tasks_to_start(0);
  for (auto& task : *two.mutable_tasks_to_start()) {
    (*task.mutable_resources_to_use())["vms"] = 1;
  }
  reply(std::move(two));
  ASSERT_TRUE(saw("poll 1 2"));
  for (int i = 0; i < 4000 && worker_->facts().upstreams["http://second:1"].failure.empty(); ++i) {
    wait_for(StopToken(), std::chrono::milliseconds(5));
  }
  WorkerFacts facts = worker_->facts();
  ASSERT_EQ(facts.tasks.size(), 2U);
  EXPECT_EQ(facts.tasks[0].id, "1");
  EXPECT_EQ(facts.tasks[0].phase, TaskFacts::Phase::Running);
  EXPECT_EQ(facts.tasks[0].upstream, "http://fake:1");
  EXPECT_LT(system_clock().wall() - facts.tasks[0].since, std::chrono::minutes(2));
  EXPECT_EQ(facts.tasks[1].phase, TaskFacts::Phase::Waiting) << "there is one of what it needs";
  EXPECT_EQ(facts.resources_in_use, (std::map<std::string, double>{{"vms", 1}}));
  EXPECT_TRUE(facts.upstreams["http://fake:1"].registered);
  EXPECT_EQ(facts.upstreams["http://fake:1"].failure, "");
  EXPECT_TRUE(facts.upstreams["http://fake:1"].last_poll);
  EXPECT_FALSE(facts.upstreams["http://second:1"].registered);
  EXPECT_EQ(facts.upstreams["http://second:1"].failure, "scripted");
  EXPECT_FALSE(facts.upstreams["http://second:1"].last_poll);
  const auto paused = [this] { return worker_->ask_paused(std::chrono::seconds(9), StopToken()); };
  using Answers = std::map<std::string, bool>;
  EXPECT_EQ(paused(), (Answers{{"http://fake:1", false}})) << "only who can be reached is asked";
  server_.state.update([](auto& state) { state.disabled = true; });
  EXPECT_EQ(paused(), (Answers{{"http://fake:1", true}}));
  fail_next("running", Code::Unavailable);
  EXPECT_EQ(paused(), Answers());
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerFactsTest, ARestartForgetsNotSinceWhenATaskRuns) {
  agent("sleep 1000");
  start();
  reply(assignment("42"));
  ASSERT_TRUE(saw("poll 42"));
  const WallTime since = worker_->facts().tasks.at(0).since;
  worker_->detach();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Detached);
  worker_.reset();
  start("token: t\ncancel-grace: 0s\n");
  EXPECT_EQ(worker_->facts().tasks.at(0).since, since);
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

constexpr char kTraceParent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST_F(WorkerFactsTest, ATaskThatEndedLeavesItsSpanAlsoAcrossARestart) {
  agent("while [ ! -e " + (root_.path() / "go").string() + " ]; do sleep 0.02; done");
  traces_ = true;
  constexpr char kSettings[] =
      "upstreams: [{token: a, endpoint: \"http://ci.example.org:1\"}]\nresources: {slots: 2}\n";
  start(kSettings);
  rpc::pb::PollResponse response = assignment("42");
  response.mutable_tasks_to_start(0)->set_traceparent(kTraceParent);
  rpc::pb::PollResponse unsampled = assignment("43");
  unsampled.mutable_tasks_to_start(0)->set_traceparent(
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
  *response.add_tasks_to_start() = unsampled.tasks_to_start(0);
  for (auto& task : *response.mutable_tasks_to_start()) {
    (*task.mutable_resources_to_use())["slots"] = 1;
  }
  reply(std::move(response));
  ASSERT_TRUE(saw("poll 42 43"));
  EXPECT_TRUE(worker_->take_spans().empty()) << "it runs";
  const WallTime since = worker_->facts().tasks.at(0).since;
  worker_->detach();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Detached);
  worker_.reset();
  start(kSettings);
  EXPECT_TRUE(os::write_file(root_.path() / "go", "").ok());
  ASSERT_TRUE(saw("stopped 42"));
  ASSERT_TRUE(saw("stopped 43"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  const std::vector<TaskSpan> spans = worker_->take_spans();
  ASSERT_EQ(spans.size(), 1U) << "one of a trace that is not sampled is not kept";
  EXPECT_EQ(spans[0].task_id, "42");
  EXPECT_EQ(spans[0].trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(spans[0].parent_span_id, "00f067aa0ba902b7");
  EXPECT_EQ(spans[0].start, since);
  EXPECT_GE(spans[0].end, since);
  EXPECT_EQ(spans[0].worker_name, "w");
  EXPECT_EQ(spans[0].upstream_host, "ci.example.org");
  EXPECT_EQ(spans[0].kind.type, "none");
  EXPECT_TRUE(worker_->take_spans().empty()) << "once";
}

TEST_F(WorkerFactsTest, WithoutACollectorNothingIsTracedAndTheTracePassesThrough) {
  agent("cat >" + (root_.path() / "bootstrap").string() + "; exit 3");
  start();
  rpc::pb::PollResponse response = assignment("42");
  response.mutable_tasks_to_start(0)->set_traceparent(kTraceParent);
  reply(std::move(response));
  ASSERT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  EXPECT_TRUE(worker_->take_spans().empty());
  const std::string told = os::read_file(root_.path() / "bootstrap").value();
  EXPECT_NE(told.find(kTraceParent), std::string::npos);
}

}  // namespace
}  // namespace cirrus::worker
