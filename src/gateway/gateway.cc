// SPDX-License-Identifier: MIT
#include "gateway/gateway.h"

#include <poll.h>

#include <cerrno>

#include "base/log.h"
#include "os/files.h"
#include "os/unix_socket.h"

namespace cirrus::gateway {

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
