// SPDX-License-Identifier: MIT
// Messages as the reference encodes them. Source: protocol §16.
#include <string>

#include <gtest/gtest.h>

#include "cirrus_agent.pb.h"
#include "cirrus_workers.pb.h"

namespace cirrus::controller {

namespace {
namespace api = org::cirruslabs::ci::services::cirruscigrpc;

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

/// Reads, and writes the same bytes again.
template <typename Message>
Message read(const std::string& hex) {
  Message message;
  EXPECT_TRUE(message.ParseFromString(bytes_of(hex))) << hex;
  std::string again;
  EXPECT_TRUE(message.SerializeToString(&again));
  EXPECT_EQ(again.size(), bytes_of(hex).size()) << "a field was not understood: " << hex;
  EXPECT_EQ(message.GetReflection()->GetUnknownFields(message).field_count(), 0) << hex;
  return message;
}
}  // namespace

TEST(MessageBytes, WhatWorkersSend) {
  const auto hello = read<api::RegisterRequest>(
      "0a03746f6b121d0a0b0a026f7312056c696e7578120e0a03637075110000000000000040");
  EXPECT_EQ(hello.registration_token(), "tok");
  EXPECT_EQ(hello.worker_info().labels().at("os"), "linux");
  EXPECT_EQ(hello.worker_info().resources_total().at("cpu"), 2);
  EXPECT_EQ(read<api::RegisterResponse>("0a027331").session_token(), "s1");
  const auto poll = read<api::PollRequest>(
      "0a0c0a0a0a046e616d651202773112012a1a0e0a0363707511000000000000f03f22023432");
  EXPECT_EQ(poll.old_running_tasks(0), 42);
  EXPECT_EQ(poll.running_tasks(0), "42");
  EXPECT_EQ(poll.resources_in_use().at("cpu"), 1);
}

TEST(MessageBytes, WhatWorkersAreAnswered) {
  const auto start = read<api::PollResponse>(
      "0a22082a120263731a02737322020a00320e0a0363707511000000000000f03f420234321801");
  ASSERT_EQ(start.tasks_to_start_size(), 1);
  EXPECT_EQ(start.tasks_to_start(0).task_id(), "42");
  EXPECT_EQ(start.tasks_to_start(0).old_task_id(), 42);
  EXPECT_EQ(start.tasks_to_start(0).client_secret(), "cs");
  EXPECT_EQ(start.tasks_to_start(0).server_secret(), "ss");
  EXPECT_TRUE(start.tasks_to_start(0).isolation().has_none()) << "empty, but there";
  EXPECT_EQ(start.poll_interval_in_seconds(), 1U);
  const auto stop = read<api::PollResponse>("20012a023432");
  EXPECT_TRUE(stop.shutdown());
  EXPECT_EQ(stop.tasks_to_stop(0), "42");
  const auto vetu = read<api::PollResponse>(
      "0a22221c2a1a0a03696d67120561646d696e1a0561646d696e20042880603a0042023433");
  EXPECT_EQ(vetu.tasks_to_start(0).isolation().vetu().image(), "img");
  EXPECT_EQ(vetu.tasks_to_start(0).isolation().vetu().memory(), 12288U);
  EXPECT_TRUE(vetu.tasks_to_start(0).isolation().vetu().has_host());
}

TEST(MessageBytes, WhatAgentsSendAndAreAnswered) {
  const auto identity = read<api::TaskIdentification>("082a12026373");
  EXPECT_EQ(identity.task_id(), 42);
  EXPECT_EQ(identity.secret(), "cs");
  const auto key = read<api::LogEntry>("0a100a06082a1202637312046d61696e1801");
  EXPECT_EQ(key.key().command_name(), "main");
  EXPECT_TRUE(key.key().raw());
  EXPECT_EQ(read<api::LogEntry>("12050a0368690a").chunk().data(), "hi\n");
  const auto commands = read<api::CommandsResponse>(
      "0a0a0a02434912047472756512110a046d61696e1a090a076563686f2068691a02737320901c2a027077");
  EXPECT_EQ(commands.environment().at("CI"), "true");
  EXPECT_EQ(commands.commands(0).script_instruction().scripts(0), "echo hi");
  EXPECT_EQ(commands.servertoken(), "ss");
  EXPECT_EQ(commands.timeout_in_seconds(), 3600);
  EXPECT_EQ(commands.secrets_to_mask(0), "pw");
  const auto result = read<api::CommandResult>("0a046d61696e18e8072806");
  EXPECT_EQ(result.status(), api::COMPLETED);
  EXPECT_EQ(result.duration_in_nanos(), 1000);
}

}  // namespace cirrus::controller
