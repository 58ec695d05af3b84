// SPDX-License-Identifier: MIT
#include "isolation/none/none.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include "base/ids.h"
#include "isolation/none/working_directory.h"
#include "os/cgroup.h"
#include "os/file_lock.h"
#include "os/files.h"
#include "os/proc.h"
#include "os/reach.h"
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

// With a temporary root of its own, so that the fixed name is free.
class WorkingDirectory : public ::testing::Test {
 protected:
  WorkingDirectory()
      : root_(os::TempDir::create("cirrus-place").value()),
        directories_(TaskDirectories::of("cookie", root_.path(), root_.path() / "ledger")) {}
  std::filesystem::path fixed() const { return root_.path() / "cirrus-build"; }
  static unsigned mode_of(const std::filesystem::path& path) {
    return static_cast<unsigned>(std::filesystem::status(path).permissions());
  }

  os::TempDir root_;
  TaskDirectories directories_;
};

TEST_F(WorkingDirectory, HasTheFixedNameIfThatIsFree) {
  EXPECT_EQ(make_working_directory(directories_).value(), fixed());
  EXPECT_EQ(mode_of(fixed()), 0700U);
  EXPECT_FALSE(std::filesystem::exists(directories_.own_name));
  const TaskDirectories second =
      TaskDirectories::of("other", root_.path(), root_.path() / "ledger2");
  EXPECT_EQ(make_working_directory(second).value(), second.own_name);
  // Each removes its own and nothing else.
  EXPECT_TRUE(remove_earlier(second).ok());
  EXPECT_TRUE(std::filesystem::exists(fixed()));
  EXPECT_TRUE(remove_earlier(directories_).ok());
  EXPECT_FALSE(std::filesystem::exists(fixed()));
}

TEST_F(WorkingDirectory, ALinkInTheFixedPlaceIsLeftAlone) {
  const os::TempDir elsewhere = os::TempDir::create("cirrus-elsewhere").value();
  std::filesystem::create_directory_symlink(elsewhere.path(), fixed());
  EXPECT_EQ(make_working_directory(directories_).value(), directories_.own_name);
  EXPECT_TRUE(remove_earlier(directories_).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(fixed()));
  EXPECT_TRUE(std::filesystem::exists(elsewhere.path()));
}

TEST_F(WorkingDirectory, IsFoundAgainAtEveryMomentOfItsMaking) {
  // Made, and nothing more: the name alone says whose it is.
  std::filesystem::create_directories(directories_.own_name / "below");
  EXPECT_TRUE(remove_earlier(directories_).ok());
  EXPECT_FALSE(std::filesystem::exists(directories_.own_name));
  // A directory of somebody else took the fixed name after ours had been noted and removed.
  ASSERT_TRUE(make_working_directory(directories_).ok());
  std::filesystem::rename(fixed(), root_.path() / "kept");  // its inode is not free for another
  std::filesystem::create_directory(fixed());
  EXPECT_TRUE(remove_earlier(directories_).ok());
  EXPECT_TRUE(std::filesystem::exists(fixed()));
}

TEST_F(WorkingDirectory, ATasksUserGetsAPlaceItCanWorkIn) {
  os::User user;
  user.name = "somebody";
  user.uid = 54321;
  user.gid = 54321;
  EXPECT_FALSE(os::may_write_in(root_.path(), user)) << "a private directory";
  EXPECT_TRUE(os::may_write_in("/tmp", user));
  EXPECT_FALSE(os::may_enter(root_.path(), user));
  EXPECT_FALSE(os::may_enter("/no/such/place", user));
  EXPECT_TRUE(os::may_enter("/usr", user));
  EXPECT_FALSE(os::may_write_in("/usr", user));
  EXPECT_EQ(place_for(user).value(), "/tmp");
  EXPECT_EQ(place_for(std::nullopt).value(), os::temporary_root());
}

TEST(None, KnowsWhetherADeadAgentEverHeardOfItsTask) {
  const os::TempDir root = os::TempDir::create("cirrus-none-test").value();
  const std::unique_ptr<Isolation> none = make_none(false);
  const LaunchRequest request = request_in(root.path());
  const std::unique_ptr<Instance> instance = none->launch(request, StopToken()).value();
  EXPECT_TRUE(instance->marks_receipt());
  EXPECT_FALSE(instance->may_have_begun());
  // As the real agent does it.
  ASSERT_TRUE(instance->send_bootstrap("printf '\\nreceived\\n' >&3").ok());
  ASSERT_TRUE(instance->wait_end(StopToken(), soon()));
  EXPECT_TRUE(instance->may_have_begun());
  EXPECT_TRUE(instance->destroy().ok());
}

TEST(None, EndsWhatHidesBelowALiveAgent) {
  const os::TempDir root = os::TempDir::create("cirrus-none-test").value();
  const std::unique_ptr<Isolation> none = make_none(false);
  const LaunchRequest request = request_in(root.path());
  InstanceRecord record;
  const auto pid_file = root.path() / "pid";
  {
    const std::unique_ptr<Instance> instance = none->launch(request, StopToken()).value();
    record = instance->record();
    // Without its environment and in a session of its own: only its parents are known.
    ASSERT_TRUE(instance
                    ->send_bootstrap("env -i setsid sh -c 'echo $$ > " + pid_file.string() +
                                     ".t; mv " + pid_file.string() + ".t " + pid_file.string() +
                                     "; sleep 1000; sleep 1000' & wait; wait")
                    .ok());
    while (!std::filesystem::exists(pid_file)) ::usleep(1000);
  }
  record.task_cookie.clear();
  os::Cgroup group = os::Cgroup::at(record.cgroup_path);
  record.cgroup_path.clear();
  const auto pid = static_cast<pid_t>(std::stol(os::read_file(pid_file).value()));
  const std::uint64_t start = os::process_start_time(pid).value();
  const std::unique_ptr<Instance> adopted = none->adopt(record).value();
  EXPECT_TRUE(adopted->destroy().ok());
  EXPECT_FALSE(os::is_alive(pid, start));
  (void)group.remove();
}

}  // namespace
}  // namespace cirrus::isolation
