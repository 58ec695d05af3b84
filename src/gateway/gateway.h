// SPDX-License-Identifier: MIT
// Gateway: all task gateways of one worker, and the sockets their agents come to.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/guarded.h"
#include "gateway/git_mirrors.h"
#include "gateway/task_gateway.h"
#include "net/http_client.h"
#include "os/fd.h"
#include "os/waker.h"

namespace cirrus::gateway {

/// Listens on each task's socket and hands every accepted connection to `adopt`, whose server
/// calls back `attach`. Thread-safe.
class Gateway final : public rpc::GatewayService {
 public:
  static Result<std::unique_ptr<Gateway>> create();
  ~Gateway() override;

  /// Where tasks fetch their repositories; set once, before the first task. Without it none can.
  void set_mirrors(GitMirrors* mirrors) { mirrors_ = mirrors; }
  bool has_mirrors() const { return mirrors_ != nullptr; }
  /// Where accepted connections go; set once, before the first task.
  void set_adopter(std::function<void(os::Fd)> adopt);

  /// Makes the task's socket (again) and serves it. Errors: AlreadyExists for an id twice.
  Status add(std::shared_ptr<TaskGateway> task);
  /// Closes the socket and forgets the task; its directory is the caller's.
  void remove(const std::string& task_id);

  Result<std::shared_ptr<rpc::AgentSession>> attach(
      const gw::AgentMessage::Hello& hello,
      std::shared_ptr<rpc::AgentConnection> connection) override;
  Result<rpc::BlobLease> lend_blobs(const gw::BlobCaller& caller) override;
  Result<std::shared_ptr<rpc::ReferenceTask>> reference_task(const std::string& task_id,
                                                             const std::string& secret) override;
  rpc::ShellHub& shells() override { return shells_; }
  Status admit_listener(const std::string& task_id, const std::string& agent_secret) override;
  Result<gw::VaultReply> call_vault(const gw::VaultRequest& request) override;
  Status serve_tunnel(const gw::TunnelMessage::Open& open, rpc::ByteChannel& agent) override;

 private:
  struct Entry {
    std::shared_ptr<TaskGateway> task;
    std::shared_ptr<os::Fd> listener;
  };

  explicit Gateway(os::Waker waker) : waker_(std::move(waker)) {}
  std::shared_ptr<TaskGateway> find(const std::string& task_id);
  void accept_loop(const StopToken& stop);

  os::Waker waker_;
  std::function<void(os::Fd)> adopt_;  // constant after set_adopter
  net::HttpClient http_;
  rpc::ShellHub shells_;
  GitMirrors* mirrors_ = nullptr;  // constant after set_mirrors
  Guarded<std::map<std::string, Entry>> tasks_;
  Thread acceptor_;  // last: uses everything above
};

}  // namespace cirrus::gateway
