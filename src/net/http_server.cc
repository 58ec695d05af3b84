// SPDX-License-Identifier: MIT
#include "net/http_server.h"

#include <fcntl.h>

#include <charconv>

#include <boost/asio/steady_timer.hpp>

#include "base/log.h"
#include "base/stop.h"
#include "net/http_shared.h"
#include "net/tls_keys.h"

namespace cirrus::net {

namespace server {

using tcp = asio::ip::tcp;

bool Stream::write(std::string bytes) {
  // An empty chunk would end the body.
  if (bytes.empty()) return state_.with([](const State& state) { return !state.closed; });
  const bool open = state_.with([&](State& state) {
    if (!state.closed) state.pending += bytes.size();
    return !state.closed;
  });
  if (!open) return false;
  shared_->post([connection = connection_.lock(), bytes = std::move(bytes)]() mutable {
    if (connection) connection->queue(std::move(bytes), true);
  });
  return true;
}

void Stream::finish() {
  shared_->post([connection = connection_.lock()] {
    if (connection) connection->finish_stream();
  });
}

void Stream::abort() {
  shared_->post([connection = connection_.lock()] {
    if (connection) connection->drop();
  });
}

class Server final : public HttpServer {
 public:
  explicit Server(std::shared_ptr<Shared> shared)
      : shared_(std::move(shared)),
        acceptor_(shared_->io),
        retry_(shared_->io),
        limit_(shared_->io) {}
  ~Server() override { stop(); }

  Status listen() {
    ErrorCode failure;
    if (shared_->options.listener.valid()) {
      acceptor_.assign(tcp::v4(), shared_->options.listener.release(), failure);
      if (failure) return error(Code::Internal, "cannot serve a socket: {}", failure.message());
    } else {
      CIRRUS_TRY(bind_address());
    }
    ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
    port_ = acceptor_.local_endpoint(failure).port();
    accept();
    thread_ = Thread([shared = shared_] { run(*shared); });
    return {};
  }

  int port() const override { return port_; }
  void stop() override {
    if (!thread_.joinable()) return;
    // What is being answered is answered to its end, event streams end cleanly, and whoever is
    // slow is cut off. Without connections the loop has nothing to do, and ends.
    asio::post(shared_->io, [this] {
      ErrorCode ignored;
      acceptor_.close(ignored);
      retry_.cancel();
      shared_->draining = true;
      shared_->on_last = [this] {
        shared_->stopped = true;
        limit_.cancel();
      };
      limit_.expires_after(shared_->options.drain_timeout);
      limit_.async_wait([this](ErrorCode cancelled) {
        shared_->stopped = true;
        if (cancelled) return;
        for (Connection* const connection : std::set<Connection*>(shared_->open)) {
          connection->drop();
        }
      });
      for (Connection* const connection : std::set<Connection*>(shared_->open)) connection->drain();
      if (shared_->open.empty()) shared_->on_last();
    });
    thread_.join();
    shared_->on_last = nullptr;
  }

 private:
  Status bind_address() {
    const std::string& address = shared_->options.address;
    const std::size_t colon = address.rfind(':');
    int number = -1;
    if (colon != std::string::npos) {
      const char* const end = address.data() + address.size();
      if (std::from_chars(address.data() + colon + 1, end, number).ptr != end) number = -1;
    }
    if (number < 0 || number > 65535) {
      return error(Code::InvalidArgument, "'{}' is not HOST:PORT", address);
    }
    std::string host = address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
      host = host.substr(1, host.size() - 2);
    }
    if (host == "localhost") host = "127.0.0.1";
    ErrorCode failure;
    const asio::ip::address ip = asio::ip::make_address(host, failure);
    if (failure)
      return error(Code::InvalidArgument, "'{}' is not an IP address to listen on", host);
    const tcp::endpoint endpoint(ip, static_cast<unsigned short>(number));
    acceptor_.open(endpoint.protocol(), failure);
    if (!failure) acceptor_.set_option(tcp::acceptor::reuse_address(true), failure);
    if (!failure) acceptor_.bind(endpoint, failure);
    if (!failure) acceptor_.listen(asio::socket_base::max_listen_connections, failure);
    if (failure) {
      return error(Code::Unavailable, "cannot listen on {} for HTTP: {}", address,
                   failure.message());
    }
    return {};
  }

  static void run(Shared& shared) {
    for (;;) {
      // The root of this thread: an escape out of the library is a bug, not the end of serving.
      try {
        shared.io.run();
        return;
      } catch (const std::exception& escaped) {
        log_error("bug: exception in the HTTP thread", {{"what", escaped.what()}});
      }
    }
  }

  void accept() {
    acceptor_.async_accept([this](ErrorCode failure, tcp::socket socket) {
      if (failure == asio::error::operation_aborted) return;
      if (failure) {
        // Out of descriptors, most likely: try again when some are free.
        retry_.expires_after(std::chrono::milliseconds(100));
        retry_.async_wait([this](ErrorCode cancelled) {
          if (!cancelled) accept();
        });
        return;
      }
      ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
      ErrorCode ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      if (shared_->connections < shared_->options.max_connections) {
        const auto connection = shared_->keys ? make_tls_connection(shared_, std::move(socket))
                                              : make_plain_connection(shared_, std::move(socket));
        connection->start();
      }
      accept();
    });
  }

  const std::shared_ptr<Shared> shared_;
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  asio::steady_timer limit_;
  int port_ = 0;
  Thread thread_;
};
}  // namespace server

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options, Admit admit,
                                                      Handle handle) {
  auto shared = std::make_shared<server::Shared>();
  if (options.tls) shared->keys = CIRRUS_TRY(server::TlsKeys::load(*options.tls));
  shared->options = std::move(options);
  shared->admit = std::move(admit);
  shared->handle = std::move(handle);
  auto started = std::make_unique<server::Server>(std::move(shared));
  CIRRUS_TRY(started->listen());
  return std::unique_ptr<HttpServer>(std::move(started));
}

}  // namespace cirrus::net
