// SPDX-License-Identifier: MIT
// T20: calls that a network delivers twice, late and in another order. After every new call some of
// the older ones come again, as a seed says; nothing may be done twice and nothing undone. Another
// seed: CIRRUS_LATE_SEED=<seed> compat_peers_test --gtest_filter='*T20*'
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <future>
#include <random>

#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
using nlohmann::json;
using Assigned = api::PollResponse::AgentAwareTask;

constexpr const char* kConfig = R"(persistent_worker: {resources: {cpu: 1}}
task: {name: a, one_script: echo, two_script: echo}
task: {name: b, one_script: echo, two_script: echo}
task: {name: c, depends_on: [a, b], one_script: echo, two_script: echo}
)";

/// Grows while a thing goes its way.
int rank_of(const std::string& status) {
  static const std::map<std::string, int> ranks = {
      {"created", 0}, {"scheduled", 1}, {"executing", 2}, {"completed", 3}};
  const auto found = ranks.find(status);
  return found == ranks.end() ? -1 : found->second;
}

class T20_LateCalls : public ControllerTest, public testing::WithParamInterface<unsigned> {
 protected:
  /// A worker of ours as `life` of its machine, and what its polls have in common.
  std::shared_ptr<ScriptedWorker> life_of_worker(std::uint64_t life) {
    auto made = std::make_shared<ScriptedWorker>(
        controller_->rpc_endpoint(), token(controller_->registration_token_file()), "w");
    made->instance = "machine";
    made->features = "hold";
    made->resources["cpu"] = 2;
    made->number = life << 32U;
    lives_.push_back(made);
    return made;
  }

  /// Makes a call, which must succeed; then some of the earlier ones come again.
  void say(const std::function<grpc::Status()>& call) {
    const grpc::Status status = call();
    ASSERT_TRUE(status.ok()) << status.error_message();
    said_.push_back(call);
    repeat(3);
  }
  void repeat(int calls) {
    for (int i = 0; i < calls; ++i) {
      const std::size_t which =
          std::uniform_int_distribution<std::size_t>(0, said_.size() - 1)(random_);
      (void)said_[which]();  // whatever it is answered: nobody listens any more
    }
    ASSERT_NO_FATAL_FAILURE(check());
  }

  void check() {
    for (const json& task : get("/api/v1/builds/" + build_)["build"]["tasks"]) {
      const std::string name = task["name"];
      SCOPED_TRACE(name);
      EXPECT_EQ(task["attempt"], 1);
      expect_not_back(name, task["status"]);
      for (const json& step : task["steps"]) {
        expect_not_back(name + "/" + step["name"].get<std::string>(), step["status"]);
      }
    }
    const json worker = get("/api/v1/workers/default/w")["worker"];
    EXPECT_EQ(worker["resources_in_use"].value("cpu", 0.0), held_);
    ASSERT_FALSE(HasFailure());
  }
  void expect_not_back(const std::string& what, const std::string& status) {
    EXPECT_GE(rank_of(status), reached_[what]) << what << " is " << status;
    reached_[what] = std::max(reached_[what], rank_of(status));
  }

  /// A poll that is answered with tasks.
  std::vector<Assigned> take(const std::shared_ptr<ScriptedWorker>& worker, int tasks) {
    std::vector<Assigned> taken;
    // Repeated as it was: with the number and the list of that time.
    const ScriptedWorker::Said poll = worker->next_poll();
    while (static_cast<int>(taken.size()) < tasks) {
      api::PollResponse response;
      const ScriptedWorker::Said now = taken.empty() ? poll : worker->next_poll();
      EXPECT_TRUE(worker->poll(now, response, 30).ok());
      for (const Assigned& task : response.tasks_to_start()) {
        taken.push_back(task);
        worker->running.push_back(task.task_id());
        held_ += 1;
      }
      remember_poll(worker, now);
      if (response.tasks_to_start().empty()) break;
    }
    EXPECT_EQ(static_cast<int>(taken.size()), tasks);
    return taken;
  }
  void remember_poll(const std::shared_ptr<ScriptedWorker>& worker,
                     const ScriptedWorker::Said& poll) {
    said_.push_back([worker, poll] {
      api::PollResponse late;
      const grpc::Status status = worker->poll(poll, late, 10);
      EXPECT_TRUE(status.ok()) << "an old poll is held: " << status.error_message();
      EXPECT_EQ(late.tasks_to_start_size() + late.tasks_to_stop_size(), 0)
          << "an old poll is told something that nobody will hear";
      return status;
    });
  }

  /// All that a worker and an agent say of one task.
  void run(const std::shared_ptr<ScriptedWorker>& worker, const Assigned& task) {
    const auto agent = std::make_shared<ScriptedAgent>(controller_->rpc_endpoint(), task.task_id(),
                                                       task.client_secret());
    say([=] { return worker->started(task); });
    say([=] {
      api::CommandsResponse commands;
      return agent->initial_commands(commands);
    });
    say([=] { return agent->update({{"one", api::EXECUTING}}); });
    say([=] { return agent->stream("one", {"first "}, "0"); });
    say([=] { return agent->heartbeat(); });
    say([=] { return agent->stream("one", {"second"}, "6"); });
    say([=] { return agent->update({{"one", api::COMPLETED}, {"two", api::EXECUTING}}); });
    say([=] { return agent->stream("two", {"all"}, "0"); });
    say([=] { return agent->warn("careful"); });
    say([=] { return agent->annotate("found"); });
    say([=] { return agent->upload_artifacts("out", {{"a", task.task_id()}}); });
    say([=] { return agent->update({{"two", api::COMPLETED}}); });
    say([=] { return agent->finished({{"one", api::COMPLETED}, {"two", api::COMPLETED}}); });
    if (HasFailure()) return;
    // Until its worker says so, the task holds what it has.
    EXPECT_TRUE(worker->stopped(task).ok());
    std::erase(worker->running, task.task_id());
    held_ -= 1;
    said_.push_back([=] { return worker->stopped(task); });
    repeat(5);
  }

  void expect_whole(const Assigned& task) {
    const std::string route = "/api/v1/tasks/" + task.task_id();
    SCOPED_TRACE(route);
    EXPECT_EQ(call("GET", route + "/logs/one").body, "first second");
    EXPECT_EQ(call("GET", route + "/logs/two").body, "all");
    EXPECT_EQ(get(route + "/report")["warnings"], json({"careful"}));
    EXPECT_EQ(get(route + "/annotations")["annotations"].size(), 1U);
    EXPECT_EQ(call("GET", route + "/artifacts/out/a").body, task.task_id());
  }

  std::minstd_rand random_{GetParam()};
  std::vector<std::shared_ptr<ScriptedWorker>> lives_;
  std::vector<std::function<grpc::Status()>> said_;
  std::map<std::string, int> reached_;
  std::string build_;
  double held_ = 0;
};

std::vector<unsigned> seeds() {
  const char* const chosen = std::getenv("CIRRUS_LATE_SEED");
  if (chosen != nullptr) return {static_cast<unsigned>(std::strtoul(chosen, nullptr, 10))};
  return {1, 2, 3, 4, 5, 6};
}
}  // namespace

TEST_P(T20_LateCalls, DoNothingTwiceAndUndoNothing) {
  const auto first = life_of_worker(1);
  build_ = submit(kConfig)["id"];
  const auto enroll = [](const std::shared_ptr<ScriptedWorker>& worker) {
    return [worker, number = worker->number] { return worker->register_now(number); };
  };
  ASSERT_TRUE(enroll(first)().ok());
  said_.push_back(enroll(first));
  const std::vector<Assigned> tasks = take(first, 2);
  ASSERT_NO_FATAL_FAILURE(repeat(5));
  for (const Assigned& task : tasks) ASSERT_NO_FATAL_FAILURE(run(first, task));

  // The machine starts again, under the same name, and is given the last task.
  const auto goodbye = [first, poll = first->next_poll(true)] {
    api::PollResponse none;
    return first->poll(poll, none, 10);
  };
  ASSERT_TRUE(goodbye().ok());
  said_.push_back(goodbye);
  const auto second = life_of_worker(2);
  ASSERT_TRUE(enroll(second)().ok());
  said_.push_back(enroll(second));
  const std::vector<Assigned> last = take(second, 1);
  ASSERT_EQ(last.size(), 1U);
  ASSERT_NO_FATAL_FAILURE(repeat(20));
  // An end and a beginning of the first life, one after the other.
  (void)said_.front()();
  (void)goodbye();
  (void)goodbye();
  ASSERT_NO_FATAL_FAILURE(check());
  ASSERT_NO_FATAL_FAILURE(run(second, last[0]));

  ASSERT_NO_FATAL_FAILURE(repeat(30));
  EXPECT_EQ(get("/api/v1/builds/" + build_)["build"]["status"], "completed");
  for (const Assigned& task : tasks) expect_whole(task);
  expect_whole(last[0]);
}

INSTANTIATE_TEST_SUITE_P(Seeds, T20_LateCalls, testing::ValuesIn(seeds()));

}  // namespace cirrus::controller
