// SPDX-License-Identifier: MIT
// A controller whose disk fills up: caches and artifacts are refused, everything else is taken.
#include <atomic>
#include <filesystem>

#include "controller/testing/controller_fixture.h"

namespace cirrus::controller {

namespace {
constexpr const char* kConfig =
    "task:\n  persistent_worker: {}\n  main_script: true\n  more_script: true\n";
constexpr std::uint64_t kMebibyte = 1U << 20U;

class ControllerDisk : public ControllerTest {
 protected:
  void change(ControllerOptions& options) override {
    options.free_space = [this]() -> Result<std::uint64_t> { return free_.load(); };
    options.retention.least_free_bytes = 0;  // nothing is to be removed here
  }
  api::PollResponse::AgentAwareTask started_task(ScriptedWorker& w) {
    EXPECT_TRUE(w.register_now().ok());
    submit(kConfig);
    return take_one(w);
  }
  std::atomic<std::uint64_t> free_{10'000 * kMebibyte};
};
}  // namespace

TEST_F(ControllerDisk, UploadsAreRefusedWithTheReasonWhileLogsAndResultsAreTaken) {
  ScriptedWorker w = worker();
  const auto task = started_task(w);
  ScriptedAgent a = agent(task);
  EXPECT_TRUE(a.write_cache("before", {"content"}).ok());
  EXPECT_EQ(get("/readyz")["uploads"], "taken");

  free_ = 100 * kMebibyte;
  const grpc::Status cache = a.write_cache("k", {"content"});
  EXPECT_EQ(cache.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(cache.error_message().find("100 MB free"), std::string::npos) << cache.error_message();
  EXPECT_NE(cache.error_message().find("512 MB"), std::string::npos);
  EXPECT_EQ(a.upload_artifacts("out", {{"f", "bytes"}}).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  const auto ready = get("/readyz");
  EXPECT_EQ(ready["status"], "ok") << "it goes on taking logs";
  EXPECT_EQ(ready["uploads"], "refused");
  EXPECT_NE(ready["reason"].get<std::string>().find("100 MB"), std::string::npos);
  const std::string metrics = call("GET", "/metrics").body;
  EXPECT_NE(metrics.find("cirrus_uploads_taken 0"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("cirrus_uploads_refused_total 2"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("cirrus_disk_free_bytes 104857600"), std::string::npos) << metrics;

  std::string content;
  EXPECT_TRUE(a.read_cache("before", content).ok()) << "what is there can be read";
  EXPECT_EQ(content, "content");
  EXPECT_TRUE(a.update({{"main", api::COMPLETED}}).ok());
  EXPECT_TRUE(a.stream("main", {"hello\n"}).ok());
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/main").body, "hello\n");

  free_ = 10'000 * kMebibyte;
  EXPECT_TRUE(a.write_cache("k", {"content"}).ok());
  EXPECT_TRUE(a.finished({{"main", api::COMPLETED}, {"more", api::COMPLETED}}).ok());
  EXPECT_EQ(get("/api/v1/builds/1")["build"]["status"], "completed");
  EXPECT_EQ(get("/readyz")["uploads"], "taken");
}

TEST_F(ControllerDisk, AReportThatComesAfterLostBytesIsRefusedUntilTheyAreBack) {
  ScriptedWorker w = worker();
  const auto task = started_task(w);
  ASSERT_TRUE(agent(task).stream("main", {"hello\n"}, "0").ok());
  // As if the machine had lost its power: the file is shorter than what was acknowledged.
  const auto log = directory_.path() / "data" / "logs" / task.task_id() / "main";
  std::filesystem::resize_file(log, 2);
  restart();
  ScriptedAgent a = agent(task);
  for (const api::Status status : {api::EXECUTING, api::COMPLETED}) {
    EXPECT_EQ(a.update({{"main", status}}, {"6 main"}).error_code(), grpc::StatusCode::DATA_LOSS);
  }
  EXPECT_EQ(get("/api/v1/builds/1")["build"]["tasks"][0]["steps"][0]["status"], "created");
  ASSERT_TRUE(a.stream("main", {"llo\n"}, "2").ok());
  EXPECT_TRUE(a.update({{"main", api::COMPLETED}}, {"6 main", "no number", "7", "0 more"}).ok());
  EXPECT_EQ(call("GET", "/api/v1/tasks/" + task.task_id() + "/logs/main").body, "hello\n");
  // Nobody waits for bytes of a task that has ended: they were dropped.
  call("POST", "/api/v1/tasks/" + task.task_id() + "/cancel");
  ScriptedWorker again = worker();
  again.session_token = w.session_token;
  ASSERT_TRUE(again.stopped(task).ok());
  EXPECT_TRUE(a.update({{"more", api::COMPLETED}}, {"100 more"}).ok());
}

TEST_F(ControllerDisk, ALongLogIsSyncedNowAndThenAndSaysSo) {
  ScriptedWorker w = worker();
  const auto task = started_task(w);
  ScriptedAgent a = agent(task);
  const std::string piece(kMebibyte, 'x');
  ASSERT_TRUE(a.stream("main", std::vector<std::string>(20, piece), "0").ok());
  EXPECT_EQ(a.last_synced, "");
  ASSERT_TRUE(a.stream("main", std::vector<std::string>(20, piece), "20971520").ok());
  EXPECT_EQ(a.last_synced, "41943040");
  ASSERT_TRUE(a.stream("main", {piece}, "41943040").ok());
  EXPECT_EQ(a.last_synced, "");
}

}  // namespace cirrus::controller
