// SPDX-License-Identifier: MIT
#include "net/ssh/ssh_session.h"

#include <fcntl.h>
#include <libssh/sftp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/ids.h"
#include "base/strings.h"
#include "net/ssh/channels.h"
#include "net/ssh/port_forward.h"
#include "os/fd.h"
#include "os/waker.h"

namespace cirrus::net {
namespace {

// Source: design 3.8; the library's own time for one attempt can be minutes.
constexpr long kConnectSeconds = 2;
constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{1000};
constexpr std::chrono::seconds kLoginPatience{5};
constexpr std::size_t kMostOutput = 64 * 1024;

struct FreeSession {
  void operator()(ssh_session session) const {
    ssh_disconnect(session);
    ssh_free(session);
  }
};
struct FreeSftp {
  void operator()(sftp_session session) const { sftp_free(session); }
};
using Session = std::unique_ptr<ssh_session_struct, FreeSession>;
using Sftp = std::unique_ptr<sftp_session_struct, FreeSftp>;

/// A half-open connection is found within 20 seconds.
void watch_connection(int fd) {
  const auto set = [fd](int level, int name, int value) {
    (void)::setsockopt(fd, level, name, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 20'000);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
}

Result<std::string> fingerprint_of(ssh_session session) {
  ssh_key key = nullptr;
  if (ssh_get_server_publickey(session, &key) != SSH_OK) return broken(session);
  unsigned char* hash = nullptr;
  std::size_t size = 0;
  const int hashed = ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &size);
  ssh_key_free(key);
  if (hashed != 0) return broken(session);
  char* text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, size);
  ssh_clean_pubkey_hash(&hash);
  std::string fingerprint = text == nullptr ? "" : text;
  ssh_string_free_char(text);
  return fingerprint;
}

Status log_in(ssh_session session, const SshTarget& target) {
  if (!target.key_file.empty()) {
    ssh_key key = nullptr;
    if (ssh_pki_import_privkey_file(target.key_file.c_str(), nullptr, nullptr, nullptr, &key) !=
        SSH_OK) {
      return error(Code::InvalidArgument, "cannot read the private key '{}'", target.key_file);
    }
    const int answer = ssh_userauth_publickey(session, nullptr, key);
    ssh_key_free(key);
    if (answer == SSH_AUTH_SUCCESS) return {};
    if (answer == SSH_AUTH_ERROR) return broken(session);
  }
  const int answer = ssh_userauth_password(session, nullptr, target.password.c_str());
  if (answer == SSH_AUTH_SUCCESS) return {};
  if (answer == SSH_AUTH_ERROR && !ssh_is_connected(session)) return broken(session);
  return error(Code::Unauthenticated, "the login of '{}' was refused: check 'user' and 'password'",
               target.user);
}

Result<Session> attempt(const SshTarget& target) {
  Session session(ssh_new());
  if (!session) return error(Code::Internal, "the SSH library could not start");
  const unsigned port = target.port;
  ssh_options_set(session.get(), SSH_OPTIONS_HOST, target.host.c_str());
  ssh_options_set(session.get(), SSH_OPTIONS_PORT, &port);
  ssh_options_set(session.get(), SSH_OPTIONS_USER, target.user.c_str());
  long seconds = kConnectSeconds;
  ssh_options_set(session.get(), SSH_OPTIONS_TIMEOUT, &seconds);
  // Nothing of the worker's own user has a say here.
  int no = 0;
  ssh_options_set(session.get(), SSH_OPTIONS_PROCESS_CONFIG, &no);
  ssh_options_set(session.get(), SSH_OPTIONS_KNOWNHOSTS, "/dev/null");
  ssh_options_set(session.get(), SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
  if (ssh_connect(session.get()) != SSH_OK) {
    return error(Code::Unavailable, "cannot reach {}:{} by SSH: {}", target.host, target.port,
                 ssh_get_error(session.get()));
  }
  const std::string fingerprint = CIRRUS_TRY(fingerprint_of(session.get()));
  if (!target.host_key.empty() && target.host_key != fingerprint) {
    return error(Code::PermissionDenied,
                 "{}:{} shows the host key {}, but {} was seen before: somebody else answers there",
                 target.host, target.port, fingerprint, target.host_key);
  }
  // The login itself may take its time on a machine that is busy booting.
  seconds = 10 * kConnectSeconds;
  ssh_options_set(session.get(), SSH_OPTIONS_TIMEOUT, &seconds);
  CIRRUS_TRY(log_in(session.get(), target));
  watch_connection(ssh_get_fd(session.get()));
  return session;
}

class Stream final : public SshStream {
 public:
  Stream(ssh_session session, Channel channel, os::Waker waker)
      : session_(session), channel_(std::move(channel)), waker_(std::move(waker)) {}

  Status expect(std::string_view text, const StopToken& stop, Monotonic deadline) override {
    std::string said;
    for (;;) {
      std::string errors;
      const bool alive = drain(channel_.get(), 0, said) && drain(channel_.get(), 1, errors);
      const std::size_t at = said.find(text);
      if (at != std::string::npos) {
        ahead_ = said.substr(at + text.size());
        return {};
      }
      last_words_ += errors;
      if (!alive || ssh_channel_is_eof(channel_.get()) != 0) {
        const std::string words(trim(last_words_ + " " + said));
        return error(Code::FailedPrecondition, "the command ended at once: {}",
                     words.empty() ? "it said nothing" : shorten(words, 500));
      }
      if (said.size() > kMostOutput) {
        return error(Code::FailedPrecondition, "the command says something else: {}",
                     shorten(said, 200));
      }
      if (stop.stop_requested()) return error(Code::Cancelled, "stopped");
      if (std::chrono::steady_clock::now() >= deadline) {
        return error(Code::DeadlineExceeded, "the command was not ready in time");
      }
      pollfd polled{ssh_get_fd(session_), POLLIN, 0};
      (void)::poll(&polled, 1, kLookMilliseconds);
    }
  }

  Status write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const int sent = ssh_channel_write(
          channel_.get(), bytes.data(),
          static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size(), kLargestWrite)));
      if (sent <= 0) return broken(session_);
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
  }

  Result<std::optional<int>> relay(int fd, const StopToken& stop) override {
    const StopCallback wake(stop, [this] { waker_.wake(); });
    std::vector<char> buffer(kLargestWrite);
    bool local_open = true;
    while (!stop.stop_requested()) {
      std::string bytes = std::exchange(ahead_, {});
      std::string errors;
      const bool alive = drain(channel_.get(), 0, bytes) && drain(channel_.get(), 1, errors);
      last_words_ = shorten(last_words_ + errors, 1000);
      // Looking at one output may bring bytes of the other, which no poll would tell of.
      const bool more =
          ssh_channel_poll(channel_.get(), 1) > 0 || ssh_channel_poll(channel_.get(), 0) > 0;
      if (!bytes.empty() && !os::write_all(fd, bytes).ok()) return std::optional<int>();
      if (more) continue;
      if (!alive) return broken(session_);
      if (ssh_channel_is_eof(channel_.get()) != 0) return exit_code_of(channel_.get());
      const std::uint32_t window = ssh_channel_window_size(channel_.get());
      const bool want_local = local_open && window > 0;
      std::array<pollfd, 3> polled{{{ssh_get_fd(session_), POLLIN, 0},
                                    {want_local ? fd : -1, POLLIN, 0},
                                    {waker_.fd(), POLLIN, 0}}};
      // Never for ever: what the library holds in its own buffers no descriptor tells of.
      if (::poll(polled.data(), polled.size(), kLookAgainMilliseconds) < 0 && errno != EINTR) {
        return errno_error(errno, "cannot wait for the connection");
      }
      if (polled[1].revents == 0) continue;
      const Result<std::size_t> got =
          os::read_some(fd, std::span(buffer.data(), std::min<std::size_t>(buffer.size(), window)));
      if (!got.ok() || got.value() == 0) {
        // The gateway has let go: the bridge ends when its input does.
        local_open = false;
        ssh_channel_send_eof(channel_.get());
        return std::optional<int>();
      }
      CIRRUS_TRY(write({buffer.data(), got.value()}));
    }
    return error(Code::Cancelled, "stopped");
  }

 private:
  const ssh_session session_;
  const Channel channel_;
  const os::Waker waker_;
  std::string ahead_;  // read, and not yet passed on
  std::string last_words_;
};

class LibSshSession final : public SshSession {
 public:
  LibSshSession(Session session, std::string host_key)
      : session_(std::move(session)), host_key_(std::move(host_key)) {}

  const std::string& host_key() const override { return host_key_; }

  Result<SshCommandEnd> run(const std::string& command, std::string_view input,
                            const StopToken& stop, Monotonic deadline) override {
    const Channel channel = CIRRUS_TRY(open_command(session_.get(), command));
    // What goes in is small; the window of a fresh channel is not.
    while (!input.empty()) {
      const int sent = ssh_channel_write(
          channel.get(), input.data(),
          static_cast<std::uint32_t>(std::min<std::size_t>(input.size(), kLargestWrite)));
      if (sent <= 0) return broken(session_.get());
      input.remove_prefix(static_cast<std::size_t>(sent));
    }
    ssh_channel_send_eof(channel.get());
    SshCommandEnd end;
    for (;;) {
      std::string bytes;
      const bool alive = drain(channel.get(), 0, bytes) && drain(channel.get(), 1, bytes);
      if (end.output.size() < kMostOutput) end.output += bytes.substr(0, kMostOutput);
      if (!alive) return broken(session_.get());
      if (ssh_channel_is_eof(channel.get()) != 0 &&
          (ssh_channel_get_exit_status(channel.get()) >= 0 ||
           ssh_channel_is_closed(channel.get()) != 0)) {
        end.exit_code = ssh_channel_get_exit_status(channel.get());
        return end;
      }
      if (stop.stop_requested()) return error(Code::Cancelled, "stopped");
      if (std::chrono::steady_clock::now() >= deadline) {
        return error(Code::DeadlineExceeded, "the command did not end in time");
      }
      // Also takes in what is in the library's own buffers.
      if (ssh_channel_poll_timeout(channel.get(), kLookMilliseconds, 0) == SSH_ERROR) {
        return broken(session_.get());
      }
    }
  }

  Status upload(std::string_view content, const std::string& path, unsigned mode,
                const StopToken& stop, Monotonic deadline) override {
    const std::string part = path + "." + random_hex(6);
    Status written = by_sftp(content, part, mode, stop, deadline);
    if (!written.ok() && written.error().code() == Code::Unimplemented) {
      written = by_shell(content, part, mode, stop, deadline);
    }
    const std::string finish =
        written.ok() ? fmt::format("[ \"$(wc -c < {0})\" -eq {1} ] && mv -f {0} {2}",
                                   shell_quoted(part), content.size(), shell_quoted(path))
                     : "rm -f " + shell_quoted(part);
    const Result<SshCommandEnd> end = run(finish, {}, stop, deadline);
    CIRRUS_TRY(Status(written));
    if (!end.ok()) return end.error();
    if (end.value().exit_code == 0) return {};
    return error(Code::ResourceExhausted, "'{}' could not be written whole: {}", path,
                 shorten(std::string(trim(end.value().output)), 200));
  }

  Result<std::unique_ptr<SshStream>> open(const std::string& command) override {
    Channel channel = CIRRUS_TRY(open_command(session_.get(), command));
    return std::unique_ptr<SshStream>(std::make_unique<Stream>(session_.get(), std::move(channel),
                                                               CIRRUS_TRY(os::Waker::create())));
  }

  Result<std::uint16_t> listen(std::uint16_t port) override {
    return listen_in_guest(session_.get(), port);
  }
  Result<std::optional<int>> forward(const std::string& command,
                                     const std::filesystem::path& target,
                                     const StopToken& stop) override {
    const Channel watched = CIRRUS_TRY(open_command(session_.get(), command));
    return PortForward(session_.get(), target, CIRRUS_TRY(os::Waker::create()))
        .run(watched.get(), stop);
  }

 private:
  Status by_sftp(std::string_view content, const std::string& path, unsigned mode,
                 const StopToken& stop, Monotonic deadline) {
    const Sftp sftp(sftp_new(session_.get()));
    if (!sftp || sftp_init(sftp.get()) != SSH_OK) {
      return error(Code::Unimplemented, "the server has no SFTP");
    }
    const auto close = [](sftp_file file) { (void)sftp_close(file); };
    std::unique_ptr<sftp_file_struct, decltype(close)> file(
        sftp_open(sftp.get(), path.c_str(), O_WRONLY | O_CREAT | O_EXCL, mode), close);
    if (!file) return refused(sftp.get(), path);
    while (!content.empty()) {
      if (stop.stop_requested()) return error(Code::Cancelled, "stopped");
      if (std::chrono::steady_clock::now() >= deadline) {
        return error(Code::DeadlineExceeded, "the upload of '{}' took too long", path);
      }
      const ssize_t sent =
          sftp_write(file.get(), content.data(), std::min(content.size(), kLargestWrite));
      if (sent <= 0) return refused(sftp.get(), path);
      content.remove_prefix(static_cast<std::size_t>(sent));
    }
    if (sftp_close(file.release()) != SSH_OK) return refused(sftp.get(), path);
    if (sftp_chmod(sftp.get(), path.c_str(), mode) != SSH_OK) return refused(sftp.get(), path);
    return {};
  }
  Error refused(sftp_session sftp, const std::string& path) const {
    if (ssh_is_connected(session_.get()) == 0) return broken(session_.get());
    // The protocol has one number for everything, a full disk included.
    return error(Code::ResourceExhausted,
                 "the guest refused to write '{}' (SFTP status {}): is its disk full?", path,
                 sftp_get_error(sftp));
  }
  Status by_shell(std::string_view content, const std::string& path, unsigned mode,
                  const StopToken& stop, Monotonic deadline) {
    const SshCommandEnd end =
        CIRRUS_TRY(run(fmt::format("cat > {0} && chmod {1:o} {0}", shell_quoted(path), mode),
                       content, stop, deadline));
    if (end.exit_code == 0) return {};
    return error(Code::ResourceExhausted, "'{}' could not be written: {}", path,
                 shorten(std::string(trim(end.output)), 200));
  }

  const Session session_;
  const std::string host_key_;
};

}  // namespace

Result<std::unique_ptr<SshSession>> SshSession::connect(const SshTarget& target,
                                                        const StopToken& stop, Monotonic deadline) {
  std::chrono::milliseconds pause = kFirstPause;
  std::optional<Monotonic> refused_since;
  for (;;) {
    Result<Session> session = attempt(target);
    if (session.ok()) {
      std::string host_key = CIRRUS_TRY(fingerprint_of(session.value().get()));
      return std::unique_ptr<SshSession>(
          std::make_unique<LibSshSession>(std::move(session).value(), std::move(host_key)));
    }
    const Monotonic now = std::chrono::steady_clock::now();
    const Code code = session.error().code();
    if (code == Code::Unauthenticated) {
      if (!refused_since) refused_since = now;
      if (now - *refused_since >= kLoginPatience) return std::move(session).error();
    } else if (code != Code::Unavailable) {
      return std::move(session).error();
    }
    if (now + pause >= deadline) return std::move(session).error();
    if (!wait_for(stop, pause)) return error(Code::Cancelled, "stopped");
    pause = std::min(pause * 2, kLongestPause);
  }
}

std::string shell_quoted(std::string_view word) {
  std::string quoted = "'";
  for (const char letter : word) {
    if (letter == '\'') {
      quoted += "'\\''";
    } else {
      quoted += letter;
    }
  }
  return quoted + "'";
}

}  // namespace cirrus::net
