// SPDX-License-Identifier: MIT
// Shells in a pool that records them: what is kept, of whom, for whom, and what if it cannot be.
#include <atomic>
#include <optional>

#include "base/clock.h"
#include "base/fail_point.h"
#include "rpc/grpc/testing/scripted_host.h"
#include "shell_worker.h"

namespace cirrus::controller {

namespace {
constexpr const char* kConfig = "task:\n  persistent_worker: {}\n  main_script: echo\n";

/// How many writes of recordings succeed before the disk is full; negative: it never is.
std::atomic<int> writes_left = -1;

Status full_disk(const char* name) {
  if (std::string_view(name) != "shells.write.before" || writes_left < 0) return {};
  if (writes_left-- > 0) return {};
  writes_left = 0;
  return error(Code::ResourceExhausted, "no space left on device");
}
}  // namespace

class RecordedShells : public ControllerCase {
 protected:
  void SetUp() override {
    writes_left = -1;
    set_fail_point_hook(full_disk);
    ControllerCase::SetUp();
  }
  void TearDown() override {
    controller_.reset();  // then no shell goes on
    shells_.reset();
    set_fail_point_hook(nullptr);
  }

  long record(const json& wish) {
    return call("POST", "/api/v1/pools/default", json{{"record_shells", wish}}.dump()).status;
  }
  /// A task that runs on a worker whose shells print these words.
  void begin(const std::vector<std::string>& words) {
    const std::string registration = first_token(controller_->registration_token_file());
    worker_.emplace(controller_->rpc_endpoint(), registration, "w1");
    ASSERT_TRUE(worker_->register_now().ok());
    submit(kConfig);
    task_ = take_one(*worker_);
    shells_.emplace(controller_->rpc_endpoint(), registration, *worker_, words);
  }
  std::string task_path(const std::string& rest) const {
    return "/api/v1/tasks/" + task_.task_id() + rest;
  }
  net::HttpResponse order(const std::string& token = {}) {
    net::HttpResponse opened = call("POST", task_path("/shell"), "{}", token);
    const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (opened.status == 409 && std::chrono::steady_clock::now() < deadline) {
      (void)wait_for({}, std::chrono::milliseconds(10));
      opened = call("POST", task_path("/shell"), "{}", token);
    }
    return opened;
  }
  std::string open(const std::string& token = {}) {
    const net::HttpResponse opened = order(token);
    EXPECT_EQ(opened.status, 201) << opened.body;
    return "/api/v1/shells/" + json::parse(opened.body).value("id", "");
  }
  /// What a person sees who types a password into it.
  std::string use(const std::string& shell, const std::string& token = {}) {
    const std::string typed = cirrus::rpc::input_frame("hunter2\n");
    EXPECT_EQ(call("POST", shell + "/input", typed, token).status, 204);
    return call("GET", shell + "/output", "", token).body;
  }
  std::string notice() const {
    return "this shell is recorded: what it shows is kept with the logs of task " +
           task_.task_id() + "\r\n";
  }
  json records() { return get(task_path("/shells"))["shells"]; }
  std::string kept(int number, const std::string& query = {}) {
    return call("GET", task_path("/shells/" + std::to_string(number) + query)).body;
  }

  std::optional<ScriptedWorker> worker_;
  api::PollResponse::AgentAwareTask task_;
  std::optional<ShellWorker> shells_;
};

TEST_F(RecordedShells, AreToldSoAndKeptAsTheyWereShown) {
  ASSERT_EQ(record(true), 202);
  begin({"$ ", "\x1b[1mshown\x1b[0m\r\n", std::string("\0\xff", 2)});
  const std::string all = "$ \x1b[1mshown\x1b[0m\r\n" + std::string("\0\xff", 2);
  EXPECT_EQ(use(open()), notice() + all);
  EXPECT_EQ(kept(1), all) << "each byte, and nothing that was typed";
  EXPECT_EQ(kept(1, "?offset=2"), all.substr(2));
  EXPECT_EQ(kept(1, "?offset=9223372036854775807"), "");
  const std::string other = token_of_role("operator");
  EXPECT_EQ(use(open(other), other), notice() + all);
  const json list = records();
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0]["number"], 1);
  EXPECT_EQ(list[0]["opened_by"], "admin");
  EXPECT_EQ(list[0]["size"], all.size());
  EXPECT_EQ(list[1]["opened_by"], "test-operator");
  // Beside the logs, with which it is kept and goes.
  EXPECT_TRUE(
      std::filesystem::exists(directory_.path() / "data/logs" / task_.task_id() / "%shell-1"));
}

TEST_F(RecordedShells, AreThoseOfPoolsThatAsk) {
  begin({"hello"});
  EXPECT_EQ(use(open()), "hello");
  EXPECT_EQ(records(), json::array());
  ASSERT_EQ(record(true), 202);
  EXPECT_EQ(use(open()), notice() + "hello");
  ASSERT_EQ(record(false), 202);
  EXPECT_EQ(use(open()), "hello");
  EXPECT_EQ(records().size(), 1U);
  EXPECT_EQ(call("GET", task_path("/shells/2")).status, 404);
  EXPECT_EQ(call("GET", task_path("/shells/first")).status, 404);
}

TEST_F(RecordedShells, AreForThoseWhoMayOpenShells) {
  ASSERT_EQ(record(true), 202);
  begin({"hello"});
  use(open());
  for (const char* role : {"reader", "submitter"}) {
    SCOPED_TRACE(role);
    const std::string token = token_of_role(role);
    EXPECT_EQ(call("GET", task_path("/shells"), "", token).status, 403);
    EXPECT_EQ(call("GET", task_path("/shells/1"), "", token).status, 403);
    EXPECT_EQ(call("GET", task_path("/logs/%25shell-1"), "", token).status, 404);
  }
}

TEST_F(RecordedShells, EndWithTheReasonWhenTheyCannotBeRecorded) {
  ASSERT_EQ(record(true), 202);
  begin({"one", "two"});
  const std::string shell = open();
  writes_left = 1;
  EXPECT_EQ(use(shell), notice() + "one\r\nshells in task " + task_.task_id() +
                            " are recorded, and this one ends because it cannot be: no space "
                            "left on device\r\n");
  EXPECT_EQ(kept(1), "one");
  const net::HttpResponse refused = order();
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.body.find("are recorded, and this one cannot be: no space left on device"),
            std::string::npos)
      << refused.body;
  EXPECT_EQ(records().size(), 1U);
  writes_left = -1;
  EXPECT_EQ(use(open()), notice() + "onetwo");
  EXPECT_EQ(kept(2), "onetwo");
}

TEST_F(RecordedShells, OfWhoeverKnowsATerminalsSecretAreKeptToo) {
  ASSERT_EQ(record(true), 202);
  begin({});
  const auto channel = channel_to(controller_->rpc_endpoint());
  cirrus::rpc::testing::ScriptedHost host(channel);
  host.say_hello("s3cret");
  api::ReportTerminalAttachedRequest claim;
  claim.set_locator(host.locator());
  claim.set_trusted_secret("s3cret");
  grpc::ClientContext context;
  context.AddMetadata("org.cirruslabs.task-id", task_.task_id());
  context.AddMetadata("org.cirruslabs.client-secret", task_.client_secret());
  api::ReportTerminalAttachedResponse claimed;
  const grpc::Status attached =
      api::CirrusCIService::NewStub(channel)->ReportTerminalAttached(&context, claim, &claimed);
  ASSERT_TRUE(attached.ok()) << attached.error_message();

  cirrus::rpc::testing::ScriptedGuest guest(channel);
  guest.say_hello(claim.locator(), "s3cret");
  cirrus::rpc::testing::ScriptedShell shell(channel);
  shell.say_hello(claim.locator(), host.order().token());
  ASSERT_TRUE(shell.print("of the guest"));
  shell.half_close();
  std::string seen;
  for (GuestTerminalResponse message; guest.hear(message);) {
    seen += message.output().data();
  }
  EXPECT_EQ(seen, notice() + "of the guest");
  EXPECT_EQ(kept(1), "of the guest");
  const std::string who = records()[0]["opened_by"];
  EXPECT_TRUE(who.starts_with("holder of a terminal's secret at 127.0.0.1")) << who;
  EXPECT_EQ(get("/api/v1/audit?action=task.shell")["audit"][0]["actor"], who);
}

TEST_F(RecordedShells, TheSettingIsReadStrictlyAndAudited) {
  EXPECT_EQ(get("/api/v1/pools/default")["pool"]["record_shells"], false);
  for (const json& bad : {json("yes"), json(1), json::array()}) EXPECT_EQ(record(bad), 400);
  ASSERT_EQ(record(true), 202);
  ASSERT_EQ(record(nullptr), 202);
  ASSERT_EQ(call("POST", "/api/v1/pools/default", R"({"lost_after_seconds":60})").status, 202);
  EXPECT_EQ(get("/api/v1/pools/default")["pool"]["record_shells"], true);
  ASSERT_EQ(record(false), 202);
  const json entries = get("/api/v1/audit?action=pool.shells")["audit"];
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0]["subject"], "default (not recorded)");
  EXPECT_EQ(entries[1]["subject"], "default (recorded)");
  const net::HttpResponse made =
      call("POST", "/api/v1/pools", R"({"name":"macs","record_shells":true})");
  EXPECT_EQ(made.status, 202) << made.body;
  EXPECT_EQ(get("/api/v1/pools/macs")["pool"]["record_shells"], true);
}

}  // namespace cirrus::controller
