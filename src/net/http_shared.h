// SPDX-License-Identifier: MIT
// Inside the HTTP server: what connections share with the server and with whoever answers them.
// Included by http_server.cc and by the two files that make connections, nowhere else.
#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>

#include "base/guarded.h"
#include "net/http_server.h"
#include "os/fd.h"

namespace cirrus::net::server {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kBacklog = 1 << 20;

class Connection;

/// What is refused before anybody but us has seen it, as RFC 9457 has it. Texts are our own: there
/// is nothing to escape.
inline ServerResponse refusal(int status, const char* title, const std::string& detail) {
  return {status,
          {{"Content-Type", "application/problem+json"},
           {"Cache-Control", "no-store"},
           {"X-Content-Type-Options", "nosniff"}},
          fmt::format(R"({{"schema_version":1,"type":"about:blank","title":"{}","status":{},)"
                      R"("detail":"{}"}})"
                      "\n",
                      title, status, detail)};
}

class TlsKeys;

struct Shared {
  HttpServerOptions options;
  std::shared_ptr<TlsKeys> keys;  ///< null: cleartext
  Admit admit;
  Handle handle;
  // Not told that one thread runs it: then what that thread posts would be held back until its
  // handler ends, and bytes that another thread posts meanwhile would overtake it.
  asio::io_context io;
  std::size_t connections = 0;       // server thread only
  std::set<Connection*> open;        // server thread only
  std::function<void()> on_last;     // server thread only; called when the last one has gone
  bool draining = false;             // server thread only; no connection is kept for more
  std::uint64_t spools = 0;          // server thread only; names them
  std::atomic<bool> stopped{false};  // set once; late answers are dropped

  /// Runs `body` on the server's thread, unless it has ended.
  template <typename Body>
  void post(Body&& body) {
    if (!stopped) asio::post(io, std::forward<Body>(body));
  }
};

/// Removes a spooled body.
struct Spool {
  std::filesystem::path path;
  os::Fd fd;
  ~Spool() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

/// The producer's end of a streamed body.
class Stream final : public ByteStream {
 public:
  struct State {
    std::size_t pending = 0;
    bool closed = false;
    std::function<void()> on_close;
    std::function<void()> on_drain;
  };
  Stream(std::shared_ptr<Shared> shared, std::weak_ptr<Connection> connection)
      : shared_(std::move(shared)), connection_(std::move(connection)) {}

  bool write(std::string bytes) override;
  bool write_blocking(std::string bytes, const StopToken& stop) override {
    const bool open = state_.wait(
        stop, [](const State& state) { return state.closed || state.pending < kBacklog; },
        [](State& state, bool) { return !state.closed; });
    return open && !stop.stop_requested() && write(std::move(bytes));
  }
  void finish() override;
  void abort() override;
  std::size_t pending() const override {
    return state_.with([](const State& state) { return state.pending; });
  }
  void on_drain(std::function<void()> drained) override {
    state_.with([&](State& state) { state.on_drain = std::move(drained); });
  }
  void on_close(std::function<void()> closed) override {
    const bool now = state_.with([&](State& state) {
      if (!state.closed) state.on_close = closed;
      return state.closed;
    });
    if (now) closed();
  }
  /// By the connection, on the server's thread.
  void sent(std::size_t bytes) {
    const std::function<void()> drained = state_.update([&](State& state) {
      state.pending -= std::min(bytes, state.pending);
      return state.pending < kBacklog / 2 ? state.on_drain : nullptr;
    });
    if (drained) drained();
  }
  void close() {
    // Both callbacks go: they may own what owns this stream.
    const auto callbacks = state_.update([](State& state) {
      state.closed = true;
      return std::pair(std::exchange(state.on_close, nullptr),
                       std::exchange(state.on_drain, nullptr));
    });
    if (callbacks.first) callbacks.first();
  }

 private:
  const std::shared_ptr<Shared> shared_;
  const std::weak_ptr<Connection> connection_;
  Guarded<State> state_;
};

/// One client. Everything runs on the server's thread. Kept alive by the handlers of its pending
/// operations.
class Connection {
 public:
  explicit Connection(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {
    ++shared_->connections;
    shared_->open.insert(this);
  }
  virtual ~Connection() {
    --shared_->connections;
    shared_->open.erase(this);
    if (shared_->open.empty() && shared_->on_last) shared_->on_last();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  virtual void start() = 0;
  virtual void write_whole(ServerResponse response) = 0;
  virtual void begin_stream(ServerResponse head, std::shared_ptr<Stream> body) = 0;
  virtual void queue(std::string bytes, bool counted) = 0;
  virtual void finish_stream() = 0;
  /// Ends the connection at once.
  virtual void drop() = 0;
  /// Ends it when what is under way is answered; event streams end now, and cleanly.
  virtual void drain() = 0;

 protected:
  const std::shared_ptr<Shared> shared_;
};

/// Both take over a connected socket; in http_connection.cc and https_connection.cc, because each
/// instance of the library's templates takes long to compile.
std::shared_ptr<Connection> make_plain_connection(std::shared_ptr<Shared> shared,
                                                  asio::ip::tcp::socket socket);
std::shared_ptr<Connection> make_tls_connection(std::shared_ptr<Shared> shared,
                                                asio::ip::tcp::socket socket);

}  // namespace cirrus::net::server
