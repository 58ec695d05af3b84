// SPDX-License-Identifier: MIT
#include "isolation/none/none.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include "base/ids.h"
#include "os/file_lock.h"
#include "os/files.h"
#include "os/proc.h"
#include "os/temp_dir.h"

namespace cirrus::isolation {
namespace {

// A stand-in agent: reads its framed bootstrap and runs it as a shell script.
LaunchRequest request_in(const std::filesystem::path& root) {
  const auto program = root / "agent";
  if (!std::filesystem::exists(program)) {
    EXPECT_TRUE(os::write_file(program,
                               "#!/bin/sh\nhead -c 4 >/dev/null\nscript=$(cat)\n"
                               "eval \"$script\"\n",
                               0755)
                    .ok());
  }
  LaunchRequest request;
  request.task_id = random_hex(3);
  const auto directory = root / "tasks" / request.task_id;
  EXPECT_TRUE(os::make_directories(directory).ok());
  request.agent_program = program;
  request.lock_file = directory / "agent.lock";
  request.agent_log = directory / "agent.log";
  request.scratch_directory = directory / "scratch";
  request.gateway_socket = directory / "guest" / "gateway.sock";
  request.task_cookie = random_hex(8);
  request.environment = {{"PATH", "/usr/bin:/bin"}, {"CIRRUS_TASK_COOKIE", request.task_cookie}};
  return request;
}

Monotonic soon() {
  return system_clock().now() + std::chrono::seconds(20);
}

TEST(None, RunsAnAgentThatHoldsItsLockAndMayOutliveUs) {
  const os::TempDir root = os::TempDir::create("cirrus-none-test").value();
  const std::unique_ptr<Isolation> none = make_none(false);
  const LaunchRequest request = request_in(root.path());
  InstanceRecord record;
  {
    const std::unique_ptr<Instance> instance = none->launch(request, StopToken()).value();
    record = instance->record();
    EXPECT_TRUE(os::FileLock::is_held(request.lock_file));
    ASSERT_TRUE(instance->send_bootstrap("exec sleep 1000").ok());
  }
  EXPECT_TRUE(os::FileLock::is_held(request.lock_file)) << "the agent died with its handle";
  const std::unique_ptr<Instance> adopted = none->adopt(record).value();
  EXPECT_FALSE(adopted->wait_end(StopToken(), system_clock().now()));
  EXPECT_TRUE(adopted->destroy().ok());
  EXPECT_TRUE(adopted->destroy().ok());
  EXPECT_FALSE(os::FileLock::is_held(request.lock_file));
  EXPECT_FALSE(std::filesystem::exists(record.working_directory));
}

TEST(None, EndsProcessesThatLeftTheirSession) {
  const os::TempDir root = os::TempDir::create("cirrus-none-test").value();
  const std::unique_ptr<Isolation> none = make_none(false);
  const LaunchRequest request = request_in(root.path());
  const std::unique_ptr<Instance> instance = none->launch(request, StopToken()).value();
  const auto pid_file = root.path() / "pid";
  ASSERT_TRUE(instance
                  ->send_bootstrap("setsid sh -c 'trap \"\" TERM INT HUP; echo $$ > " +
                                   pid_file.string() + ".t; mv " + pid_file.string() + ".t " +
                                   pid_file.string() + "; sleep 1000; sleep 1000' & exit 3")
                  .ok());
  ASSERT_TRUE(instance->wait_end(StopToken(), soon()));
  EXPECT_EQ(instance->end_description(), "exit status 3");
  while (!std::filesystem::exists(pid_file)) ::usleep(1000);
  const auto pid = static_cast<pid_t>(std::stol(os::read_file(pid_file).value()));
  const std::uint64_t start = os::process_start_time(pid).value();
  EXPECT_TRUE(os::is_alive(pid, start));
  EXPECT_TRUE(instance->destroy().ok());
  EXPECT_FALSE(os::is_alive(pid, start));
}

TEST(None, TheReadyAgentTakesOverTheTasksLock) {
  const os::TempDir root = os::TempDir::create("cirrus-none-test").value();
  const std::unique_ptr<Isolation> none = make_none(true);
  LaunchRequest first = request_in(root.path());
  const std::unique_ptr<Instance> one = none->launch(first, StopToken()).value();
  LaunchRequest second = request_in(root.path());
  second.environment = first.environment;
  second.task_cookie = first.task_cookie;
  const std::unique_ptr<Instance> two = none->launch(second, StopToken()).value();
  EXPECT_TRUE(os::FileLock::is_held(second.lock_file));
  ASSERT_TRUE(two->send_bootstrap("echo done").ok());
  EXPECT_TRUE(two->wait_end(StopToken(), soon()));
  EXPECT_EQ(os::read_file(second.agent_log).value(), "done\n");
  EXPECT_NE(one->record().working_directory, two->record().working_directory);
  EXPECT_TRUE(one->destroy().ok());
  EXPECT_TRUE(two->destroy().ok());
}

TEST(None, SaysWhichAgentIsMissing) {
  const os::TempDir root = os::TempDir::create("cirrus-none-test").value();
  const std::unique_ptr<Isolation> none = make_none(false);
  LaunchRequest request = request_in(root.path());
  request.agent_program = "/no/such/agent";
  const auto launched = none->launch(request, StopToken());
  ASSERT_FALSE(launched.ok());
  EXPECT_NE(launched.error().to_string().find("/no/such/agent"), std::string::npos);
}

}  // namespace
}  // namespace cirrus::isolation
