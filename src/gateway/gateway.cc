// SPDX-License-Identifier: MIT
#include "gateway/gateway.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "os/files.h"
#include "os/unix_socket.h"

namespace cirrus::gateway {
namespace {

// Ours: secrets are small.
constexpr std::size_t kMaxVaultAnswer = 1U << 20U;

}  // namespace

Result<std::unique_ptr<Gateway>> Gateway::create() {
  std::unique_ptr<Gateway> gateway(new Gateway(CIRRUS_TRY(os::Waker::create())));
  Gateway* raw = gateway.get();
  gateway->acceptor_ = Thread([raw](const StopToken& stop) { raw->accept_loop(stop); });
  return gateway;
}

Gateway::~Gateway() {
  acceptor_.request_stop();
  waker_.wake();
  if (acceptor_.joinable()) acceptor_.join();
}

void Gateway::set_adopter(std::function<void(os::Fd)> adopt) {
  adopt_ = std::move(adopt);
}

Status Gateway::add(std::shared_ptr<TaskGateway> task) {
  const TaskPaths& paths = task->paths();
  // Before the socket is made: listening again would take it away from the first.
  if (tasks_.with([&](auto& tasks) { return tasks.contains(task->task_id()); })) {
    return error(Code::AlreadyExists, "task {} is served already", task->task_id());
  }
  CIRRUS_TRY(os::make_directories(paths.run_directory, 0700));
  CIRRUS_TRY(os::make_directories(paths.guest(), 0755));
  Entry entry{task, std::make_shared<os::Fd>(CIRRUS_TRY(os::listen_unix(paths.socket(), 0666)))};
  CIRRUS_TRY(os::set_nonblocking(entry.listener->get(), true));
  const bool added = tasks_.with(
      [&](auto& tasks) { return tasks.emplace(task->task_id(), std::move(entry)).second; });
  if (!added) return error(Code::AlreadyExists, "task {} is served already", task->task_id());
  waker_.wake();
  return {};
}

void Gateway::remove(const std::string& task_id) {
  Entry gone;
  tasks_.with([&](auto& tasks) {
    const auto found = tasks.find(task_id);
    if (found == tasks.end()) return;
    gone = std::move(found->second);
    tasks.erase(found);
  });
  waker_.wake();
}

Result<std::shared_ptr<rpc::AgentSession>> Gateway::attach(
    const gw::AgentMessage::Hello& hello, std::shared_ptr<rpc::AgentConnection> connection) {
  const std::shared_ptr<TaskGateway> task = find(hello.task_id());
  if (!task) return error(Code::NotFound, "task {} does not run here", hello.task_id());
  return task->attach(hello, std::move(connection));
}

Result<rpc::BlobLease> Gateway::lend_blobs(const gw::BlobCaller& caller) {
  const std::shared_ptr<TaskGateway> task = find(caller.task_id());
  if (!task) return error(Code::NotFound, "task {} does not run here", caller.task_id());
  return task->lend_blobs(caller);
}

Result<std::shared_ptr<rpc::ReferenceTask>> Gateway::reference_task(const std::string& task_id,
                                                                    const std::string& secret) {
  const std::shared_ptr<TaskGateway> task = find(task_id);
  if (!task) return error(Code::NotFound, "task {} does not run here", task_id);
  rpc::ReferenceTask* const agent = CIRRUS_TRY(task->reference_agent(secret));
  return std::shared_ptr<rpc::ReferenceTask>(task, agent);
}

Status Gateway::serve_tunnel(const gw::TunnelMessage::Open& open, rpc::ByteChannel& agent) {
  const std::shared_ptr<TaskGateway> task = find(open.task_id());
  if (!task) return error(Code::NotFound, "task {} does not run here", open.task_id());
  gw::BlobCaller caller;
  caller.set_task_id(open.task_id());
  caller.set_agent_secret(open.agent_secret());
  // The lease ends it with the task.
  const rpc::BlobLease lease = CIRRUS_TRY(task->lend_blobs(caller));
  const std::string url = task->clone_url();
  if (mirrors_ == nullptr || url.empty()) {
    return error(Code::NotFound, "this gateway has no mirror of the task's repository");
  }
  model::CloneRequest request;
  request.url.clean = url;
  request.url.origin = model::split_clone_url(url).origin;
  request.url.user = open.git().user();
  request.url.password = Secret(open.git().password());
  request.change = open.git().change();
  request.ref = open.git().ref();
  request.tracking = open.git().tracking();
  request.depth = open.git().depth();
  request.all_tags = open.git().all_tags();
  request.branch = open.git().branch();
  request.submodules = open.git().submodules();
  CIRRUS_TRY(model::check_clone_request(request));
  if (open.destination() == "git-fetch") {
    return mirrors_->fetch(request, lease.stop,
                           [&agent](std::string_view words) { (void)agent.write(words); });
  }
  if (open.destination() == "git") {
    return mirrors_->serve(request, open.git().protocol(), agent, lease.stop);
  }
  if (open.destination() == "git-tree") return mirrors_->send_tree(request, agent, lease.stop);
  return error(Code::NotFound, "'{}' is no destination of a tunnel", open.destination());
}

Status Gateway::admit_listener(const std::string& task_id, const std::string& agent_secret) {
  const std::shared_ptr<TaskGateway> task = find(task_id);
  if (!task) return error(Code::NotFound, "task {} does not run here", task_id);
  gw::BlobCaller caller;
  caller.set_task_id(task_id);
  caller.set_agent_secret(agent_secret);
  CIRRUS_TRY(task->lend_blobs(caller));
  return {};
}

Result<gw::VaultReply> Gateway::call_vault(const gw::VaultRequest& request) {
  const std::shared_ptr<TaskGateway> task = find(request.caller().task_id());
  if (!task) return error(Code::NotFound, "task {} does not run here", request.caller().task_id());
  const rpc::BlobLease lease = CIRRUS_TRY(task->lend_blobs(request.caller()));
  const std::string server = task->vault_url();
  if (server.empty()) {
    return error(Code::FailedPrecondition,
                 "CIRRUS_VAULT_URL is not set, or is no address of a Vault server that a task in "
                 "this isolation may ask through its worker");
  }
  const bool odd = std::any_of(request.path().begin(), request.path().end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '#';
  });
  if (odd || request.path().empty() || request.path().find("..") != std::string::npos ||
      (request.method() != "GET" && request.method() != "PUT")) {
    return error(Code::InvalidArgument, "'{}' is no path in Vault", request.path());
  }
  net::HttpRequest call;
  call.method = request.method();
  call.url = server + "/v1/" + request.path();
  call.headers = {{"X-Vault-Request", "true"}, {"Content-Type", "application/json"}};
  if (!request.token().empty()) call.headers.emplace_back("X-Vault-Token", request.token());
  if (!request.name_space().empty()) {
    call.headers.emplace_back("X-Vault-Namespace", request.name_space());
  }
  call.body = request.body();
  const net::HttpResponse answer =
      CIRRUS_TRY(http_.send(call, lease.stop, kMaxVaultAnswer).note("asking Vault"));
  gw::VaultReply reply;
  reply.set_status(static_cast<std::uint32_t>(answer.status));
  // Whatever else may listen at an address that a task can choose: it does not answer like Vault.
  const auto type = answer.headers.find("content-type");
  if (type != answer.headers.end() && type->second.starts_with("application/json")) {
    reply.set_body(answer.body);
  }
  return reply;
}

std::shared_ptr<TaskGateway> Gateway::find(const std::string& task_id) {
  return tasks_.with([&](auto& tasks) {
    const auto found = tasks.find(task_id);
    return found == tasks.end() ? nullptr : found->second.task;
  });
}

void Gateway::accept_loop(const StopToken& stop) {
  while (!stop.stop_requested()) {
    std::vector<std::shared_ptr<os::Fd>> listeners;
    tasks_.with([&](auto& tasks) {
      for (const auto& [id, entry] : tasks) listeners.push_back(entry.listener);
    });
    std::vector<pollfd> polled{{waker_.fd(), POLLIN, 0}};
    for (const auto& listener : listeners) polled.push_back({listener->get(), POLLIN, 0});
    const int ready = ::poll(polled.data(), polled.size(), -1);
    if (ready < 0 && errno != EINTR) {
      log_error("the gateway cannot poll", {{"error", errno_error(errno, "poll")}});
      if (!wait_for(stop, std::chrono::seconds(1))) return;
      continue;
    }
    if (polled[0].revents != 0) waker_.clear();
    for (std::size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      for (;;) {
        Result<os::Fd> connection = os::accept_connection(polled[i].fd);
        if (!connection.ok()) break;
        if (adopt_) adopt_(std::move(connection).value());
      }
    }
  }
}

}  // namespace cirrus::gateway
