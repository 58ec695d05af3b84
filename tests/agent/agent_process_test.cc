// SPDX-License-Identifier: MIT
// The real cirrus-agent, a bootstrap on its descriptor 0 and a gateway on a unix socket.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attach_server.h"
#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"

namespace cirrus::tests {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string framed(const gateway::v1::Bootstrap& bootstrap) {
  const std::string body = bootstrap.SerializeAsString();
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes += static_cast<char>((body.size() >> static_cast<unsigned>(shift)) & 0xFFU);
  }
  return bytes + body;
}

class AgentProcess : public ::testing::Test {
 protected:
  AgentProcess() : directory_(std::move(os::TempDir::create("agent-process")).value()) {
    bootstrap.set_task_id("7");
    bootstrap.set_gateway_path(socket());
    bootstrap.set_agent_secret("agent half");
    bootstrap.set_gateway_secret("gateway half");
    bootstrap.set_pre_created_working_dir((directory_.path() / "work").string());
    bootstrap.set_scratch_directory((directory_.path() / "scratch").string());
    bootstrap.set_kill_grace_milliseconds(200);
    bootstrap.mutable_commands()->set_timeout_in_seconds(60);
  }

  std::string socket() const { return (directory_.path() / "gateway.sock").string(); }
  void add_script(const std::string& name, const std::vector<std::string>& lines) {
    auto& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name(name);
    for (const std::string& line : lines) command.mutable_script_instruction()->add_scripts(line);
  }
  /// Starts the agent and gives it the bootstrap.
  os::Process start() { return start({std::string(CIRRUS_BINARY_DIR) + "/cirrus-agent", "run"}); }
  os::Process start(std::vector<std::string> argv) {
    os::Pipe input = std::move(os::make_pipe()).value();
    os::SpawnOptions options;
    options.argv = std::move(argv);
    options.descriptors = {{0, input.read_end.get()}, {2, 2}};
    Result<os::Process> process = os::Process::spawn(options);
    EXPECT_TRUE(process.ok());
    EXPECT_TRUE(os::write_all(input.write_end.get(), framed(bootstrap)).ok());
    return std::move(process).value();
  }
  static std::optional<int> exit_code(os::Process& process) {
    const Result<os::ExitStatus> end = process.wait(StopToken(), steady_clock::now() + seconds(20));
    return end.ok() ? end.value().code : std::nullopt;
  }

  gateway::v1::Bootstrap bootstrap;
  rpc::testing::FakeGateway gateway;

 private:
  os::TempDir directory_;
};

TEST_F(AgentProcess, RunsATaskOverARealSocket) {
  const AttachServer server(socket(), gateway);
  add_script("main", {"echo 'Foo'", "ls /proc/self/fd | wc -l > fds"});
  os::Process agent = start();
  EXPECT_EQ(exit_code(agent), 0);
  EXPECT_THAT(gateway.log("main"), HasSubstr("echo 'Foo'\nFoo\n"));
  EXPECT_THAT(gateway.statuses(), ElementsAre("main=COMPLETED"));
  EXPECT_TRUE(gateway.finished());
  EXPECT_THAT(gateway.violations(), IsEmpty());
}

// Version skew: see tests/compat/data/first/README.md.
TEST_F(AgentProcess, RunsATaskOfABootstrapOfTheFirstRelease) {
  const AttachServer server(socket(), gateway);
  const gateway::v1::Bootstrap paths = bootstrap;
  ASSERT_TRUE(bootstrap.ParseFromString(
      os::read_file(CIRRUS_SOURCE_DIR "/tests/compat/data/first/bootstrap.pb").value()));
  bootstrap.set_gateway_path(paths.gateway_path());
  bootstrap.set_pre_created_working_dir(paths.pre_created_working_dir());
  bootstrap.set_scratch_directory(paths.scratch_directory());
  os::Process agent = start();
  EXPECT_EQ(exit_code(agent), 0);
  EXPECT_THAT(gateway.log("main"), HasSubstr("\nof an earlier worker\n"));
  EXPECT_THAT(gateway.statuses(), ElementsAre("main=COMPLETED"));
  EXPECT_TRUE(gateway.finished());
  EXPECT_THAT(gateway.violations(), IsEmpty());
}

TEST_F(AgentProcess, LeavesQuietlyWithoutABootstrap) {
  os::SpawnOptions options;
  options.argv = {std::string(CIRRUS_BINARY_DIR) + "/cirrus-agent", "run"};
  os::Process agent = std::move(os::Process::spawn(options)).value();
  EXPECT_EQ(exit_code(agent), 0);
}

TEST_F(AgentProcess, GoesOnAcrossAGatewayThatWentAway) {
  std::optional<AttachServer> server(std::in_place, socket(), gateway);
  add_script("main", {"seq 1 20000", "while [ ! -e go ]; do sleep 0.02; done", "seq 20001 40000"});
  os::Process agent = start();
  EXPECT_TRUE(gateway.wait_for_log("main", "\n20000\n"));
  server.reset();
  const std::string work = bootstrap.pre_created_working_dir();
  EXPECT_TRUE(os::write_file(work + "/go", "").ok());
  server.emplace(socket(), gateway);
  EXPECT_EQ(exit_code(agent), 0);
  std::string wanted = "seq 1 20000\n";
  for (int n = 1; n <= 20000; ++n) wanted += std::to_string(n) + "\n";
  wanted += "while [ ! -e go ]; do sleep 0.02; done\nseq 20001 40000\n";
  for (int n = 20001; n <= 40000; ++n) wanted += std::to_string(n) + "\n";
  EXPECT_EQ(gateway.log("main"), wanted);
  EXPECT_THAT(gateway.violations(), IsEmpty());
}

TEST_F(AgentProcess, CancelsOnSignalWithNobodyListening) {
  add_script("main", {"echo $$ > pid", "sleep 86399"});
  os::Process agent = start();
  const std::string work = bootstrap.pre_created_working_dir();
  while (!os::read_file(work + "/pid").ok() || os::read_file(work + "/pid").value().empty()) {
    ASSERT_TRUE(wait_for(StopToken(), std::chrono::milliseconds(5)));
  }
  const int script = std::stoi(os::read_file(work + "/pid").value());
  agent.send_signal(SIGTERM);
  for (int tries = 0; ::kill(script, 0) == 0 && tries < 1000; ++tries) {
    ASSERT_TRUE(wait_for(StopToken(), std::chrono::milliseconds(5)));
  }
  EXPECT_EQ(::kill(script, 0), -1);
  const AttachServer server(socket(), gateway);
  EXPECT_EQ(exit_code(agent), 0);
  EXPECT_THAT(gateway.log("main"), HasSubstr("\nContext canceled!"));
  EXPECT_THAT(gateway.statuses(), ElementsAre("main=FAILED"));
}

TEST_F(AgentProcess, IsStaticAndSmall) {
  const std::string program = std::string(CIRRUS_BINARY_DIR) + "/cirrus-agent";
  const Result<std::string> head = os::read_file(program, 256U << 20U);
  ASSERT_TRUE(head.ok());
  if (head.value().find("libasan") != std::string::npos ||
      head.value().find("libtsan") != std::string::npos) {
    GTEST_SKIP() << "this tree links the agent dynamically";
  }
  os::SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "strip -o /dev/stdout " + program + " | wc -c; ldd " + program};
  const auto output = os::run_command(options, "", StopToken(), steady_clock::now() + seconds(20));
  ASSERT_TRUE(output.ok());
  EXPECT_LE(std::stol(output.value().output), 24L << 20);
  EXPECT_THAT(output.value().errors, HasSubstr("not a dynamic executable"));
}

TEST_F(AgentProcess, RunsInAnEmptyRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may change the root";
  const std::filesystem::path root = std::filesystem::path(socket()).parent_path() / "root";
  ASSERT_TRUE(os::make_directories(root / "tmp").ok());
  std::filesystem::copy_file(std::string(CIRRUS_BINARY_DIR) + "/cirrus-agent", root / "agent");
  // The one program there is: the agent itself, printing its version.
  const AttachServer server((root / "gateway.sock").string(), gateway);
  bootstrap.set_gateway_path("/gateway.sock");
  bootstrap.set_scratch_directory("");
  bootstrap.set_pre_created_working_dir("");
  (*bootstrap.mutable_commands()->mutable_environment())["CIRRUS_SHELL"] = "direct";
  add_script("main", {"/agent --version"});
  os::Process agent = start({"chroot", root.string(), "/agent", "run"});
  EXPECT_EQ(exit_code(agent), 0);
  EXPECT_THAT(gateway.log("main"), HasSubstr("cirrus-agent "));
  EXPECT_THAT(gateway.statuses(), ElementsAre("main=COMPLETED"));
}

TEST_F(AgentProcess, RunsATaskOnArm64) {
  const std::string program = std::string(CIRRUS_SOURCE_DIR) + "/build/arm64/cirrus-agent";
  if (!std::filesystem::exists("/usr/bin/qemu-aarch64-static")) {
    GTEST_SKIP() << "qemu-aarch64-static is not installed";
  }
  if (!std::filesystem::exists(program)) GTEST_SKIP() << "run scripts/agent-arm64 first";
  const AttachServer server(socket(), gateway);
  add_script("main", {"echo $CIRRUS_ARCH"});
  os::Process agent = start({"/usr/bin/qemu-aarch64-static", program, "run"});
  EXPECT_EQ(exit_code(agent), 0);
  EXPECT_THAT(gateway.log("main"), HasSubstr("\narm64\n"));
  EXPECT_THAT(gateway.statuses(), ElementsAre("main=COMPLETED"));
}

}  // namespace
}  // namespace cirrus::tests
