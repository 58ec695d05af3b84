// SPDX-License-Identifier: MIT
#include "agent/git_tunnel.h"

#include <poll.h>
#include <sys/socket.h>

#include <charconv>
#include <utility>
#include <vector>

#include "archive/unpack.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "os/loopback.h"
#include "os/unix_socket.h"
#include "os/waker.h"

namespace cirrus::agent {
namespace {

constexpr std::size_t kBuffer = 256 * 1024;
// Source: the git protocol: a pkt-line's length is four hex digits and counts itself.
constexpr std::size_t kLengthDigits = 4;
constexpr std::size_t kLongestRequest = 4096;
constexpr std::chrono::seconds kRequestTime{30};

gateway::v1::TunnelMessage::Open open_message(const model::CloneRequest& request,
                                              const std::string& destination) {
  gateway::v1::TunnelMessage::Open open;
  open.set_destination(destination);
  gateway::v1::TunnelMessage::GitRequest& git = *open.mutable_git();
  git.set_change(request.change);
  git.set_ref(request.ref);
  git.set_tracking(request.tracking);
  git.set_depth(request.depth);
  git.set_all_tags(request.all_tags);
  git.set_user(request.url.user);
  git.set_password(request.url.password.reveal());
  git.set_branch(request.branch);
  git.set_submodules(request.submodules);
  return open;
}

std::string pkt_line(std::string_view text) {
  return fmt::format("{:04x}{}", text.size() + kLengthDigits, text);
}

/// The half of a connection that git reads.
void copy_down(rpc::ByteChannel& tunnel, int connection) {
  bool any = false;
  for (;;) {
    const Result<std::string> bytes = tunnel.read();
    if (!bytes.ok()) {
      // git prints it: `fatal: remote error: …`.
      if (!any) (void)os::write_all(connection, pkt_line("ERR " + bytes.error().to_string()));
      break;
    }
    if (bytes.value().empty()) break;
    any = true;
    if (!os::write_all(connection, bytes.value()).ok()) {
      tunnel.cancel();
      break;
    }
  }
  ::shutdown(connection, SHUT_WR);
}

}  // namespace

Status fetch_into_mirror(rpc::TunnelLink& link, const model::CloneRequest& request,
                         const StopToken& stop,
                         const std::function<void(std::string_view)>& words) {
  const std::unique_ptr<rpc::ByteChannel> tunnel =
      CIRRUS_TRY(link.open(open_message(request, "git-fetch")));
  const StopCallback cancel_on_stop(stop, [&tunnel] { tunnel->cancel(); });
  for (;;) {
    const std::string bytes = CIRRUS_TRY(tunnel->read());
    if (bytes.empty()) return {};
    words(bytes);
  }
}

Status unpack_clone(rpc::TunnelLink& link, const model::CloneRequest& request,
                    const std::filesystem::path& directory, const StopToken& stop) {
  const std::unique_ptr<rpc::ByteChannel> tunnel =
      CIRRUS_TRY(link.open(open_message(request, "git-tree")));
  const StopCallback cancel_on_stop(stop, [&tunnel] { tunnel->cancel(); });
  const Result<archive::UnpackTotals> totals =
      archive::unpack([&tunnel] { return tunnel->read(); }, directory, {}, stop);
  return totals.ok() ? Status() : Status(totals.error());
}

Result<std::unique_ptr<GitTunnel>> GitTunnel::open(rpc::TunnelLink& link,
                                                   model::CloneRequest request,
                                                   std::optional<uid_t> only_uid) {
  os::Fd listener = CIRRUS_TRY(os::listen_loopback(0));
  return std::unique_ptr<GitTunnel>(
      new GitTunnel(link, std::move(request), only_uid, std::move(listener)));
}

GitTunnel::GitTunnel(rpc::TunnelLink& link, model::CloneRequest request,
                     std::optional<uid_t> only_uid, os::Fd listener)
    : link_(link),
      request_(std::move(request)),
      only_uid_(only_uid),
      listener_(std::move(listener)),
      port_(os::local_port(listener_.get())),
      word_(random_hex(16)),
      url_(fmt::format("git://127.0.0.1:{}/{}", port_, word_)),
      listening_([this](const StopToken& stop) { listen(stop); }) {}

GitTunnel::~GitTunnel() {
  listening_.request_stop();
  listening_.join();
  std::list<Thread> open = connections_.with([](auto& list) { return std::exchange(list, {}); });
  for (Thread& one : open) one.request_stop();
}

void GitTunnel::listen(const StopToken& stop) {
  for (;;) {
    const Result<bool> ready = os::wait_readable(listener_.get(), stop, std::nullopt);
    if (!ready.ok() || !ready.value()) return;
    Result<os::Fd> connection = os::accept_connection(listener_.get());
    if (!connection.ok()) continue;
    (void)os::set_nonblocking(connection.value().get(), false);
    connections_.with([&](auto& list) {
      list.emplace_back(
          [this, connection = std::move(connection).value()](const StopToken& ended) mutable {
            carry(std::move(connection), ended);
          });
    });
  }
}

Result<std::string> GitTunnel::read_request(int connection, const StopToken& stop) const {
  const Monotonic deadline = std::chrono::steady_clock::now() + kRequestTime;
  std::string line;
  std::size_t wanted = kLengthDigits;
  while (line.size() < wanted) {
    const bool ready = CIRRUS_TRY(os::wait_readable(connection, stop, deadline));
    if (!ready) return error(Code::DeadlineExceeded, "no request came");
    std::vector<char> buffer(wanted - line.size());
    const std::size_t got = CIRRUS_TRY(os::read_some(connection, buffer));
    if (got == 0) return error(Code::InvalidArgument, "the request was cut off");
    line.append(buffer.data(), got);
    if (wanted == kLengthDigits && line.size() == kLengthDigits) {
      const char* const end = line.data() + line.size();
      if (std::from_chars(line.data(), end, wanted, 16).ptr != end || wanted <= kLengthDigits ||
          wanted > kLongestRequest) {
        return error(Code::InvalidArgument, "the request is no pkt-line");
      }
    }
  }
  // `git-upload-pack /path\0host=…\0\0version=2\0`
  const std::string request = line.substr(kLengthDigits);
  const std::string path = request.substr(0, request.find('\0'));
  if (path != "git-upload-pack /" + word_) {
    return error(Code::InvalidArgument, "there is no such repository here");
  }
  const std::size_t extra = request.find(std::string("\0\0", 2));
  if (extra == std::string::npos) return std::string();
  const std::string protocol = request.substr(extra + 2);
  return protocol.substr(0, protocol.find('\0'));
}

void GitTunnel::carry(os::Fd connection, const StopToken& stop) {
  const int socket = connection.get();
  if (only_uid_) {
    const Result<uid_t> owner = os::loopback_owner(os::peer_port(socket), port_);
    if (!owner.ok() || (owner.value() != *only_uid_ && owner.value() != 0)) return;
  }
  const Result<std::string> protocol = read_request(socket, stop);
  if (!protocol.ok()) {
    (void)os::write_all(socket, pkt_line("ERR " + protocol.error().to_string()));
    return;
  }
  gateway::v1::TunnelMessage::Open open = open_message(request_, "git");
  open.mutable_git()->set_protocol(protocol.value());
  Result<std::unique_ptr<rpc::ByteChannel>> opened = link_.open(std::move(open));
  if (!opened.ok()) {
    (void)os::write_all(socket, pkt_line("ERR " + opened.error().to_string()));
    return;
  }
  rpc::ByteChannel& tunnel = *opened.value();
  const StopCallback end_on_stop(stop, [&tunnel, socket] {
    tunnel.cancel();
    ::shutdown(socket, SHUT_RDWR);
  });
  const Thread down([&tunnel, socket] { copy_down(tunnel, socket); });
  std::vector<char> buffer(kBuffer);
  for (;;) {
    const Result<std::size_t> got = os::read_some(socket, buffer);
    if (!got.ok() || got.value() == 0) break;
    if (!tunnel.write({buffer.data(), got.value()}).ok()) break;
  }
  tunnel.finish_writing();
}

}  // namespace cirrus::agent
