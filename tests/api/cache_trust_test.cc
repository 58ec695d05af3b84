// SPDX-License-Identifier: MIT
// Caches apart by a build's trust.
#include <set>

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
    const auto task = take_one(w);
    w.running = {task.task_id()};
    return agent(task);
  }
  static std::string read(ScriptedAgent& agent, const std::string& key) {
    std::string content;
    return agent.read_cache(key, content).ok() ? content : "none";
  }
};

TEST_F(CacheTrust, ManyCachesAreListedInPages) {
  ScriptedAgent writer = task_of(admin_, "w1");
  std::set<std::string> written;
  for (int i = 0; i < 7; ++i) {
    const std::string key = "deps-" + std::to_string(i);
    ASSERT_TRUE(writer.write_cache(key, {"x"}).ok());
    written.insert(key);
  }
  const std::string route = "/api/v1/caches/acme/app";
  EXPECT_TRUE(get(route)["next_after"].is_null());
  for (const int size : {1, 2, 3, 7}) {
    SCOPED_TRACE(size);
    std::vector<std::string> seen;
    int pages = 0;
    for (json next = ""; !next.is_null() && pages < 20; ++pages) {
      const std::string after = next.get<std::string>();
      const json page =
          get(route + "?limit=" + std::to_string(size) + (after.empty() ? "" : "&after=" + after));
      for (const json& cache : page["caches"]) seen.push_back(cache["key"]);
      next = page["next_after"];
    }
    EXPECT_EQ(pages, (7 + size - 1) / size);
    EXPECT_EQ(seen.size(), 7U);
    EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()), written);
  }
  for (const char* bad : {"limit=0", "limit=5001", "after=x", "after=1", "after=1-", "after=-",
                          "after=1-2-3", "after=99999999999999999999-1"}) {
    EXPECT_EQ(call("GET", route + "?" + bad).status, 400) << bad;
  }
}

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
