// SPDX-License-Identifier: MIT
// Against a real sshd on loopback.
#include "net/ssh/ssh_session.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/guarded.h"
#include "os/fd.h"
#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"
#include "os/unix_socket.h"
#include "os/waker.h"

namespace cirrus::net {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kServer[] = "/usr/sbin/sshd";

Monotonic in(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}
Monotonic soon() {
  return in(std::chrono::seconds(20));
}

int free_port() {
  const os::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  (void)::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size);
  (void)::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

void run_tool(const std::vector<std::string>& argv) {
  os::SpawnOptions options;
  options.argv = argv;
  os::Process process = os::Process::spawn(options).value();
  ASSERT_TRUE(process.wait(StopToken(), soon()).value().success());
}

/// A server whose one user is ours, by key.
class Ssh : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access(kServer, X_OK) != 0) GTEST_SKIP() << "there is no " << kServer;
    if (::geteuid() != 0) GTEST_SKIP() << "sshd needs root here";
    (void)::mkdir("/run/sshd", 0755);
    for (const char* key : {"host", "user"}) {
      run_tool({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", (root() / key).string()});
    }
    ASSERT_EQ(::rename((root() / "user.pub").c_str(), (root() / "authorized").c_str()), 0);
    start("");
  }
  void start(const std::string& more) {
    server_.reset();
    const std::string config = fmt::format(
        "ListenAddress 127.0.0.1\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n"
        "PidFile none\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication yes\n{}\n",
        port_, (root() / "host").string(), (root() / "authorized").string(),
        more.empty() ? "Subsystem sftp internal-sftp" : more);
    ASSERT_TRUE(os::write_file(root() / "config", config).ok());
    const os::Fd log = os::open_file(root() / "log", O_WRONLY | O_CREAT | O_APPEND).value();
    os::SpawnOptions options;
    options.argv = {kServer, "-D", "-e", "-f", (root() / "config").string()};
    options.descriptors = {{2, log.get()}};
    server_.emplace(os::Process::spawn(options).value());
  }
  SshTarget target() const {
    SshTarget target;
    target.host = "127.0.0.1";
    target.port = static_cast<std::uint16_t>(port_);
    target.user = ::getpwuid(::geteuid())->pw_name;
    target.password = "wrong";
    target.key_file = (root() / "user").string();
    return target;
  }
  std::unique_ptr<SshSession> connect() {
    Result<std::unique_ptr<SshSession>> session =
        SshSession::connect(target(), StopToken(), soon());
    EXPECT_TRUE(session.ok()) << session.error().to_string()
                              << os::read_file(root() / "log").value_or("");
    return session.ok() ? std::move(session).value() : nullptr;
  }
  const std::filesystem::path& root() const { return root_.path(); }

  os::TempDir root_ = os::TempDir::create("ssh-test").value();
  int port_ = free_port();
  std::optional<os::Process> server_;
};

TEST_F(Ssh, RunsCommandsWithInputAndTellsTheirEnd) {
  const std::unique_ptr<SshSession> session = connect();
  ASSERT_TRUE(session);
  EXPECT_THAT(session->host_key(), StartsWith("SHA256:"));
  SshCommandEnd end =
      session->run("cat; echo to the other >&2; exit 7", "in\n", StopToken(), soon()).value();
  EXPECT_EQ(end.exit_code, 7);
  EXPECT_THAT(end.output, HasSubstr("in\n"));
  EXPECT_THAT(end.output, HasSubstr("to the other\n"));
  const std::string odd = "it's \"$HOME\" `x` \\ \n-n";
  end = session->run("printf %s " + shell_quoted(odd), {}, StopToken(), soon()).value();
  EXPECT_EQ(end.output, odd);
  EXPECT_EQ(
      session->run("sleep 60", {}, StopToken(), in(std::chrono::milliseconds(300))).error().code(),
      Code::DeadlineExceeded);
  StopSource stop;
  stop.request_stop();
  EXPECT_EQ(session->run("sleep 60", {}, stop.get_token(), soon()).error().code(), Code::Cancelled);
}

TEST_F(Ssh, PinsTheHostKeyAndRefusesAnother) {
  SshTarget pinned = target();
  pinned.host_key = connect()->host_key();
  EXPECT_TRUE(SshSession::connect(pinned, StopToken(), soon()).ok());
  pinned.host_key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
  const auto refused = SshSession::connect(pinned, StopToken(), soon());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::PermissionDenied);
}

TEST_F(Ssh, SaysWhatIsWrong) {
  SshTarget wrong = target();
  wrong.key_file.clear();
  const auto refused = SshSession::connect(wrong, StopToken(), soon());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::Unauthenticated);
  SshTarget nobody = target();
  nobody.port = static_cast<std::uint16_t>(free_port());
  const auto away = SshSession::connect(nobody, StopToken(), in(std::chrono::milliseconds(300)));
  ASSERT_FALSE(away.ok());
  EXPECT_EQ(away.error().code(), Code::Unavailable);
  EXPECT_THAT(away.error().to_string(), HasSubstr("127.0.0.1"));
  StopSource stop;
  stop.request_stop();
  EXPECT_EQ(SshSession::connect(nobody, stop.get_token(), soon()).error().code(), Code::Cancelled);
}

TEST_F(Ssh, UploadsBySftpAndWithout) {
  std::string content(3'000'001, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i >> 9U);
  for (const bool sftp : {true, false}) {
    SCOPED_TRACE(sftp);
    if (!sftp) start("Banner none");
    const std::unique_ptr<SshSession> session = connect();
    ASSERT_TRUE(session);
    const std::filesystem::path path = root() / (sftp ? "a file" : "another 'file'");
    const Status uploaded = session->upload(content, path.string(), 0700, StopToken(), soon());
    ASSERT_TRUE(uploaded.ok()) << uploaded.error().to_string();
    EXPECT_TRUE(os::read_file(path).value() == content);
    struct stat facts {};
    ASSERT_EQ(::stat(path.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 07777U, 0700U);
    const Status nowhere = session->upload("x", "/nowhere/x", 0700, StopToken(), soon());
    ASSERT_FALSE(nowhere.ok());
    EXPECT_THAT(nowhere.error().to_string(), HasSubstr("/nowhere/x"));
  }
}

TEST_F(Ssh, AStreamPassesBytesBothWaysToTheEnd) {
  const std::unique_ptr<SshSession> session = connect();
  ASSERT_TRUE(session);
  const std::unique_ptr<SshStream> stream =
      session->open("echo hello from the profile; printf 'ready\\nfirst'; cat; exit 3").value();
  ASSERT_TRUE(stream->expect("ready\n", StopToken(), soon()).ok());
  int ends[2] = {};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  os::Fd near(ends[0]);
  os::Fd far(ends[1]);
  std::string sent(2'000'000, 'x');
  std::string received;
  // The relay ends with its near side, whatever is still on its way: first something came back.
  Guarded<bool> echoed(false);
  Thread writer([&] {
    (void)os::write_all(far.get(), sent);
    echoed.wait_until(
        StopToken(), soon(), [](bool& value) { return value; }, [](bool&, bool) {});
    ::shutdown(far.get(), SHUT_WR);
  });
  Thread reader([&] {
    std::vector<char> buffer(100'000);
    while (received.size() < sent.size() + 5) {
      const Result<std::size_t> got = os::read_some(far.get(), buffer);
      if (!got.ok() || got.value() == 0) break;
      received.append(buffer.data(), got.value());
      if (received.size() > 8) echoed.update([](bool& value) { value = true; });
    }
  });
  const Result<std::optional<int>> end = stream->relay(near.get(), StopToken());
  ASSERT_TRUE(end.ok()) << end.error().to_string();
  writer.join();
  near.reset();
  reader.join();
  EXPECT_THAT(received, StartsWith("firstxxx"));
}

TEST_F(Ssh, TheEndOfACommandOrOfItsConnectionEndsTheRelay) {
  for (const char* who : {"$$", "$PPID"}) {
    SCOPED_TRACE(who);
    const std::unique_ptr<SshSession> session = connect();
    ASSERT_TRUE(session);
    const std::string file = (root() / "pid").string();
    const std::unique_ptr<SshStream> stream =
        session->open(fmt::format("echo {} > {}; echo ready; exec sleep 60", who, file)).value();
    ASSERT_TRUE(stream->expect("ready\n", StopToken(), soon()).ok());
    int ends[2] = {};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const os::Fd near(ends[0]);
    const os::Fd far(ends[1]);
    ASSERT_EQ(::kill(std::stoi(os::read_file(file).value()), SIGKILL), 0);
    const Result<std::optional<int>> end = stream->relay(near.get(), StopToken());
    EXPECT_TRUE(!end.ok() || !end.value());
  }
}

TEST_F(Ssh, ACommandThatEndsAtOnceIsQuoted) {
  const std::unique_ptr<SshSession> session = connect();
  ASSERT_TRUE(session);
  const Status said =
      session->open("echo no such thing >&2; exit 1").value()->expect("ready", StopToken(), soon());
  ASSERT_FALSE(said.ok());
  EXPECT_THAT(said.error().to_string(), HasSubstr("no such thing"));
}

TEST_F(Ssh, APortOfTheGuestLeadsToASocketHere) {
  const std::unique_ptr<SshSession> session = connect();
  ASSERT_TRUE(session);
  const std::filesystem::path socket = root() / "socket";
  const os::Fd listener = os::listen_unix(socket, 0600).value();
  // Whoever comes gets back what it sends, each on a thread of its own.
  std::vector<std::unique_ptr<Thread>> echoes;
  Thread server([&](const StopToken& stop) {
    while (os::wait_readable(listener.get(), stop, soon()).value_or(false)) {
      auto connection = std::make_shared<os::Fd>(os::accept_connection(listener.get()).value());
      echoes.push_back(std::make_unique<Thread>([connection] {
        std::vector<char> buffer(100'000);
        for (;;) {
          const Result<std::size_t> got = os::read_some(connection->get(), buffer);
          if (!got.ok() || got.value() == 0) return;
          if (!os::write_all(connection->get(), {buffer.data(), got.value()}).ok()) return;
        }
      }));
    }
  });
  const std::uint16_t port = session->listen(0).value();
  ASSERT_NE(port, 0);
  // Three at once, each with more than any window holds.
  const std::string client =
      fmt::format(R"(exec 3<>/dev/tcp/127.0.0.1/{0}; head -c 6000000 /dev/zero >&3 & )"
                  R"(head -c 6000000 <&3 | wc -c; wait)",
                  port);
  const std::string command =
      fmt::format(R"(for i in 1 2 3; do bash -c {0} > {1}/out$i & done; wait; exit 7)",
                  shell_quoted(client), root().string());
  const Result<std::optional<int>> end = session->forward(command, socket, StopToken());
  ASSERT_TRUE(end.ok()) << end.error().to_string();
  EXPECT_EQ(end.value(), 7);
  for (const char* out : {"out1", "out2", "out3"}) {
    EXPECT_EQ(os::read_file(root() / out).value(), "6000000\n");
  }
  EXPECT_FALSE(session->listen(static_cast<std::uint16_t>(port_)).ok()) << "that one is taken";
  StopSource stop;
  stop.request_stop();
  EXPECT_EQ(session->forward("sleep 60", socket, stop.get_token()).error().code(), Code::Cancelled);
}

TEST_F(Ssh, AServerThatForwardsNothingSaysSo) {
  start("AllowTcpForwarding no");
  const Result<std::uint16_t> refused = connect()->listen(0);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::FailedPrecondition);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("AllowTcpForwarding"));
}

}  // namespace
}  // namespace cirrus::net
