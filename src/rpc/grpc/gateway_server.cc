// SPDX-License-Identifier: MIT
#include "rpc/grpc/gateway_server.h"

#include <deque>
#include <mutex>

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include "base/clock.h"
#include "cirrus_gateway.grpc.pb.h"
#include "os/fd.h"
#include "rpc/grpc/blob_server.h"
#include "rpc/grpc/reference_agent_server.h"
#include "rpc/grpc/shell_client.h"
#include "rpc/grpc/shell_server.h"
#include "rpc/grpc/status.h"
#include "rpc/grpc/terminal_server.h"
#include "rpc/grpc/tunnel_server.h"

namespace cirrus::rpc {

namespace {

class AttachReactor;

// What a session holds: outlives the reactor, and is cut off from it when the stream is done.
class Connection final : public AgentConnection, public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(AttachReactor* reactor) : reactor_(reactor) {}
  void send(gw::GatewayMessage message) override;
  void close(Error reason) override;
  void resume_reading() override;
  // Called by the reactor when it goes away.
  void cut_off() {
    const std::lock_guard lock(mutex_);
    reactor_ = nullptr;
  }

 private:
  std::mutex mutex_;
  AttachReactor* reactor_;  // guarded by mutex_; null once the stream is done
};

// One stream. Owns itself from the call's start to OnDone. Holds no business logic.
// Order of locks: Connection::mutex_, then AttachReactor::mutex_.
class AttachReactor final : public grpc::ServerBidiReactor<gw::AgentMessage, gw::GatewayMessage> {
 public:
  explicit AttachReactor(GatewayService& service)
      : service_(service), connection_(std::make_shared<Connection>(this)) {
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      finish(grpc::Status::OK);
      return;
    }
    if (!session_) {
      if (!incoming_.has_hello()) {
        finish(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                            "the first message must be a hello"));
        return;
      }
      Result<std::shared_ptr<AgentSession>> session =
          service_.attach(incoming_.hello(), connection_);
      if (!session.ok()) {
        finish(to_grpc(session.error()));
        return;
      }
      session_ = std::move(session).value();
      StartRead(&incoming_);
      return;
    }
    if (session_->on_message(incoming_)) {
      StartRead(&incoming_);
      return;
    }
    bool read_now = false;
    {
      const std::lock_guard lock(mutex_);
      // The session may have asked to go on before it told us to wait.
      read_now = std::exchange(resume_requested_, false);
      paused_ = !read_now;
    }
    if (read_now) StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    bool finish_now = false;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      outbox_.pop_front();
      if (!ok) outbox_.clear();
      if (!outbox_.empty()) {
        writing_ = true;
        StartWrite(&outbox_.front());
        return;
      }
      finish_now = finishing_ && !finished_;
      finished_ = finished_ || finish_now;
    }
    if (finish_now) Finish(status_);
  }

  void OnCancel() override { finish(grpc::Status::CANCELLED); }

  void OnDone() override {
    connection_->cut_off();
    if (session_) session_->on_closed();
    delete this;
  }

  void send(gw::GatewayMessage message) {
    const std::lock_guard lock(mutex_);
    if (finishing_) return;
    outbox_.push_back(std::move(message));
    if (writing_) return;
    writing_ = true;
    StartWrite(&outbox_.front());
  }

  void resume() {
    {
      const std::lock_guard lock(mutex_);
      if (finishing_) return;
      if (!paused_) {
        resume_requested_ = true;
        return;
      }
      paused_ = false;
    }
    StartRead(&incoming_);
  }

  // Ends the stream once what was sent is written. Safe to call more than once.
  void finish(grpc::Status status) {
    {
      const std::lock_guard lock(mutex_);
      if (finishing_) return;
      finishing_ = true;
      status_ = std::move(status);
      if (writing_) return;  // OnWriteDone finishes
      finished_ = true;
    }
    // No lock of ours may be held: OnDone may run before Finish returns.
    Finish(status_);
  }

 private:
  GatewayService& service_;
  std::shared_ptr<Connection> connection_;
  // Reader side only.
  gw::AgentMessage incoming_;
  std::shared_ptr<AgentSession> session_;
  std::mutex mutex_;
  std::deque<gw::GatewayMessage> outbox_;  // guarded by mutex_
  bool writing_ = false;                   // guarded by mutex_
  bool paused_ = false;                    // guarded by mutex_
  bool resume_requested_ = false;          // guarded by mutex_
  bool finishing_ = false;                 // guarded by mutex_
  bool finished_ = false;                  // guarded by mutex_
  grpc::Status status_;                    // set once, before Finish
};

void Connection::send(gw::GatewayMessage message) {
  const std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->send(std::move(message));
}

void Connection::close(Error reason) {
  // Held across Finish on purpose: it keeps OnDone, which runs on another thread and takes it
  // first of all, from deleting the reactor under us. It lives here, not in the reactor.
  const std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->finish(to_grpc(reason));
}

void Connection::resume_reading() {
  const std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->resume();
}

// Attach must cost no thread while it idles; a tunnel may have one for its short life.
class Service final : public gw::Gateway::WithCallbackMethod_Attach<gw::Gateway::Service> {
 public:
  explicit Service(GatewayService& service) : service_(service) {}
  grpc::ServerBidiReactor<gw::AgentMessage, gw::GatewayMessage>* Attach(
      grpc::CallbackServerContext*) override {
    return new AttachReactor(service_);
  }
  grpc::Status Tunnel(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<gw::TunnelMessage, gw::TunnelMessage>* stream) override {
    return serve_tunnel(service_, *context, *stream);
  }

 private:
  GatewayService& service_;
};

class VaultServer final : public gw::Vault::Service {
 public:
  explicit VaultServer(GatewayService& service) : service_(service) {}
  grpc::Status Call(grpc::ServerContext*, const gw::VaultRequest* request,
                    gw::VaultReply* reply) override {
    Result<gw::VaultReply> answer = service_.call_vault(*request);
    if (!answer.ok()) return to_grpc(answer.error());
    *reply = std::move(answer).value();
    return grpc::Status::OK;
  }

 private:
  GatewayService& service_;
};

class Server final : public GatewayServer {
 public:
  explicit Server(GatewayService& service)
      : service_(service),
        blobs_(service),
        vault_(service),
        terminals_(service.shells(), ""),
        terminal_hosts_(terminals_, newcomers_),
        reference_agents_(service, terminals_),
        reference_bytes_(service),
        shells_(service.shells(), [&service](
                                      const ShellServer::Metadata& metadata,
                                      const std::function<void(Result<std::string>)>& answer) {
          const auto value = [&metadata](const char* key) {
            const auto found = metadata.find(key);
            return found == metadata.end() ? std::string() : found->second;
          };
          const std::string task = value(kShellTask);
          const Status admitted = service.admit_listener(task, value(kShellSecret));
          answer(admitted.ok() ? Result<std::string>(task) : Result<std::string>(admitted.error()));
        }) {}
  Status start() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    builder.RegisterService(&blobs_);
    builder.RegisterService(&vault_);
    builder.RegisterService(&shells_);
    builder.RegisterService(&terminal_hosts_);
    builder.RegisterService(&reference_agents_);
    builder.RegisterService(&reference_bytes_);
    builder.SetMaxReceiveMessageSize(64 << 20);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    server_ = builder.BuildAndStart();
    if (!server_) return error(Code::Internal, "the task gateway could not start");
    return {};
  }
  ~Server() override {
    if (!server_) return;
    server_->Shutdown(system_clock().wall() + std::chrono::milliseconds(200));
    server_->Wait();
  }
  void adopt(os::Fd connection) override {
    // The library wants a descriptor that does not block, and owns it from here.
    (void)os::set_nonblocking(connection.get(), true);
    grpc::AddInsecureChannelFromFd(server_.get(), connection.release());
  }

 private:
  Service service_;
  BlobServer blobs_;
  VaultServer vault_;
  Newcomers newcomers_;
  TerminalHosts terminals_;
  TerminalServer terminal_hosts_;
  ReferenceAgentServer reference_agents_;
  ReferenceByteStream reference_bytes_;
  ShellServer shells_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

Result<std::unique_ptr<GatewayServer>> GatewayServer::start(GatewayService& service) {
  auto server = std::make_unique<Server>(service);
  CIRRUS_TRY(server->start());
  return std::unique_ptr<GatewayServer>(std::move(server));
}

}  // namespace cirrus::rpc
