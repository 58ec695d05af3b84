// SPDX-License-Identifier: MIT
// A controller whose disk fills up: caches and artifacts are refused, everything else is taken.
#include <atomic>

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
  std::atomic<std::uint64_t> free_{10'000 * kMebibyte};
};
}  // namespace

TEST_F(ControllerDisk, UploadsAreRefusedWithTheReasonWhileLogsAndResultsAreTaken) {
  ScriptedWorker w = worker();
  ASSERT_TRUE(w.register_now().ok());
  submit(kConfig);
  api::PollResponse response;
  ASSERT_TRUE(w.poll(response).ok());
  ASSERT_EQ(response.tasks_to_start_size(), 1);
  const auto task = response.tasks_to_start(0);
  ASSERT_TRUE(w.started(task).ok());
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

}  // namespace cirrus::controller
