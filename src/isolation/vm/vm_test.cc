// SPDX-License-Identifier: MIT
// The command lines of the tools, and what becomes of a launch when one of them fails.
#include "isolation/vm/vm.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/strings.h"
#include "isolation/vm/tool_command.h"
#include "isolation/vm/vm_tool.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::isolation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

IsolationSpec tart(const std::string& image) {
  IsolationSpec spec;
  spec.mutable_tart()->set_image(image);
  return spec;
}
IsolationSpec vetu(const std::string& image) {
  IsolationSpec spec;
  spec.mutable_vetu()->set_image(image);
  return spec;
}

TEST(VmTool, TartIsCalledAsTheReferenceCallsIt) {
  IsolationSpec wanted = tart("ghcr.io/cirruslabs/macos:latest");
  IsolationSpec::Tart& all = *wanted.mutable_tart();
  all.set_cpu(4);
  all.set_memory(8192);
  all.set_disk_size(100);
  all.set_display("1920x1080");
  all.set_softnet(true);
  all.set_nested(true);
  auto& volume = *all.add_volumes();
  volume.set_name("src");
  volume.set_source("/opt/my src");
  volume.set_read_only(true);
  const VmSpec spec = VmSpec::from(wanted, {"10.0.0.0/8", "192.168.1.0/24"}).value();
  EXPECT_EQ(spec.user, "admin");
  EXPECT_EQ(spec.password, "admin");
  EXPECT_EQ(spec.port, 22);
  EXPECT_THAT(pull_command(spec), ElementsAre("tart", "pull", "ghcr.io/cirruslabs/macos:latest"));
  EXPECT_THAT(clone_command(spec, "vm"),
              ElementsAre("tart", "clone", "ghcr.io/cirruslabs/macos:latest", "vm"));
  EXPECT_THAT(set_commands(spec, "vm"),
              ElementsAre(Argv{"tart", "set", "vm", "--random-mac"},
                          Argv{"tart", "set", "vm", "--cpu", "4"},
                          Argv{"tart", "set", "vm", "--memory", "8192"},
                          Argv{"tart", "set", "vm", "--disk-size", "100"},
                          Argv{"tart", "set", "vm", "--display", "1920x1080"}));
  EXPECT_THAT(
      run_command(spec, "vm", {}),
      ElementsAre("tart", "run", "--no-graphics", "--no-clipboard", "--no-audio",
                  "--root-disk-opts", "sync=none", "--net-softnet", "--net-softnet-allow",
                  "10.0.0.0/8,192.168.1.0/24", "--nested", "--dir", "src:/opt/my src:ro", "vm"));
  EXPECT_THAT(address_command("tart", "vm"), ElementsAre("tart", "ip", "--wait", "30", "vm"));
  EXPECT_THAT(stop_command("tart", "vm"), ElementsAre("tart", "stop", "--timeout", "5", "vm"));
  EXPECT_THAT(delete_command("tart", "vm"), ElementsAre("tart", "delete", "vm"));
  EXPECT_THAT(list_command("tart"), ElementsAre("tart", "list", "--quiet"));
}

TEST(VmTool, VetuIsCalledAsTheReferenceCallsIt) {
  IsolationSpec wanted = vetu("debian");
  wanted.mutable_vetu()->set_cpu(2);
  wanted.mutable_vetu()->mutable_host();
  VmSpec spec = VmSpec::from(wanted).value();
  EXPECT_THAT(set_commands(spec, "vm"), ElementsAre(Argv{"vetu", "set", "vm", "--cpu", "2"}));
  EXPECT_THAT(
      run_command(spec, "vm", {"--net-host-mtu", "1400", "--device", "x"}),
      ElementsAre("vetu", "run", "--net-host", "--net-host-mtu", "1400", "--device", "x", "vm"));
  wanted.mutable_vetu()->mutable_bridged()->set_interface("br0");
  spec = VmSpec::from(wanted).value();
  EXPECT_THAT(run_command(spec, "vm", {}),
              ElementsAre("vetu", "run", "--net-bridged", "br0", "vm"));
}

// T07: no word of a task becomes an option, or two words.
TEST(VmTool, T07_WordsOfATaskStayWords) {
  for (const char* image : {"", "-evil", "--help", "a\nb"}) {
    EXPECT_EQ(VmSpec::from(tart(image)).error().code(), Code::InvalidArgument) << image;
    EXPECT_EQ(VmSpec::from(vetu(image)).error().code(), Code::InvalidArgument) << image;
  }
  const std::string odd = "it's \"$(x)\" `y` ;";
  EXPECT_THAT(pull_command(VmSpec::from(tart(odd)).value()), ElementsAre("tart", "pull", odd));
  for (const auto& [name, source] : std::vector<std::pair<std::string, std::string>>{
           {"-n", "/x"}, {"a:b", "/x"}, {"n", "/x:ro"}, {"n", ""}, {"n", "-x"}, {"n", "/a\nb"}}) {
    IsolationSpec spec = tart("i");
    auto& volume = *spec.mutable_tart()->add_volumes();
    volume.set_name(name);
    volume.set_source(source);
    EXPECT_EQ(VmSpec::from(spec).error().code(), Code::InvalidArgument) << name << " " << source;
  }
  for (const char* display : {"x", "1920", "1920x", "-1x1", "1x1 --evil"}) {
    IsolationSpec spec = tart("i");
    spec.mutable_tart()->set_display(display);
    EXPECT_EQ(VmSpec::from(spec).error().code(), Code::InvalidArgument) << display;
  }
  IsolationSpec bridged = vetu("i");
  bridged.mutable_vetu()->mutable_bridged()->set_interface("--net-host");
  EXPECT_FALSE(VmSpec::from(bridged).ok());
  IsolationSpec port = vetu("i");
  port.mutable_vetu()->set_port(70000);
  EXPECT_FALSE(VmSpec::from(port).ok());
}

TEST(ToolCommand, SaysWhatTheToolSays) {
  EXPECT_EQ(first_meaningful_line("\n  \n  no space left\nmore\n", "out"), "no space left");
  EXPECT_EQ(first_meaningful_line("\n", " out \n"), "out");
  const Monotonic soon = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto sh = [&](const std::string& script) {
    return run_tool({"sh", "-c", script}, os::current_environment(), StopToken(), soon);
  };
  EXPECT_EQ(sh("echo out; echo err >&2").value(), "out\n");
  EXPECT_THAT(sh("echo; echo 'image not found' >&2; exit 2").error().to_string(),
              HasSubstr("exit status 2: image not found"));
  EXPECT_THAT(run_tool({"cirrus-no-such-tool", "x"}, os::current_environment(), StopToken(), soon)
                  .error()
                  .to_string(),
              HasSubstr("is not on PATH"));
  EXPECT_EQ(run_tool({"sleep", "60"}, os::current_environment(), StopToken(),
                     std::chrono::steady_clock::now() + std::chrono::milliseconds(100))
                .error()
                .code(),
            Code::DeadlineExceeded);
}

TEST(AgentPrograms, NamesWhereItLooked) {
  const os::TempDir root = os::TempDir::create("vm-test").value();
  AgentPrograms programs;
  programs.own = "/own";
  programs.own_kind = {"linux", "amd64"};
  programs.directories = {root.path(), root.path() / "more"};
  programs.reference_cache = root.path() / "cache";
  EXPECT_EQ(programs.find({"linux", "amd64"}).value().path, "/own");
  const auto missing = programs.find({"darwin", "arm64"});
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().to_string(),
              HasSubstr((root.path() / "cirrus-agent-darwin-arm64").string()));
  EXPECT_THAT(missing.error().to_string(), HasSubstr("more/cirrus-agent-darwin-arm64"));
  EXPECT_THAT(missing.error().to_string(), HasSubstr("more/cirrus-darwin-arm64"));
  EXPECT_THAT(missing.error().to_string(), HasSubstr("cache/cirrus-<version>-darwin-arm64"));

  // From the last resort to the first.
  const auto found = [&programs] { return programs.find({"darwin", "arm64"}).value(); };
  ASSERT_TRUE(os::make_directories(programs.reference_cache).ok());
  for (const char* name : {"cirrus-0.99.2-darwin-arm64", "cirrus-0.164.2-darwin-arm64",
                           "cirrus-0.165.0-darwin-amd64", "cirrus-new-darwin-arm64"}) {
    ASSERT_TRUE(os::write_file(programs.reference_cache / name, "x").ok());
  }
  EXPECT_EQ(found().path.filename(), "cirrus-0.164.2-darwin-arm64");
  EXPECT_TRUE(found().reference);
  ASSERT_TRUE(os::write_file(root.path() / "cirrus-darwin-arm64", "x").ok());
  EXPECT_EQ(found().path.filename(), "cirrus-darwin-arm64");
  EXPECT_TRUE(found().reference);
  ASSERT_TRUE(os::write_file(root.path() / "cirrus-agent-darwin-arm64", "x").ok());
  EXPECT_EQ(found().path.filename(), "cirrus-agent-darwin-arm64");
  EXPECT_FALSE(found().reference);
}

TEST(HasDigest, AsksForTheContent) {
  const os::TempDir root = os::TempDir::create("vm-test").value();
  const std::string file = (root.path() / "a").string();
  ASSERT_TRUE(os::write_file(file, "whole").ok());
  const auto ask = [&](const std::string& content, os::Environment environment) {
    return run_tool({"/bin/sh", "-c", has_digest(file, sha256_hex(content)) + "; echo $?"},
                    environment, StopToken(),
                    std::chrono::steady_clock::now() + std::chrono::seconds(20))
        .value();
  };
  EXPECT_EQ(ask("whole", os::current_environment()), "0\n");
  EXPECT_EQ(ask("whol", os::current_environment()), "1\n");
  EXPECT_EQ(ask("whole", {{"PATH", "/nowhere"}}), "3\n");
}

TEST(ReferenceStart, TellsTheAgentItsTaskInTheReferencesWords) {
  const os::TempDir root = os::TempDir::create("vm-test").value();
  ReferenceStart start;
  start.directory = root.path().string();
  start.port = 4321;
  start.task_id = "7";
  start.client_secret = "it's $HOME";
  start.server_secret = "`x`";
  start.environment = {{"CIRRUS_VM_ID", "a b"}};
  // One that writes down what it was told, and lives until it is interrupted.
  ASSERT_TRUE(os::write_file(root.path() / "cirrus-agent",
                             "#!/bin/bash\ntrap 'exit 0' TERM\nprintf '%s\\n' \"$CIRRUS_VM_ID\" "
                             "\"$@\" > " +
                                 start.directory + "/told.new\nmv " + start.directory +
                                 "/told.new " + start.directory +
                                 "/told\nwhile :; do sleep 0.05; done\n",
                             0700)
                  .ok());
  ASSERT_TRUE(os::write_file(root.path() / "start", reference_start_script(start), 0700).ok());
  const Monotonic soon = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto run = [&soon](const std::string& command) {
    return run_tool({"sh", "-c", command}, os::current_environment(), StopToken(), soon);
  };
  EXPECT_FALSE(run(reference_watch_command(start.directory)).ok()) << "it was never started";
  ASSERT_TRUE(run(start.directory + "/start").ok());
  ASSERT_TRUE(run("until [ -e " + start.directory + "/told ]; do sleep 0.02; done").ok());
  EXPECT_EQ(os::read_file(root.path() / "told").value(),
            "a b\nagent\n-api-endpoint\nhttp://127.0.0.1:4321\n-server-token\n`x`\n"
            "-client-token\nit's $HOME\n-task-id\n7\n");
  ASSERT_TRUE(run(reference_interrupt_command(start.directory)).ok());
  EXPECT_TRUE(run(reference_watch_command(start.directory)).ok()) << "it has ended";
}

TEST(AgentCommand, IsOneWordToTheLoginShell) {
  const std::string command = agent_command("/tmp/d", "start", {{"CIRRUS_VM_ID", "it's"}});
  EXPECT_THAT(command, StartsWith("exec \"${SHELL:-/bin/sh}\" -l -c '"));
  const Monotonic soon = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  // The login shell is one that shows what it was told.
  os::Environment environment = os::current_environment();
  environment["SHELL"] = "/usr/bin/printf";
  const Result<std::string> shown =
      run_tool({"sh", "-c", "SHELL=echo; " + command}, environment, StopToken(), soon);
  EXPECT_EQ(shown.value(),
            "-l -c exec env 'CIRRUS_VM_ID=it'\\''s' /tmp/d/cirrus-agent start /tmp/d\n");
}

/// Launches with a `tart` that fails at one step, and what it was asked to do.
class Failing : public ::testing::Test {
 protected:
  Failing() {
    EXPECT_TRUE(os::write_file(root_.path() / "tart",
                               "#!/bin/sh\n"
                               "echo \"$*\" >> \"$TRACE\"\n"
                               "if [ \"$1\" = \"$FAIL\" ]; then echo \"$1: disk full\" >&2; "
                               "[ \"$1\" = run ] || exit 1; sleep 0.3; exit 1; fi\n"
                               "[ \"$1\" != run ] || exec sleep 100\n"
                               "[ \"$1\" != ip ] || echo 127.0.0.1\n",
                               0755)
                    .ok());
  }
  Error launch(const std::string& fail) {
    VmOptions options;
    options.environment = os::current_environment();
    options.environment["PATH"] = root_.path().string() + ":" + options.environment["PATH"];
    options.environment["TRACE"] = (root_.path() / "trace").string();
    options.environment["FAIL"] = fail;
    options.owner = "owner";
    options.state_directory = root_.path();
    options.boot_time = std::chrono::seconds(1);
    LaunchRequest request;
    request.task_id = "7";
    request.spec = tart("image");
    request.spec.mutable_tart()->set_cpu(2);
    request.spec.mutable_tart()->set_port(1);  // nobody listens
    request.agent_log = root_.path() / "agent.log";
    request.gateway_socket = root_.path() / "gateway.sock";
    ::setenv("PATH", options.environment["PATH"].c_str(), 1);
    const std::unique_ptr<VmIsolation> vms = make_vm(options);
    const Result<std::unique_ptr<Instance>> made = vms->launch(request, StopToken());
    EXPECT_FALSE(made.ok());
    return made.error();
  }
  /// The first words of what the tool was asked, in order.
  std::vector<std::string> trace() const {
    std::vector<std::string> verbs;
    for (const std::string& line : split(os::read_file(root_.path() / "trace").value(), '\n')) {
      if (!line.empty()) verbs.push_back(line.substr(0, line.find(' ')));
    }
    return verbs;
  }
  os::TempDir root_ = os::TempDir::create("vm-test").value();
};

TEST_F(Failing, ACloneThatFailsLeavesNothing) {
  EXPECT_THAT(launch("clone").to_string(), HasSubstr("clone: disk full"));
  EXPECT_THAT(trace(), ElementsAre("pull", "clone"));
}

TEST_F(Failing, AVmThatWasClonedIsDeleted) {
  EXPECT_THAT(launch("set").to_string(), HasSubstr("set: disk full"));
  EXPECT_THAT(trace(), ElementsAre("pull", "clone", "set", "stop", "delete"));
}

TEST_F(Failing, APullThatFailsIsNoEnd) {
  EXPECT_THAT(launch("pull").to_string(), HasSubstr("127.0.0.1"));
  EXPECT_EQ(trace().back(), "delete");
}

TEST_F(Failing, ARunThatEndsEndsTheWait) {
  const Error failure = launch("run");
  EXPECT_THAT(failure.to_string(), HasSubstr("the VM stopped while it booted: run: disk full"));
  EXPECT_EQ(trace().back(), "delete");
}

TEST_F(Failing, WhatAnEarlierStartLeftIsRemovedFirst) {
  ASSERT_TRUE(os::write_file(root_.path() / "vm-begun", "cirrus-owner-7-aaaaaaaa").ok());
  (void)launch("clone");
  const std::string said = os::read_file(root_.path() / "trace").value();
  EXPECT_THAT(said, StartsWith("stop --timeout 5 cirrus-owner-7-aaaaaaaa\n"
                               "delete cirrus-owner-7-aaaaaaaa\npull "));
}

TEST_F(Failing, WhatBeginsWhileLeftoversAreLookedForIsNone) {
  ASSERT_TRUE(
      os::write_file(root_.path() / "tart",
                     "#!/bin/sh\necho \"$*\" >> \"$TRACE\"\n"
                     "[ \"$1\" != list ] || printf 'cirrus-owner-7-a\\ncirrus-owner-8-b\\n'\n",
                     0755)
          .ok());
  ASSERT_TRUE(os::write_file(root_.path() / "tart-used", "").ok());
  VmOptions options;
  options.environment = os::current_environment();
  options.environment["PATH"] = root_.path().string() + ":" + options.environment["PATH"];
  options.environment["TRACE"] = (root_.path() / "trace").string();
  options.owner = "owner";
  options.state_directory = root_.path();
  ::setenv("PATH", options.environment["PATH"].c_str(), 1);
  make_vm(options)->remove_leftovers([this] {
    EXPECT_THAT(trace(), ElementsAre("list")) << "asked after it";
    return std::set<std::string>{"8"};
  });
  EXPECT_THAT(trace(), ElementsAre("list", "stop", "delete"));
  EXPECT_THAT(os::read_file(root_.path() / "trace").value(), HasSubstr("delete cirrus-owner-7-a"));
}

TEST_F(Failing, NoAddressIsSaid) {
  EXPECT_THAT(launch("ip").to_string(), HasSubstr("got no address"));
  EXPECT_EQ(trace().back(), "delete");
}

}  // namespace
}  // namespace cirrus::isolation
