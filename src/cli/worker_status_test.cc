// SPDX-License-Identifier: MIT
#include "cli/worker_status.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "os/temp_dir.h"
#include "os/unix_socket.h"

namespace cirrus::cli {
namespace {

using nlohmann::json;
using Paused = std::map<std::string, bool>;

constexpr char kHere[] = "http://here:1";
constexpr char kThere[] = "http://there:1";
const WallTime kNow = from_unix_millis(1'780'000'000'000);

worker::WorkerFacts facts_of_two_upstreams() {
  worker::WorkerFacts facts;
  facts.name = "mac-1";
  facts.upstreams[kHere] = {true, "", kNow - std::chrono::seconds(3)};
  facts.upstreams[kThere] = {false, "connection refused", std::nullopt};
  facts.resources_total = {{"cpu", 4}, {"disk", 1}};
  facts.resources_in_use = {{"cpu", 1.5}};
  facts.tasks = {{worker::TaskFacts::Phase::Running, "7", kHere, kNow - std::chrono::minutes(3)},
                 {worker::TaskFacts::Phase::Waiting, "8", kHere, kNow - std::chrono::hours(3)}};
  facts.standby = {2, 1, 1, {}, {}};
  return facts;
}

TEST(WorkerStatus, SaysWhetherTheWorkerTakesTasks) {
  const struct {
    const char* name;
    bool draining;
    Paused paused;
    const char* state;
  } cases[] = {
      {"nobody answered", false, {}, "running"},
      {"not paused", false, {{kHere, false}}, "running"},
      {"paused where it is known", false, {{kHere, true}}, "paused"},
      {"one of two still gives tasks", false, {{kHere, true}, {kThere, false}}, "running"},
      {"draining says more", true, {{kHere, true}}, "draining"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    worker::WorkerFacts facts = facts_of_two_upstreams();
    facts.draining = c.draining;
    EXPECT_EQ(status_document(facts, c.paused, kNow, 0).at("state"), c.state);
  }
}

TEST(WorkerStatus, TheDocumentHasEverything) {
  worker::WorkerFacts facts = facts_of_two_upstreams();
  facts.min_free_space = 5;
  const json document = status_document(facts, {{kHere, false}}, kNow, 4);
  EXPECT_EQ(document.at("schema_version"), 1);
  EXPECT_EQ(document.at("name"), "mac-1");
  EXPECT_EQ(document.at("upstreams"), json::parse(R"([
    {"endpoint": "http://here:1", "connection": "connected", "failure": null, "paused": false,
     "last_poll_at": "2026-05-28T20:26:37.000Z", "last_poll_ms_ago": 3000},
    {"endpoint": "http://there:1", "connection": "failing", "failure": "connection refused",
     "paused": null, "last_poll_at": null, "last_poll_ms_ago": null}])"));
  EXPECT_EQ(document.at("resources"), json::parse(R"({"cpu": {"total": 4.0, "in_use": 1.5},
                            "disk": {"total": 1.0, "in_use": 0}})"));
  EXPECT_EQ(document.at("tasks"), json::parse(R"([
    {"id": "7", "phase": "running", "since": "2026-05-28T20:23:40.000Z", "age_ms": 180000,
     "upstream": "http://here:1"},
    {"id": "8", "phase": "waiting", "since": "2026-05-28T17:26:40.000Z", "age_ms": 10800000,
     "upstream": "http://here:1"}])"));
  EXPECT_EQ(document.at("standby"), json::parse(R"({"ready": 1, "warming": 1, "wanted": 2})"));
  EXPECT_EQ(document.at("disk"),
            json::parse(R"({"free_bytes": 4, "min_free_bytes": 5, "low": true})"));
  EXPECT_TRUE(status_document(facts, {}, kNow, std::nullopt).at("disk").at("free_bytes").is_null());
}

TEST(WorkerStatus, ATimeInTheFutureIsNoNegativeAge) {
  worker::WorkerFacts facts;
  facts.tasks = {{worker::TaskFacts::Phase::Running, "7", kHere, kNow + std::chrono::hours(1)}};
  EXPECT_EQ(status_document(facts, {}, kNow, 0).at("tasks").at(0).at("age_ms"), 0);
}

TEST(WorkerStatus, ReadsAsText) {
  json document = status_document(facts_of_two_upstreams(), {{kHere, true}}, kNow, 3ULL << 29U);
  document["pid"] = 123;
  document["version"] = "1.2.3";
  EXPECT_EQ(status_text(document),
            "name      mac-1\n"
            "process   123, version 1.2.3\n"
            "state     paused\n"
            "upstream  http://here:1 connected, last poll 3 s ago, paused\n"
            "upstream  http://there:1 failing, not polled yet: connection refused\n"
            "resource  cpu: 1.5 of 4 in use\n"
            "resource  disk: 0 of 1 in use\n"
            "standby   1 ready, 1 warming, 2 wanted\n"
            "disk      1.5 GiB free\n"
            "tasks     2\n"
            "\n"
            "TASK  PHASE    SINCE                     FOR    UPSTREAM\n"
            "7     running  2026-05-28T20:23:40.000Z  3 min  http://here:1\n"
            "8     waiting  2026-05-28T17:26:40.000Z  3 h    http://here:1\n");
}

TEST(WorkerStatus, OfNoWorkerIsAClearSentence) {
  const os::TempDir data = os::TempDir::create("cirrus-status-test").value();
  const auto answer = [&] { return ask_worker(data.path()).error(); };
  EXPECT_EQ(answer().code(), Code::NotFound);
  EXPECT_NE(answer().message().find("no worker runs with the data directory"), std::string::npos);
  // One that was killed leaves its socket.
  const std::filesystem::path socket = data.path() / "dead.sock";
  (void)os::listen_unix(socket, 0600).value();
  std::filesystem::create_symlink(socket, data.path() / "status.sock");
  EXPECT_EQ(answer().code(), Code::NotFound);
}

TEST(WorkerStatus, AnAnswerThatBreaksOffIsNone) {
  const os::TempDir data = os::TempDir::create("cirrus-status-test").value();
  const std::filesystem::path socket = data.path() / "broken.sock";
  const os::Fd listener = os::listen_unix(socket, 0600).value();
  std::filesystem::create_symlink(socket, data.path() / "status.sock");
  const Thread worker([&](const StopToken&) {
    const os::Fd client = os::accept_connection(listener.get()).value();
    (void)os::write_all(client.get(), R"({"schema_version": 1, "na)");
  });
  EXPECT_EQ(ask_worker(data.path()).error().code(), Code::Unavailable);
}

}  // namespace
}  // namespace cirrus::cli
