// SPDX-License-Identifier: MIT
#include "controller/rpc/rpc_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "controller/rpc/agent_service.h"
#include "controller/rpc/call_metadata.h"
#include "controller/rpc/evaluator_service.h"
#include "controller/rpc/workers_service.h"
#include "rpc/grpc/shell_server.h"
#include "rpc/grpc/terminal_server.h"

namespace cirrus::controller::rpc {

namespace {
/// ReportAgentLogs carries a whole log in one message. Source: protocol §1.5.
constexpr int kMaxMessage = 64 << 20;

/// How often the library looks whether the TLS files have changed.
constexpr unsigned kKeyRefreshSeconds = 10;

std::shared_ptr<grpc::ServerCredentials> credentials_of(const RpcServerOptions& options) {
  if (options.certificate.empty()) return grpc::InsecureServerCredentials();
  namespace tls = grpc::experimental;
  tls::TlsServerCredentialsOptions with_files(std::make_shared<tls::FileWatcherCertificateProvider>(
      options.key.string(), options.certificate.string(), kKeyRefreshSeconds));
  with_files.watch_identity_key_cert_pairs();
  // A worker is who its registration token says; certificates of clients are for proxies in front.
  with_files.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return tls::TlsServerCredentials(with_files);
}

/// Whoever knows a terminal's secret may open a shell: the same question, the same entry in the
/// audit and the same recording as for an operator's token.
Result<cirrus::rpc::ShellTap> admit_guest(core::Core& core, const blobs::ShellRecords& records,
                                          const std::string& task, const std::string& peer) {
  const model::TaskId id = CIRRUS_TRY(model::TaskId::parse(task));
  const core::Actor actor(fmt::format("holder of a terminal's secret at {}", peer_address(peer)));
  const auto place = CIRRUS_TRY(core.ask<core::State::ShellPlace>(
      [id, actor](core::State& state, core::Reply<core::State::ShellPlace> reply,
                  core::Moment moment) {
        state.order_shell(id, actor, std::move(reply), moment);
      }));
  if (!place.recorded) return cirrus::rpc::ShellTap();
  const std::shared_ptr<blobs::ShellRecord> record =
      CIRRUS_TRY(records.begin(id, actor.name, core.clock().wall()));
  return cirrus::rpc::ShellTap{record->notice(),
                               [record](std::string_view bytes) { return record->append(bytes); }};
}

class Server final : public RpcServer {
 public:
  Server(core::Core& core, blobs::Stores& stores, WorkPool& pool, cirrus::rpc::ShellHub& shells)
      : terminals_(shells, cirrus::rpc::kTerminalTargets),
        terminal_hosts_(terminals_, newcomers_),
        terminal_guests_(terminals_, newcomers_,
                         [&core, &stores](const std::string& task, const std::string& peer) {
                           return admit_guest(core, stores.shells, task, peer);
                         }),
        syncer_(core, stores.logs),
        workers_(core, syncer_),
        agents_({core, stores, pool}, syncer_, terminals_),
        bytes_({core, stores, pool}),
        evaluator_(core),
        shells_(shells, [&core](const cirrus::rpc::ShellServer::Metadata& metadata,
                                const std::function<void(Result<std::string>)>& answer) {
          const bool posted = core.post([worker = worker_credential(metadata), answer](
                                            core::State& state, core::Moment moment) {
            state.listen_for_shells(worker, answer, moment);
          });
          if (!posted) answer(error(Code::Unavailable, "the controller is shutting down"));
        }) {}
  ~Server() override { stop(); }

  Status listen(const RpcServerOptions& options) {
    const std::string& address = options.address;
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMaxMessage);
    builder.SetMaxSendMessageSize(-1);
    // Agents ping every 30 s, also without calls. Source: protocol §1.4.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    // Ours: workers never ping, so we do.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000);
    // Otherwise a second server could share the port without either noticing.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.RegisterService(&workers_);
    builder.RegisterService(&agents_);
    builder.RegisterService(&bytes_);
    builder.RegisterService(&evaluator_);
    builder.RegisterService(&shells_);
    builder.RegisterService(&terminal_hosts_);
    builder.RegisterService(&terminal_guests_);
    builder.AddListeningPort(address, credentials_of(options), &port_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      server_.reset();
      return error(Code::Unavailable,
                   "cannot listen on {} for workers: the port is in use or the address is not one "
                   "of this machine",
                   address);
    }
    return {};
  }

  int port() const override { return port_; }

  void stop() override {
    if (server_ == nullptr) return;
    evaluator_.stop();
    server_->Shutdown(std::chrono::system_clock::time_point());
    server_->Wait();
    server_.reset();
  }

 private:
  cirrus::rpc::Newcomers newcomers_;
  cirrus::rpc::TerminalHosts terminals_;
  cirrus::rpc::TerminalServer terminal_hosts_;
  cirrus::rpc::TerminalGuests terminal_guests_;
  LogSyncer syncer_;
  WorkersService workers_;
  AgentService agents_;
  ByteStreamService bytes_;
  EvaluatorService evaluator_;
  cirrus::rpc::ShellServer shells_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};
}  // namespace

Result<std::unique_ptr<RpcServer>> RpcServer::start(const RpcServerOptions& options,
                                                    core::Core& core, blobs::Stores& stores,
                                                    WorkPool& pool, cirrus::rpc::ShellHub& shells) {
  auto server = std::make_unique<Server>(core, stores, pool, shells);
  CIRRUS_TRY(server->listen(options));
  return std::unique_ptr<RpcServer>(std::move(server));
}

}  // namespace cirrus::controller::rpc
