// SPDX-License-Identifier: MIT
// Caches apart by a build's trust.
#include "controller_case.h"

namespace cirrus::controller {

class CacheTrust : public ControllerCase {
 protected:
  /// A running task of a build that this token submitted.
  ScriptedAgent task_of(const std::string& token, const std::string& worker_name) {
    const net::HttpResponse answer =
        call("POST", "/api/v1/builds",
             json{{"repository", "acme/app"},
                  {"config", "task:\n  persistent_worker: {}\n  one_script: true\n"}}
                 .dump(),
             token);
    EXPECT_EQ(answer.status, 201) << answer.body;
    ScriptedWorker w = worker(worker_name);
    EXPECT_TRUE(w.register_now().ok());
    api::PollResponse response;
    EXPECT_TRUE(w.poll(response).ok());
    EXPECT_EQ(response.tasks_to_start_size(), 1);
    const auto task = response.tasks_to_start(0);
    w.running = {task.task_id()};
    EXPECT_TRUE(w.started(task).ok());
    return agent(task);
  }
  static std::string read(ScriptedAgent& agent, const std::string& key) {
    std::string content;
    return agent.read_cache(key, content).ok() ? content : "none";
  }
};

// T05: what somebody untrusted writes is never what a trusted build restores.
TEST_F(CacheTrust, T05_AnUntrustedBuildsCacheNeverReachesATrustedOne) {
  const std::string untrusted = token_of_role("submitter");
  ScriptedAgent stranger = task_of(untrusted, "w1");
  ASSERT_TRUE(stranger.write_cache("deps-1", {"poison"}).ok());
  EXPECT_EQ(read(stranger, "deps-1"), "poison") << "its own builds have their caches";

  ScriptedAgent trusted = task_of(admin_, "w2");
  EXPECT_EQ(read(trusted, "deps-1"), "none");
  api::CacheInfoResponse info;
  EXPECT_FALSE(trusted.cache_info("deps-9", {"deps-"}, info).ok()) << "not by a prefix either";
  ASSERT_TRUE(trusted.write_cache("deps-1", {"good"}).ok());
  EXPECT_EQ(read(trusted, "deps-1"), "good");

  // Evicting and replacing touches the stranger's own only.
  ASSERT_TRUE(stranger.delete_cache("deps-1").ok());
  EXPECT_EQ(read(stranger, "deps-1"), "good") << "what is shared may be read";
  ASSERT_TRUE(stranger.delete_cache("deps-1").ok());
  ASSERT_TRUE(stranger.write_cache("deps-1", {"poison again"}).ok());
  EXPECT_EQ(read(trusted, "deps-1"), "good");

  ScriptedAgent later = task_of(admin_, "w3");
  EXPECT_EQ(read(later, "deps-1"), "good");
}

}  // namespace cirrus::controller
