// SPDX-License-Identifier: MIT
#include "isolation/container/create_request.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace cirrus::isolation {
namespace {
using nlohmann::json;

LaunchRequest request() {
  LaunchRequest result;
  result.agent_program = "/state/agents/a";
  result.guest_directory = "/run/x/guest";
  return result;
}

TEST(CreateRequest, T07_HostileImageNamesAreRefused) {
  for (const char* name : {"", "-v", "--privileged", "a b", "a\nb", "a\"b", "../x", "a/../b",
                           "/abs", "a?tag=b", "a%2e", "@sha256:x", "a;b", "$(x)", "\xc3\xa4"}) {
    EXPECT_EQ(check_image_name(name).error().code(), Code::InvalidArgument) << name;
  }
  for (const char* name : {"debian", "debian:bookworm", "127.0.0.1:5000/a/b:1", "ghcr.io/A_b/c-d",
                           "a@sha256:0123456789abcdef"}) {
    EXPECT_TRUE(check_image_name(name).ok()) << name;
  }
}

TEST(CreateRequest, T07_T08_VolumesAreExactOrRefused) {
  const std::pair<const char*, const char*> bad[] = {
      {"a", "/b"},
      {"/a", "b"},
      {"/a/../b", "/c"},
      {"/a", "/../c"},
      {"/a\n", "/b"},
      {"", "/b"},
      {"/a", ""},
      {"-v", "/b"},
      {"/a", "/tmp"},
      {"/a", "/"},
      {"/a", "/tmp/cirrus-ci"},
      {"/a", "//tmp//./cirrus-ci/"},
      {"/a", "/."},
      {"/a", "/tmp/cirrus-ci/guest/x"},
  };
  for (const auto& [source, target] : bad) {
    EXPECT_EQ(check_volume({source, target, false}).error().code(), Code::InvalidArgument)
        << source << " " << target;
  }
  ContainerSpec spec;
  spec.image = "i";
  spec.volumes = {{"/with space,ro\"{}", "/t:x", true}, {"/rw", "/w", false}};
  for (const ContainerSpec::Volume& volume : spec.volumes) EXPECT_TRUE(check_volume(volume).ok());
  const json body = json::parse(create_request(request(), spec, {}, "work", {{"k", "v"}}));
  const json& mounts = body["HostConfig"]["Mounts"];
  ASSERT_EQ(mounts.size(), 5U);
  EXPECT_EQ(mounts[3], json::parse(R"({"Type":"bind","Source":"/with space,ro\"{}",
                                      "Target":"/t:x","ReadOnly":true})"));
  EXPECT_EQ(mounts[4]["ReadOnly"], false);
  EXPECT_EQ(mounts[0]["ReadOnly"], true) << "the agent";
  EXPECT_EQ(mounts[1], json::parse(R"({"Type":"bind","Source":"/run/x/guest",
                                      "Target":"/tmp/cirrus-ci/guest","ReadOnly":true})"));
  EXPECT_EQ(body["HostConfig"]["Privileged"], false);
  EXPECT_EQ(body["HostConfig"]["SecurityOpt"], json::array({"label=disable"}));
  EXPECT_EQ(body["Labels"], json::parse(R"({"k":"v"})"));
}

TEST(CreateRequest, LimitsAreCountedIn64BitsAndReducedToWhatIsThere) {
  EngineInfo engine;
  engine.processors = 2;
  engine.memory_bytes = std::uint64_t{8} << 30U;
  ContainerSpec spec;
  spec.cpu = 24;
  spec.memory_mib = 128 * 1024;
  const json asked = json::parse(create_request(request(), spec, {}, "w", {}))["HostConfig"];
  EXPECT_EQ(asked["Memory"], std::uint64_t{128} << 30U);
  EXPECT_EQ(asked["NanoCpus"], 24'000'000'000);
  std::vector<std::string> notices;
  const ContainerSpec reduced = clamp(spec, engine, notices);
  EXPECT_EQ(reduced.cpu, 2);
  EXPECT_EQ(reduced.memory_mib, 8192U);
  EXPECT_EQ(notices.size(), 2U);
  spec.cpu = 0.25;
  spec.memory_mib = 6144;
  notices.clear();
  EXPECT_EQ(clamp(spec, engine, notices).memory_mib, 6144U);
  EXPECT_TRUE(notices.empty());
}

TEST(CreateRequest, OwnersSettingsAreApplied) {
  ContainerDefaults defaults;
  defaults.network = "none";
  defaults.ulimits = {{"nofile", 1024, 2048}};
  defaults.security_options = {"label=type:x", "no-new-privileges"};
  const json host =
      json::parse(create_request(request(), ContainerSpec(), defaults, "w", {}))["HostConfig"];
  EXPECT_EQ(host["NetworkMode"], "none");
  EXPECT_EQ(host["SecurityOpt"], json::array({"label=type:x", "no-new-privileges"}));
  EXPECT_EQ(host["Ulimits"], json::parse(R"([{"Name":"nofile","Soft":1024,"Hard":2048}])"));
}

TEST(CreateRequest, CompanionsShareTheNetworkAndTheMainContainerPublishesTheirPorts) {
  ContainerSpec spec;
  ContainerSpec::Companion companion;
  companion.image = "db";
  companion.environment = {{"A", "x y"}};
  companion.ports = {{5432, 0}, {80, 8080}};
  spec.companions = {companion};
  const json main = json::parse(create_request(request(), spec, {}, "w", {}));
  EXPECT_EQ(main["HostConfig"]["PortBindings"], json::parse(R"({"80/tcp":[{"HostPort":"8080"}]})"));
  const json beside = json::parse(companion_request(companion, {}, "abc", {}));
  EXPECT_EQ(beside["HostConfig"]["NetworkMode"], "container:abc");
  EXPECT_EQ(beside["Env"], json::array({"A=x y"}));
  EXPECT_FALSE(beside.contains("Cmd"));
}

}  // namespace
}  // namespace cirrus::isolation
