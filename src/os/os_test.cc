// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include <gtest/gtest.h>

#include "base/ids.h"
#include "os/cgroup.h"
#include "os/control_group.h"
#include "os/fd.h"
#include "os/file_lock.h"
#include "os/files.h"
#include "os/host.h"
#include "os/identity.h"
#include "os/loopback.h"
#include "os/proc.h"
#include "os/process.h"
#include "os/program_text.h"
#include "os/rename.h"
#include "os/signals.h"
#include "os/temp_dir.h"
#include "os/unix_socket.h"
#include "os/user.h"
#include "os/waker.h"

namespace cirrus::os {
namespace {

Monotonic soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(20);
}

CommandOutput shell(const std::string& script, std::string_view input = {}) {
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", script};
  Result<CommandOutput> output = run_command(options, input, StopToken(), soon());
  EXPECT_TRUE(output.ok()) << (output.ok() ? "" : output.error().to_string());
  return output.ok() ? std::move(output).value() : CommandOutput{};
}

TEST(Process, ReportsCodesAndSignals) {
  EXPECT_EQ(shell("exit 7").status.code, 7);
  EXPECT_EQ(shell("kill -9 $$").status.signal, SIGKILL);
  EXPECT_EQ(shell("kill -9 $$").status.describe(), "killed by signal 9 (Killed)");
}

TEST(Process, SaysWhichProgramIsMissing) {
  SpawnOptions options;
  options.argv = {"/no/such/program"};
  const Result<Process> spawned = Process::spawn(options);
  ASSERT_FALSE(spawned.ok());
  EXPECT_EQ(spawned.error().code(), Code::NotFound);
  EXPECT_NE(spawned.error().message().find("/no/such/program"), std::string::npos);
}

TEST(Process, FeedsInputAndSeparatesTheStreams) {
  const CommandOutput output = shell("cat; echo oops >&2", "hello");
  EXPECT_EQ(output.output, "hello");
  EXPECT_EQ(output.errors, "oops\n");
}

TEST(Process, InheritsNoDescriptorOfOurs) {
  const Result<Fd> leak = open_file("/dev/null", O_RDONLY);
  ASSERT_TRUE(leak.ok());
  EXPECT_EQ(shell("for f in /proc/self/fd/*; do n=${f##*/}; [ $n -gt 2 ] && [ -e $f ] && echo $n; "
                  "done; true")
                .output,
            "");
}

TEST(Process, ResetsIgnoredSignalsInTheChild) {
  ::signal(SIGCHLD, SIG_DFL);
  ::signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(shell("kill -PIPE $$; echo survived").status.signal, SIGPIPE);
}

TEST(Process, DestructorKillsTheWholeGroup) {
  const TempDir directory = TempDir::create("cirrus-os-test").value();
  const std::string pid_file = (directory.path() / "pid").string();
  pid_t child = 0;
  {
    SpawnOptions options;
    options.argv = {"/bin/sh", "-c",
                    "trap '' TERM; sleep 1000 & echo $! > " + pid_file + ".tmp; mv " + pid_file +
                        ".tmp " + pid_file + "; wait; wait"};
    options.kill_grace = std::chrono::milliseconds(50);
    const Process process = Process::spawn(options).value();
    while (!std::filesystem::exists(pid_file)) ::usleep(1000);
    child = static_cast<pid_t>(std::stol(read_file(pid_file).value()));
    EXPECT_TRUE(process_start_time(child).has_value());
  }
  const Monotonic deadline = soon();
  while (::kill(child, 0) == 0 && std::chrono::steady_clock::now() < deadline) {
    const std::optional<std::uint64_t> start = process_start_time(child);
    if (!start || !is_alive(child, *start)) break;
  }
  const std::optional<std::uint64_t> start = process_start_time(child);
  EXPECT_TRUE(!start || !is_alive(child, *start));
}

TEST(Process, WaitEndsAtItsDeadlineAndOnStop) {
  SpawnOptions options;
  options.argv = {"sleep", "1000"};
  Process process = Process::spawn(options).value();
  const auto now = std::chrono::steady_clock::now();
  EXPECT_EQ(process.wait(StopToken(), now).error().code(), Code::DeadlineExceeded);
  StopSource source;
  source.request_stop();
  EXPECT_EQ(process.wait(source.get_token(), std::nullopt).error().code(), Code::Cancelled);
  EXPECT_EQ(process.terminate(std::chrono::seconds(5)).signal, SIGTERM);
}

TEST(Process, CommandsDoNotHangOnADaemonThatKeepsTheirOutput) {
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(shell("setsid sleep 5 & echo done").output, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(4));
}

TEST(Proc, FindsSurvivorsByTheirEnvironment) {
  SpawnOptions options;
  options.argv = {"sleep", "1000"};
  // Unique: another run of this test on the same machine must not be found.
  const std::string cookie = random_hex(8);
  options.environment = Environment{{"PATH", "/usr/bin:/bin"}, {"CIRRUS_TEST_COOKIE", cookie}};
  const Process process = Process::spawn(options).value();
  // Its environment shows from the moment it has become `sleep`, not from the spawn.
  std::vector<pid_t> found;
  for (int i = 0; i < 1000 && found.empty(); ++i) {
    found = processes_with_variable("CIRRUS_TEST_COOKIE", cookie);
    if (found.empty()) wait_for(StopToken(), std::chrono::milliseconds(5));
  }
  EXPECT_EQ(found, std::vector<pid_t>{process.pid()});
  EXPECT_TRUE(processes_with_variable("CIRRUS_TEST_COOKIE", cookie.substr(1)).empty());
  const std::vector<pid_t> ours = descendants_of(::getpid());
  EXPECT_NE(std::find(ours.begin(), ours.end(), process.pid()), ours.end());
}

TEST(Proc, NamesTheChildrenOfAProcess) {
  SpawnOptions options;
  options.argv = {"sh", "-c", "sleep 1000 & wait"};
  Process process = Process::spawn(options).value();
  const std::vector<pid_t> ours = children_of(::getpid()).value();
  EXPECT_NE(std::find(ours.begin(), ours.end(), process.pid()), ours.end());
  std::vector<pid_t> theirs;
  for (int i = 0; i < 1000 && theirs.empty(); ++i) {
    theirs = children_of(process.pid()).value();
    if (theirs.empty()) wait_for(StopToken(), std::chrono::milliseconds(5));
  }
  EXPECT_EQ(theirs.size(), 1U);
  const pid_t gone = process.pid();
  process.send_signal_to_group(SIGKILL);
  (void)process.terminate(std::chrono::milliseconds(0));
  EXPECT_EQ(children_of(gone), std::nullopt);
}

TEST(Files, WriteIsAtomicAndKeepsTheMode) {
  const TempDir directory = TempDir::create("cirrus-os-test").value();
  const auto path = directory.path() / "file";
  ASSERT_TRUE(write_file(path, "one", 0640).ok());
  ASSERT_TRUE(write_file(path, "two", 0640, true).ok());
  EXPECT_EQ(read_file(path).value(), "two");
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640U);
  EXPECT_EQ(read_file(path, 2).error().code(), Code::ResourceExhausted);
  EXPECT_EQ(read_file(directory.path() / "none").error().code(), Code::NotFound);
}

TEST(Files, RemoveTreeNeverFollowsALink) {
  const TempDir directory = TempDir::create("cirrus-os-test").value();
  const auto outside = directory.path() / "outside";
  const auto tree = directory.path() / "tree";
  ASSERT_TRUE(make_directories(outside).ok());
  ASSERT_TRUE(make_directories(tree / "a/b").ok());
  ASSERT_TRUE(write_file(outside / "precious", "x").ok());
  std::filesystem::create_directory_symlink(outside, tree / "a/link");
  ASSERT_TRUE(write_file(tree / "a/b/file", "x").ok());
  ::chmod((tree / "a/b").c_str(), 0500);
  EXPECT_TRUE(remove_tree(tree).ok());
  EXPECT_FALSE(std::filesystem::exists(tree));
  EXPECT_TRUE(std::filesystem::exists(outside / "precious"));
  EXPECT_TRUE(remove_tree(tree).ok());
}

TEST(FileLock, IsHeldByOneAndSeenByOthers) {
  const TempDir directory = TempDir::create("cirrus-os-test").value();
  const auto path = directory.path() / "lock";
  EXPECT_FALSE(FileLock::is_held(path));
  {
    const FileLock lock = FileLock::try_acquire(path).value();
    EXPECT_EQ(FileLock::try_acquire(path).error().code(), Code::AlreadyExists);
    EXPECT_TRUE(FileLock::is_held(path));
  }
  EXPECT_FALSE(FileLock::is_held(path));
}

TEST(FileLock, LivesOnInAChildThatInheritedIt) {
  const TempDir directory = TempDir::create("cirrus-os-test").value();
  const auto path = directory.path() / "lock";
  SpawnOptions options;
  options.argv = {"sleep", "1000"};
  std::optional<Process> child;
  {
    const FileLock lock = FileLock::try_acquire(path).value();
    options.descriptors = {{3, lock.descriptor()}};
    child = Process::spawn(options).value();
  }
  EXPECT_TRUE(FileLock::is_held(path));
  (void)child->terminate(std::chrono::milliseconds(1000));
  EXPECT_FALSE(FileLock::is_held(path));
}

TEST(UnixSocket, RefusesPathsThatDoNotFit) {
  EXPECT_EQ(listen_unix(std::string(200, 'x'), 0600).error().code(), Code::InvalidArgument);
}

TEST(UnixSocket, ConnectsAndReplacesAStaleSocket) {
  const TempDir directory = TempDir::create("cirrus-os-test").value();
  const auto path = directory.path() / "s";
  { const Fd stale = listen_unix(path, 0600).value(); }
  EXPECT_FALSE(connect_unix(path).ok());
  const Fd listener = listen_unix(path, 0666).value();
  const Fd client = connect_unix(path).value();
  const Fd server = accept_connection(listener.get()).value();
  ASSERT_TRUE(write_all(client.get(), "ping").ok());
  EXPECT_EQ(read_exactly(server.get(), 4).value(), "ping");
}

TEST(Waker, StopMakesAWaitReturn) {
  const Waker waker = Waker::create().value();
  StopSource source;
  Thread stopper([&] { source.request_stop(); });
  EXPECT_FALSE(wait_readable(waker.fd(), source.get_token(), std::nullopt).value());
  waker.wake();
  EXPECT_TRUE(wait_readable(waker.fd(), StopToken(), soon()).value());
  waker.clear();
  EXPECT_FALSE(wait_readable(waker.fd(), StopToken(), std::chrono::steady_clock::now()).value());
}

TEST(Signals, ArriveAsCalls) {
  block_signals({SIGUSR2});
  std::atomic<int> seen{0};
  Waker waker = Waker::create().value();
  const SignalThread thread({SIGUSR2}, [&](int number) {
    seen = number;
    waker.wake();
  });
  ::kill(::getpid(), SIGUSR2);
  ASSERT_TRUE(wait_readable(waker.fd(), StopToken(), soon()).value());
  EXPECT_EQ(seen.load(), SIGUSR2);
}

// A tree of processes in `group`: one that ignores TERM, a child in a session of its own below it.
Process tree_in(const Cgroup& group, const std::filesystem::path& ready) {
  SpawnOptions options;
  options.argv = {"sh", "-c",
                  "read go; trap '' TERM; setsid sleep 1000 & : > " + ready.string() +
                      "; sleep 1000; sleep 1000"};
  Pipe input = make_pipe().value();
  options.descriptors = {{0, input.read_end.get()}};
  Process process = Process::spawn(options).value();
  EXPECT_TRUE(group.add(process.pid()).ok());
  EXPECT_TRUE(write_all(input.write_end.get(), "go\n").ok());
  return process;
}

void expect_all_killed(const Cgroup& group) {
  const TempDir root = TempDir::create("cirrus-os-test").value();
  const auto ready = root.path() / "ready";
  Process process = tree_in(group, ready);
  while (!std::filesystem::exists(ready)) wait_for(StopToken(), std::chrono::milliseconds(1));
  EXPECT_FALSE(group.empty());
  EXPECT_FALSE(group.remove().ok()) << "a group with processes is not removed";
  while (!group.empty()) {
    ASSERT_TRUE(group.kill().ok());
    wait_for(StopToken(), std::chrono::milliseconds(1));
  }
  EXPECT_EQ(process.wait(StopToken(), soon()).value().signal, SIGKILL);
  // What a task made below goes with it.
  ASSERT_EQ(::mkdir((group.path() / "below").c_str(), 0755), 0);
  Status removed = group.remove();
  while (!removed.ok()) {  // the last process may still be leaving
    wait_for(StopToken(), std::chrono::milliseconds(1));
    removed = group.remove();
  }
  EXPECT_FALSE(std::filesystem::exists(group.path()));
  EXPECT_TRUE(group.remove().ok());
  EXPECT_EQ(group.kill().error().code(), Code::NotFound);
}

TEST(Cgroup, KillsEverythingInside) {
  const Result<Cgroup> group = Cgroup::create("test-" + std::to_string(::getpid()));
  if (!group.ok()) GTEST_SKIP() << "no cgroup here: " << group.error().to_string();
  expect_all_killed(group.value());
}

TEST(Cgroup, AFreezerDoesWhereThereIsNothingNewer) {
  const std::filesystem::path freezer = "/sys/fs/cgroup/freezer";
  const auto path = freezer / ("cirrus-test-" + std::to_string(::getpid()));
  if (::mkdir(path.c_str(), 0755) != 0) GTEST_SKIP() << "no freezer that we may use here";
  expect_all_killed(Cgroup::at(path));
}

TEST(Cgroup, WhatAnEarlierWorkerLeftEmptyIsRemoved) {
  const std::string owner = "test" + std::to_string(::getpid());
  const Result<Cgroup> lost = Cgroup::create(owner + "-1-a");
  if (!lost.ok()) GTEST_SKIP() << "no cgroup here: " << lost.error().to_string();
  const Cgroup fresh = Cgroup::create(owner + "-2-a").value();
  const Cgroup used = Cgroup::create(owner + "-1-b").value();
  SpawnOptions options;
  options.argv = {"sleep", "1000"};
  const Process process = Process::spawn(options).value();
  ASSERT_TRUE(used.add(process.pid()).ok());
  Cgroup::remove_abandoned(owner + "-", owner + "-2");
  EXPECT_FALSE(std::filesystem::exists(lost.value().path()));
  EXPECT_TRUE(std::filesystem::exists(fresh.path()));
  EXPECT_FALSE(used.empty());
  ASSERT_TRUE(used.kill().ok());
  for (const Cgroup* group : {&fresh, &used}) {
    while (!group->remove().ok()) wait_for(StopToken(), std::chrono::milliseconds(1));
  }
}

// A tree of plain files stands in for one whose controllers are ours.
class CgroupWeight : public ::testing::Test {
 protected:
  CgroupWeight() : root_(TempDir::create("cirrus-os-test").value()) {
    EXPECT_EQ(::mkdir(group_.c_str(), 0755), 0);
    put(root_.path() / "cgroup.controllers", "cpuset cpu memory\n");
    put(root_.path() / "cgroup.subtree_control", "");
  }
  static void put(const std::filesystem::path& file, std::string_view text) {
    EXPECT_TRUE(write_file(file, text).ok());
  }
  std::string enabled() const { return read_file(root_.path() / "cgroup.subtree_control").value(); }
  Status weigh() const { return Cgroup::at(group_).set_cpu_weight(33); }

  const TempDir root_;
  const std::filesystem::path group_ = root_.path() / "cirrus-t";
};

TEST_F(CgroupWeight, IsWrittenWhereThereIsTheController) {
  put(group_ / "cpu.weight", "100");
  ASSERT_TRUE(weigh().ok());
  EXPECT_EQ(read_file(group_ / "cpu.weight").value().substr(0, 2), "33");
  EXPECT_EQ(enabled(), "") << "it was enabled already";
}

TEST_F(CgroupWeight, TheControllerIsEnabledWhereNobodyIsInTheWay) {
  EXPECT_EQ(weigh().error().code(), Code::NotFound) << "plain files do not appear by themselves";
  EXPECT_EQ(enabled(), "+cpu") << "the tree's root, which has no type";
  put(root_.path() / "cgroup.subtree_control", "");
  put(root_.path() / "cgroup.type", "domain\n");
  put(root_.path() / "cgroup.procs", "\n");
  EXPECT_FALSE(weigh().ok());
  EXPECT_EQ(enabled(), "+cpu") << "a group without processes of its own";
}

TEST_F(CgroupWeight, AGroupWithProcessesOfItsOwnIsLeftAsItIs) {
  put(root_.path() / "cgroup.type", "domain\n");
  put(root_.path() / "cgroup.procs", "4711\n");
  EXPECT_EQ(weigh().error().code(), Code::NotFound);
  EXPECT_EQ(enabled(), "");
}

TEST_F(CgroupWeight, AControllerThatIsNotOfferedIsNotAskedFor) {
  put(root_.path() / "cgroup.controllers", "cpuset memory\n");
  EXPECT_EQ(weigh().error().code(), Code::NotFound);
  EXPECT_EQ(enabled(), "");
}

// Puts this process into a group of the real tree while it lives.
class Inside {
 public:
  explicit Inside(const Cgroup& group) : entered_(group.add(::getpid()).ok()) {}
  ~Inside() {
    if (entered_) (void)Cgroup::at(group_above_).add(::getpid());
  }
  bool entered() const { return entered_; }

 private:
  const std::filesystem::path group_above_ = control_group_of(::getpid(), "", true)->path;
  const bool entered_;
};

TEST(Cgroup, AWorkerInAGroupOfItsOwnMakesThemBesideIt) {
  const Result<Cgroup> above = Cgroup::create("test-above-" + std::to_string(::getpid()));
  if (!above.ok() || above.value().is_freezer()) GTEST_SKIP() << "no cgroup v2 that we may use";
  const Cgroup self = Cgroup::at(above.value().path() / "cirrus-self");
  ASSERT_EQ(::mkdir(self.path().c_str(), 0755), 0);
  {
    const Inside inside(self);
    ASSERT_TRUE(inside.entered());
    const Cgroup made = Cgroup::create("t").value();
    EXPECT_EQ(made.path(), above.value().path() / "cirrus-t");
    EXPECT_TRUE(made.remove().ok());
  }
  EXPECT_TRUE(above.value().remove().ok());
}

TEST(Files, AnotherNameIsTakenOnlyIfItIsFree) {
  const TempDir root = TempDir::create("cirrus-os-test").value();
  const Fd parent = open_file(root.path(), O_RDONLY | O_DIRECTORY).value();
  ASSERT_EQ(::mkdir((root.path() / "a").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir((root.path() / "b").c_str(), 0700), 0);
  EXPECT_FALSE(rename_to_free_name(parent, "a", "b"));
  EXPECT_TRUE(std::filesystem::exists(root.path() / "a"));
  EXPECT_TRUE(rename_to_free_name(parent, "a", "c"));
  EXPECT_FALSE(std::filesystem::exists(root.path() / "a"));
  // Not even a link to nowhere is replaced.
  std::filesystem::create_symlink("/nowhere", root.path() / "d");
  EXPECT_FALSE(rename_to_free_name(parent, "c", "d"));
}

TEST(ProgramText, ComesBackWhenItIsNeeded) {
  const auto resident = [] {
    const std::string rollup = read_file("/proc/self/smaps_rollup").value();
    const std::size_t at = rollup.find("\nRss:");
    return std::stoull(rollup.substr(at + 5));
  };
  const unsigned long long before = resident();
  EXPECT_GT(give_back_program_text(), 0U);
  EXPECT_LT(resident(), before);
  // All of this ran before and runs again.
  EXPECT_EQ(find_user("root").value().uid, 0U);
  EXPECT_TRUE(TempDir::create("cirrus-os-test").ok());
}

TEST(Host, SpeaksTheLabelsOfTheReference) {
#if defined(__linux__)
  EXPECT_EQ(os_name(), "linux");
#endif
#if defined(__x86_64__)
  EXPECT_EQ(arch_name(), "amd64");
#elif defined(__aarch64__)
  EXPECT_EQ(arch_name(), "arm64");
#endif
  EXPECT_TRUE(executable_path().ok());
}

TEST(User, IsFoundByNameAndByNumber) {
  const User root = find_user("root").value();
  EXPECT_EQ(root.uid, 0U);
  EXPECT_EQ(find_user("0").value().name, "root");
  EXPECT_EQ(root.identity().substr(0, 4), "0:0:");
  EXPECT_EQ(find_user("no-such-user").error().code(), Code::NotFound);
}

TEST(User, AMalformedIdentityChangesNothing) {
  const uid_t before = ::geteuid();
  for (const char* text : {"", "1", "1:2", "a:b:c", "1:2:x", "1:2:3,,4", "-1:0:0"}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(become(text).error().code(), Code::InvalidArgument);
  }
  EXPECT_EQ(::geteuid(), before);
}

TEST(Loopback, KnowsWhoOpenedAConnection) {
  const Fd server = std::move(listen_loopback(0)).value();
  const int port = local_port(server.get());
  ASSERT_GT(port, 0);
  EXPECT_EQ(listen_loopback(port).error().code(), Code::AlreadyExists);
  const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const int client_port = local_port(client.get());
  EXPECT_EQ(loopback_owner(client_port, port).value(), ::geteuid());
  EXPECT_EQ(loopback_owner(1, port).error().code(), Code::NotFound);
}

}  // namespace
}  // namespace cirrus::os
