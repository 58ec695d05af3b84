// SPDX-License-Identifier: MIT
// What a worker takes, and when it ends: resources, upstreams, ends of its life, settings.
#include "worker/testing/worker_fixture.h"

namespace cirrus::worker {
namespace {

using testing::kTwoUpstreams;
using testing::soon;
using WorkerLimits = testing::WorkerFixture;

TEST_F(WorkerLimits, TwoControllersNeverOvercommitWhatOneWorkerHas) {
  // Each agent holds the directory while it runs: the second mkdir would fail.
  const std::string place = (root_.path() / "alone").string();
  agent("mkdir " + place + " || exit 7\nsleep 0.2\nrmdir " + place + "\nexit 3");
  start(kTwoUpstreams);
  rpc::pb::PollResponse first = assignment("1");
  (*first.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  rpc::pb::PollResponse second = assignment("2");
  (*second.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(second)); });
  reply(std::move(first));
  EXPECT_TRUE(saw("failed 1: agent process exited unexpectedly (exit status 3)"));
  EXPECT_TRUE(saw_at(second_, "failed 2: agent process exited unexpectedly (exit status 3)"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerLimits, ATaskWithoutResourcesRunsAlone) {
  const std::string place = (root_.path() / "alone").string();
  agent("mkdir " + place + " || exit 7\nsleep 0.2\nrmdir " + place + "\nexit 3");
  start(kTwoUpstreams);
  rpc::pb::PollResponse booked = assignment("1");
  (*booked.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 0.5;
  rpc::pb::PollResponse plain = assignment("2");
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(plain)); });
  reply(std::move(booked));
  EXPECT_TRUE(saw("failed 1: agent process exited unexpectedly (exit status 3)"));
  EXPECT_TRUE(saw_at(second_, "failed 2: agent process exited unexpectedly (exit status 3)"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerLimits, ATaskThatWaitsForResourcesCanBeStopped) {
  agent("sleep 1000");
  start(kTwoUpstreams);
  rpc::pb::PollResponse first = assignment("1");
  (*first.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  reply(std::move(first));
  ASSERT_TRUE(saw("started 1"));
  rpc::pb::PollResponse second = assignment("2");
  (*second.mutable_tasks_to_start(0)->mutable_resources_to_use())["vms"] = 1;
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(second)); });
  ASSERT_TRUE(saw_at(second_, "poll 2"));
  rpc::pb::PollResponse stop;
  stop.add_tasks_to_stop("2");
  second_.state.update([&](auto& state) { state.replies.push_back(std::move(stop)); });
  EXPECT_TRUE(saw_at(second_, "failed 2: stopped before it was started"));
  EXPECT_FALSE(second_.state.with([](auto& state) {
    return std::find(state.trace.begin(), state.trace.end(), "started 2") != state.trace.end();
  }));
  worker_->cancel_all();
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerLimits, ADeadUpstreamDoesNotDelayAnother) {
  second_.state.update([](auto& state) {
    for (int i = 0; i < 1000; ++i) {
      state.failures["register"].push_back(error(Code::Unavailable, "down"));
    }
  });
  start(kTwoUpstreams);
  EXPECT_TRUE(saw("poll"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerLimits, AnEphemeralWorkerTakesOneTaskAndEnds) {
  agent("exit 3");
  start("token: t\nephemeral: true\n");
  rpc::pb::PollResponse two = assignment("1");
  *two.add_tasks_to_start() = assignment("2").tasks_to_start(0);
  reply(std::move(two));
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
  EXPECT_TRUE(saw("stopped 1"));
  for (const std::string& line : trace()) {
    EXPECT_EQ(line.find(" 2"), std::string::npos) << line;
  }
}

TEST_F(WorkerLimits, AnEphemeralWorkerTellsAReferenceServerThatItTakesNoMore) {
  agent("sleep 1000");
  server_.state.update([](auto& state) { state.features = rpc::Features(); });
  start("token: t\nephemeral: true\ncancel-grace: 0s\n");
  rpc::pb::PollResponse two = assignment("1");
  *two.add_tasks_to_start() = assignment("2").tasks_to_start(0);
  reply(std::move(two));
  EXPECT_TRUE(saw("failed 2: this worker takes no more tasks"));
  worker_->cancel_all();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerLimits, AnIdleWorkerEndsByItself) {
  start("token: t\nexit-after-idle: 20ms\n");
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Finished);
}

TEST_F(WorkerLimits, ADrainThatTakesTooLongCancels) {
  agent("sleep 1000");
  start("token: t\ndrain-timeout: 20ms\ncancel-grace: 0s\n");
  reply(assignment("1"));
  ASSERT_TRUE(saw("poll 1"));
  worker_->drain();
  EXPECT_EQ(joined().kind, WorkerEnd::Kind::Drained);
  EXPECT_TRUE(saw("failed 1: stopped"));
}

TEST_F(WorkerLimits, AReloadSaysWhatChangedAndTellsTheController) {
  start("token: t\nname: a\nlabels: {x: 1}\n");
  ASSERT_TRUE(saw("poll"));
  const std::vector<std::string> changes =
      worker_->reload(make_settings(Flags{},
                                    "token: t\nname: b\nlabels: {x: 2}\nresources: {cpu: 4}\n"
                                    "security: {max-timeout: 1h}\n",
                                    "w.yml", "w")
                          .value());
  EXPECT_EQ(changes, (std::vector<std::string>{"labels: x=1 -> x=2", "resources: none -> cpu=4",
                                               "security.max-timeout: absent -> 1h",
                                               "name: takes effect after a restart"}));
  EXPECT_TRUE(server_.state.wait_until(
      StopToken(), soon(),
      [](auto& state) {
        const rpc::pb::WorkerInfo& info = state.requests.back().worker_info();
        return info.labels().at("x") == "2" && info.resources_total().contains("cpu") &&
               info.labels().at("name") == "a";
      },
      [](auto&, bool reached) { return reached; }));
  EXPECT_TRUE(worker_
                  ->reload(make_settings(Flags{},
                                         "token: t\nname: a\nlabels: {x: 2}\n"
                                         "resources: {cpu: 4}\nsecurity: {max-timeout: 1h}\n",
                                         "w.yml", "w")
                               .value())
                  .empty());
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerLimits, ATaskLongerThanAllowedIsRefusedBeforeAnythingOfItRuns) {
  agent("touch " + (root_.path() / "ran").string());
  start("token: t\nsecurity: {max-timeout: 10s}\n");
  reply(assignment("42"));
  EXPECT_TRUE(saw("failed 42: a task of 60 s is longer than the 10 s"));
  EXPECT_TRUE(saw("stopped 42"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
  EXPECT_FALSE(std::filesystem::exists(root_.path() / "ran"));
}

TEST_F(WorkerLimits, AFullDiskTakesNoTasksAndSaysWhy) {
  start("token: t\nmin-free-space: 8000 TiB\n");
  ASSERT_TRUE(saw("poll"));
  EXPECT_TRUE(server_.state.with([](auto& state) { return state.polls.back().draining; }));
  reply(assignment("42"));  // given away before the disk was full
  EXPECT_TRUE(saw("failed 42: this worker has"));
  EXPECT_EQ(finish().kind, WorkerEnd::Kind::Drained);
}

TEST_F(WorkerLimits, ATaskUserThatDoesNotExistIsAnErrorAtStart) {
  WorkerParts parts;
  parts.state_directory = root_.path() / "other";
  parts.run_directory = root_.path() / "run3";
  Settings settings =
      make_settings(Flags{}, "token: t\ntask-user: no-such-user\n", "w.yml", "w").value();
  const auto started = Worker::start(std::move(settings), std::move(parts));
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().to_string().find("no-such-user"), std::string::npos);
}

}  // namespace
}  // namespace cirrus::worker
