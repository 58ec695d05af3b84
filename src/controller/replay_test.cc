// SPDX-License-Identifier: MIT
// T25: what simulations of the core did is done again to a whole controller over gRPC. Answers and
// the tasks in the end must be the same. Another seed:
//   CIRRUS_REPLAY_FIRST=<seed> CIRRUS_REPLAY_SEEDS=1 controller_test --gtest_filter='*T25*'
#include <atomic>
#include <cstdlib>
#include <future>
#include <set>

#include "base/log.h"
#include "controller/core/testing/simulation.h"
#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
using core::PollAnswer;
using core::TraceStep;
using Kind = TraceStep::Kind;

/// Starts now, moves only when told to. (A ManualClock starts in the past, so every wait of the
/// state loop would be over at once.)
class SteeredClock final : public Clock {
 public:
  Monotonic now() const override { return now_ + passed(); }
  WallTime wall() const override {
    return wall_ + std::chrono::duration_cast<WallTime::duration>(passed());
  }
  void advance(std::chrono::milliseconds by) { passed_ += by.count(); }

 private:
  std::chrono::milliseconds passed() const { return std::chrono::milliseconds(passed_.load()); }
  const Monotonic now_ = system_clock().now();
  const WallTime wall_ = system_clock().wall();
  std::atomic<std::int64_t> passed_{0};  // atomic: moved by the test, read by the controller
};

struct PollEnd {
  grpc::Status status;
  api::PollResponse response;
};

Code code_of(const grpc::Status& status) {
  return static_cast<Code>(status.error_code());
}

class Replay {
 public:
  explicit Replay(core::Simulation& model) : model_(model) { start(); }

  void run() {
    for (const TraceStep& step : model_.trace().steps()) {
      SCOPED_TRACE("step " + std::to_string(steps_++) + " is of kind " +
                   std::to_string(static_cast<int>(step.kind)));
      ASSERT_NO_FATAL_FAILURE(take(step));
      ASSERT_NO_FATAL_FAILURE(compare_polls(step));
      ASSERT_FALSE(testing::Test::HasFailure());
    }
    compare_tasks();
  }

 private:
  void start() {
    ControllerOptions options;
    options.data_dir = directory_.path() / "data";
    options.rpc_address = "127.0.0.1:0";
    options.http_address = "127.0.0.1:0";
    auto started = Controller::start(options, clock_);
    ASSERT_TRUE(started.ok()) << started.error().to_string();
    controller_ = std::move(started).value();
    std::map<std::string, std::unique_ptr<ScriptedWorker>> before = std::move(workers_);
    workers_.clear();
    for (const auto& [name, worker] : before) {
      this->worker(name).session_token = worker->session_token;
    }
  }

  ScriptedWorker& worker(const std::string& name) {
    std::unique_ptr<ScriptedWorker>& made = workers_[name];
    if (made) return *made;
    made =
        std::make_unique<ScriptedWorker>(controller_->rpc_endpoint(), registration_token(), name);
    made->instance = "i";
    made->features = "hold";
    for (const auto& [resource, amount] : model_.harness().resources[name]) {
      made->resources[resource] = amount;
    }
    return *made;
  }
  std::string registration_token() const {
    return std::string(trim(os::read_file(controller_->registration_token_file()).value()));
  }

  void take(const TraceStep& step) {
    switch (step.kind) {
      case Kind::Submit: return submit(step);
      case Kind::Cancel: return cancel(step);
      case Kind::Register: return expect(step, worker(step.machine).register_now());
      case Kind::Pause: {
        api::WorkerStatus now;
        return expect(step, worker(step.machine).update_status(step.on, now));
      }
      case Kind::Poll: return poll(step);
      case Kind::Started: return expect(step, worker(step.machine).started(at(step.task)));
      case Kind::Failed: return expect(step, worker(step.machine).failed(at(step.task), step.why));
      case Kind::Stopped: return expect(step, worker(step.machine).stopped(at(step.task)));
      case Kind::Finished: {
        const bool good = step.end == model::StepStatus::Completed;
        ScriptedAgent agent(controller_->rpc_endpoint(), step.task, at(step.task).client_secret());
        return expect(step, agent.finished({{"main", good ? api::COMPLETED : api::FAILED}}));
      }
      case Kind::Pass: return pass(step.time);
      case Kind::Restart: {
        // First down, so that it sees the time that passed only when it is up again.
        controller_.reset();
        polls_.clear();
        clock_.advance(step.time);
        return start();
      }
    }
  }
  static void expect(const TraceStep& step, const grpc::Status& status) {
    ASSERT_EQ(code_of(status), step.code) << step.task << ": " << status.error_message();
  }
  const api::PollResponse::AgentAwareTask& at(const std::string& task) const {
    return assigned_.at(task);
  }

  void submit(const TraceStep& step) {
    core::NewBuild build;
    build.repository = "local/test";
    build.branch = "main";
    build.priority = step.priority;
    build.tasks = step.tasks;
    build.actor = "test";
    ASSERT_TRUE(controller_->submit(std::move(build)).ok());
  }

  net::HttpResponse http(const std::string& method, const std::string& path) const {
    net::HttpRequest request;
    request.method = method;
    request.url = controller_->http_url() + path;
    const std::string token(trim(os::read_file(controller_->admin_token_file()).value()));
    request.headers = {{"Authorization", "Bearer " + token}};
    const auto response = net::HttpClient().send(request);
    EXPECT_TRUE(response.ok()) << response.error().to_string();
    return response.ok() ? response.value() : net::HttpResponse{};
  }
  void cancel(const TraceStep& step) {
    const auto answer = http("POST", "/api/v1/builds/" + step.build.to_string() + "/cancel");
    ASSERT_EQ(answer.status / 100 == 2, step.code == Code::Ok) << answer.body;
  }

  /// As the harness does it: after each bit of time the state settles.
  void pass(std::chrono::milliseconds time) {
    while (time.count() > 0) {
      const auto bit = std::min(time, core::kTraceTick);
      clock_.advance(bit);
      time -= bit;
      api::QueryRunningTasksResponse any;  // whatever it answers, it was the state loop's turn
      static_cast<void>(worker("w0").query_running(any).ok());
    }
  }

  void poll(const TraceStep& step) {
    ScriptedWorker& from = worker(step.machine);
    from.running = step.running;
    polls_[next_poll_++] = std::async(std::launch::async, [&from] {
      PollEnd end;
      end.status = from.poll(end.response, 110);
      return end;
    });
    // If it ended any poll, that shows that it has arrived. Else it waits itself now.
    if (!step.answered.empty()) return;
    const Monotonic deadline = system_clock().now() + std::chrono::seconds(60);
    while (parked_polls() != step.parked) ASSERT_LT(system_clock().now(), deadline);
  }
  int parked_polls() const {
    const std::string text = http("GET", "/metrics").body;
    const std::string name = "\ncirrus_parked_polls ";
    const std::size_t at = text.find(name);
    return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + name.size());
  }

  /// Every poll that ended in the model ends now, and with the same answer.
  void compare_polls(const TraceStep& step) {
    for (const PollAnswer& expected : step.answered) {
      const auto waiting = polls_.find(expected.poll);
      ASSERT_NE(waiting, polls_.end());
      ASSERT_EQ(waiting->second.wait_for(std::chrono::seconds(60)), std::future_status::ready);
      const PollEnd end = waiting->second.get();
      polls_.erase(waiting);
      ASSERT_EQ(code_of(end.status), expected.code) << end.status.error_message();
      std::vector<std::string> tasks;
      for (const auto& task : end.response.tasks_to_start()) {
        tasks.push_back(task.task_id());
        assigned_[task.task_id()] = task;
      }
      ASSERT_EQ(tasks, expected.tasks) << "poll " << expected.poll;
      const auto& stops = end.response.tasks_to_stop();
      ASSERT_EQ(std::vector<std::string>(stops.begin(), stops.end()), expected.stops);
    }
  }

  static std::string text(const nlohmann::json& value) {
    return value.is_null() ? std::string() : value.get<std::string>();
  }
  nlohmann::json get(const std::string& path, const char* what) const {
    return nlohmann::json::parse(http("GET", path).body).at(what);
  }
  /// Every attempt of every task, as it is stored.
  void compare_tasks() {
    for (const model::BuildId id : model_.builds()) {
      const store::BuildRows expected = *model_.harness().store.read_build(id).value();
      const nlohmann::json build = get("/api/v1/builds/" + id.to_string(), "build");
      EXPECT_EQ(text(build["status"]), model::to_string(expected.build.status));
      for (const store::TaskRecord& task : expected.tasks) {
        const nlohmann::json real = get("/api/v1/tasks/" + task.id.to_string(), "task");
        SCOPED_TRACE(real.dump());
        EXPECT_EQ(text(real["build_id"]), id.to_string());
        EXPECT_EQ(text(real["status"]), model::to_string(task.status));
        EXPECT_EQ(real["attempt"].get<int>(), task.attempt);
        EXPECT_EQ(text(real["reason"]), task.reason);
        EXPECT_EQ(text(real["worker"]), task.worker);
      }
    }
  }

  core::Simulation& model_;
  SteeredClock clock_;
  os::TempDir directory_ = os::TempDir::create("replay-test").value();
  int steps_ = 0;
  std::size_t next_poll_ = 0;
  std::map<std::string, api::PollResponse::AgentAwareTask> assigned_;
  // In this order: polls use workers, and end with the controller.
  std::map<std::string, std::unique_ptr<ScriptedWorker>> workers_;
  std::map<std::size_t, std::future<PollEnd>> polls_;
  std::unique_ptr<Controller> controller_;
};

int number_from_environment(const char* name, int fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::atoi(text);
}

/// Parts, so that they run side by side.
constexpr int kParts = 4;
constexpr int kSeeds = 20;
constexpr int kSteps = 120;

class T25_Replay : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Part, T25_Replay, testing::Range(0, kParts));
}  // namespace

TEST_P(T25_Replay, AControllerOverGrpcDoesWhatTheModelDid) {
  set_log_level(LogLevel::Error);
  const int first = number_from_environment("CIRRUS_REPLAY_FIRST", 1);
  const int seeds = number_from_environment("CIRRUS_REPLAY_SEEDS", kSeeds);
  for (int seed = first + GetParam(); seed < first + seeds; seed += kParts) {
    SCOPED_TRACE("replay with CIRRUS_REPLAY_SEEDS=1 CIRRUS_REPLAY_FIRST=" + std::to_string(seed));
    core::Simulation model(static_cast<unsigned>(seed), true);
    model.run_steps(kSteps);
    Replay(model).run();
    if (HasFailure()) break;
  }
  set_log_level(LogLevel::Info);
}

TEST(T25_ReplayTraces, HoldEveryKindOfStepAndAnswersWithTasksAndStops) {
  set_log_level(LogLevel::Error);
  std::set<Kind> kinds;
  std::size_t tasks = 0;
  std::size_t stops = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    core::Simulation model(static_cast<unsigned>(seed), true);
    model.run_steps(kSteps);
    for (const TraceStep& step : model.trace().steps()) {
      kinds.insert(step.kind);
      for (const PollAnswer& poll : step.answered) {
        tasks += poll.tasks.size();
        stops += poll.stops.size();
      }
    }
  }
  set_log_level(LogLevel::Info);
  EXPECT_EQ(kinds.size(), static_cast<std::size_t>(Kind::Restart) + 1);
  EXPECT_GT(tasks, 50U);
  EXPECT_GT(stops, 0U);
}

}  // namespace cirrus::controller
