// SPDX-License-Identifier: MIT
// Byte vectors of reference peers: what they send must parse to this, and this must serialise to
// the same bytes. Maps have at most one entry, so that the order of bytes is defined.
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "cirrus_agent.pb.h"
#include "cirrus_workers.pb.h"

namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

template <typename Message>
void expect_vector(const std::string& hex, const std::function<void(Message&)>& fill) {
  Message expected;
  fill(expected);
  EXPECT_EQ(expected.SerializeAsString(), from_hex(hex)) << expected.DebugString();
  Message parsed;
  ASSERT_TRUE(parsed.ParseFromString(from_hex(hex)));
  EXPECT_EQ(parsed.DebugString(), expected.DebugString());
}

TEST(WireVectors, RegisterRequest) {
  expect_vector<pb::RegisterRequest>(
      "0a03746f6b121d0a0b0a026f7312056c696e7578120e0a03637075110000000000000040", [](auto& m) {
        m.set_registration_token("tok");
        (*m.mutable_worker_info()->mutable_labels())["os"] = "linux";
        (*m.mutable_worker_info()->mutable_resources_total())["cpu"] = 2;
      });
}

TEST(WireVectors, RegisterResponse) {
  expect_vector<pb::RegisterResponse>("0a027331", [](auto& m) { m.set_session_token("s1"); });
}

TEST(WireVectors, PollRequest) {
  expect_vector<pb::PollRequest>(
      "0a0c0a0a0a046e616d651202773112012a1a0e0a0363707511000000000000f03f22023432", [](auto& m) {
        (*m.mutable_worker_info()->mutable_labels())["name"] = "w1";
        m.add_old_running_tasks(42);
        m.add_running_tasks("42");
        (*m.mutable_resources_in_use())["cpu"] = 1;
      });
}

TEST(WireVectors, PollResponseWithOneTask) {
  expect_vector<pb::PollResponse>(
      "0a22082a120263731a02737322020a00320e0a0363707511000000000000f03f420234321801", [](auto& m) {
        auto& task = *m.add_tasks_to_start();
        task.set_old_task_id(42);
        task.set_task_id("42");
        task.set_client_secret("cs");
        task.set_server_secret("ss");
        task.mutable_isolation()->mutable_none();
        (*task.mutable_resources_to_use())["cpu"] = 1;
        m.set_poll_interval_in_seconds(1);
      });
}

TEST(WireVectors, PollResponseWithShutdownAndStopOrder) {
  expect_vector<pb::PollResponse>("20012a023432", [](auto& m) {
    m.set_shutdown(true);
    m.add_tasks_to_stop("42");
  });
}

TEST(WireVectors, PollResponseWithVetuTask) {
  expect_vector<pb::PollResponse>(
      "0a22221c2a1a0a03696d67120561646d696e1a0561646d696e20042880603a0042023433", [](auto& m) {
        auto& task = *m.add_tasks_to_start();
        task.set_task_id("43");
        auto& vetu = *task.mutable_isolation()->mutable_vetu();
        vetu.set_image("img");
        vetu.set_user("admin");
        vetu.set_password("admin");
        vetu.set_cpu(4);
        vetu.set_memory(12288);
        vetu.mutable_host();
      });
}

TEST(WireVectors, TaskIdentification) {
  expect_vector<pb::TaskIdentification>("082a12026373", [](auto& m) {
    m.set_task_id(42);
    m.set_secret("cs");
  });
}

TEST(WireVectors, LogEntryKey) {
  expect_vector<pb::LogEntry>("0a100a06082a1202637312046d61696e1801", [](auto& m) {
    m.mutable_key()->mutable_task_identification()->set_task_id(42);
    m.mutable_key()->mutable_task_identification()->set_secret("cs");
    m.mutable_key()->set_command_name("main");
    m.mutable_key()->set_raw(true);
  });
}

TEST(WireVectors, LogEntryChunk) {
  expect_vector<pb::LogEntry>("12050a0368690a",
                              [](auto& m) { m.mutable_chunk()->set_data("hi\n"); });
}

TEST(WireVectors, CommandsResponse) {
  expect_vector<pb::CommandsResponse>(
      "0a0a0a02434912047472756512110a046d61696e1a090a076563686f2068691a02737320901c2a027077",
      [](auto& m) {
        (*m.mutable_environment())["CI"] = "true";
        auto& command = *m.add_commands();
        command.set_name("main");
        command.mutable_script_instruction()->add_scripts("echo hi");
        m.set_servertoken("ss");
        m.set_timeout_in_seconds(3600);
        m.add_secrets_to_mask("pw");
      });
}

TEST(WireVectors, CommandResult) {
  expect_vector<pb::CommandResult>("0a046d61696e18e8072806", [](auto& m) {
    m.set_name("main");
    m.set_duration_in_nanos(1000);
    m.set_status(pb::COMPLETED);
  });
}

TEST(WireVectors, PresenceOfTheEmptyNoneIsolationIsOnTheWire) {
  pb::Isolation isolation;
  isolation.mutable_none();
  EXPECT_EQ(isolation.SerializeAsString(), from_hex("0a00"));
}

TEST(WireVectors, OurExtensionIsInvisibleToAReferencePeer) {
  pb::PollResponse::AgentAwareTask task;
  task.mutable_cirrus_commands()->set_servertoken("x");
  // Field 1000, length-delimited: a reference peer skips it as an unknown field.
  EXPECT_EQ(task.SerializeAsString(), from_hex("c23e031a0178"));
}

}  // namespace
