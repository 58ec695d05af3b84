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
<<<<<<< HEAD
=======
using ErrorCode = boost::system::error_code;

constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kBacklog = 1 << 20;

class Connection;

struct Shared {
  HttpServerOptions options;
  Admit admit;
  Handle handle;
  // Not told that one thread runs it: then what that thread posts would be held back until its
  // handler ends, and bytes that another thread posts meanwhile would overtake it.
  asio::io_context io;
  std::size_t connections = 0;       // server thread only
  std::set<Connection*> open;        // server thread only
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

/// One client. Everything runs on the server's thread except what says otherwise. Kept alive by
/// the handlers of its pending operations.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Shared> shared, tcp::socket socket)
      : shared_(std::move(shared)), stream_(std::move(socket)), comment_(shared_->io) {
    ++shared_->connections;
    shared_->open.insert(this);
  }
  ~Connection() {
    --shared_->connections;
    shared_->open.erase(this);
    if (body_) body_->close();
  }

  void read_head() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(shared_->options.max_header_bytes));
    parser_->body_limit(boost::none);  // set by the admission, and checked by us
    stream_.expires_after(shared_->options.header_timeout);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](ErrorCode failure, std::size_t) { self->on_head(failure); });
  }

  void write_whole(ServerResponse response) {
    auto message = std::make_shared<http::response<http::string_body>>();
    fill(*message, response);
    message->body() = std::move(response.body);
    message->prepare_payload();
    const bool keep = keep_alive_;
    message->keep_alive(keep);
    stream_.expires_after(shared_->options.transfer_timeout);
    http::async_write(stream_, *message,
                      [self = shared_from_this(), message, keep](ErrorCode failure, std::size_t) {
                        if (failure) return;
                        if (!keep) return self->close_gracefully();
                        self->read_head();
                      });
  }

  void begin_stream(ServerResponse head, std::shared_ptr<Stream> body) {
    body_ = std::move(body);
    auto message = std::make_shared<http::response<http::empty_body>>();
    fill(*message, head);
    message->chunked(true);
    message->keep_alive(false);  // see write_last
    is_events_ = (*message)[http::field::content_type] == "text/event-stream";
    auto serializer = std::make_shared<http::response_serializer<http::empty_body>>(*message);
    writing_ = true;
    stream_.expires_after(shared_->options.transfer_timeout);
    http::async_write_header(
        stream_, *serializer,
        [self = shared_from_this(), message, serializer](ErrorCode failure, std::size_t) {
          self->writing_ = false;
          // An empty body needs no second write; the chunks are ours.
          if (failure && failure != http::error::need_buffer) return self->drop();
          self->head_sent_ = true;
          self->watch_for_close();
          self->arm_comment();
          self->write_more();
        });
  }

  /// Ends the connection at once.
  void drop() {
    if (dropped_) return;
    dropped_ = true;
    comment_.cancel();
    if (body_) body_->close();
    ErrorCode ignored;
    stream_.socket().close(ignored);
  }

  void queue(std::string bytes, bool counted) {
    if (dropped_) return;
    if (counted) idle_ = false;
    pieces_.push_back({std::move(bytes), counted});
    write_more();
  }
  void finish_stream() {
    finished_ = true;
    write_more();
  }

 private:
  struct Piece {
    std::string bytes;
    bool counted = true;
  };

  template <typename Message>
  void fill(Message& message, const ServerResponse& response) {
    message.version(11);
    message.result(static_cast<unsigned>(response.status));
    message.set(http::field::server, "cirrus");
    for (const auto& [name, value] : response.headers) message.set(name, value);
  }

  void on_head(ErrorCode failure) {
    if (failure) {
      if (failure == http::error::end_of_stream) return close_gracefully();
      if (failure.category() == http::make_error_code(http::error::bad_method).category()) {
        keep_alive_ = false;
        const int status = failure == http::error::header_limit ? 431 : 400;
        write_whole({status, {{"Content-Type", "text/plain"}}, "bad request\n"});
      }
      return;
    }
    request_ = ServerRequest();
    const auto& head = parser_->get();
    keep_alive_ = head.keep_alive();
    request_.method = std::string(head.method_string());
    request_.target = std::string(head.target());
    ErrorCode unknown;
    const auto peer = stream_.socket().remote_endpoint(unknown);
    if (!unknown) request_.peer = peer.address().to_string();
    const std::size_t question = request_.target.find('?');
    request_.path = request_.target.substr(0, question);
    if (question != std::string::npos) {
      request_.query = parse_query(std::string_view(request_.target).substr(question + 1));
    }
    for (const auto& field : head) {
      request_.headers[to_lower(std::string_view(
          field.name_string().data(), field.name_string().size()))] = std::string(field.value());
    }
    // No deadline while others think.
    stream_.expires_never();
    shared_->admit(request_, [self = shared_from_this()](Admission admission) {
      self->shared_->post([self, admission = std::move(admission)]() mutable {
        self->on_admission(std::move(admission));
      });
    });
  }

  void on_admission(Admission admission) {
    if (admission.refusal) {
      // The body stays unread, so the connection cannot be used again.
      keep_alive_ = keep_alive_ && parser_->is_done();
      return write_whole(*std::move(admission.refusal));
    }
    request_.principal = std::move(admission.principal);
    limit_ = admission.body_limit;
    const auto length = parser_->content_length();
    if (length && *length > limit_) return refuse_size();
    if (parser_->is_done() || (length && *length == 0)) return dispatch();
    if (admission.spool) {
      const Status opened = open_spool();
      if (!opened.ok()) {
        keep_alive_ = false;
        log_error("request cannot be spooled", {{"error", opened.error()}});
        return write_whole(
            {507, {{"Content-Type", "text/plain"}}, "no room for the request body\n"});
      }
    }
    if (to_lower(request_.header("expect")) == "100-continue") return send_continue();
    read_body();
  }

  Status open_spool() {
    spool_ = std::make_shared<Spool>();
    spool_->path = shared_->options.spool_directory / fmt::format("body-{}", ++shared_->spools);
    spool_->fd = CIRRUS_TRY(os::open_file(spool_->path, O_RDWR | O_CREAT | O_EXCL));
    return {};
  }

  void send_continue() {
    auto message = std::make_shared<http::response<http::empty_body>>(http::status::continue_, 11);
    stream_.expires_after(shared_->options.transfer_timeout);
    http::async_write(stream_, *message,
                      [self = shared_from_this(), message](ErrorCode failure, std::size_t) {
                        if (!failure) self->read_body();
                      });
  }

  void read_body() {
    piece_.resize(kPiece);
    parser_->get().body().data = piece_.data();
    parser_->get().body().size = piece_.size();
    stream_.expires_after(shared_->options.transfer_timeout);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](ErrorCode failure, std::size_t) { self->on_body(failure); });
  }

  void on_body(ErrorCode failure) {
    if (failure && failure != http::error::need_buffer) return;
    const std::size_t got = kPiece - parser_->get().body().size;
    received_ += got;
    if (received_ > limit_) return refuse_size();
    if (spool_) {
      const Status written = os::write_all(spool_->fd.get(), std::string_view(piece_.data(), got));
      if (!written.ok()) {
        keep_alive_ = false;
        return write_whole(
            {507, {{"Content-Type", "text/plain"}}, "no room for the request body\n"});
      }
    } else {
      request_.body.append(piece_.data(), got);
    }
    if (parser_->is_done()) return dispatch();
    read_body();
  }

  void refuse_size() {
    keep_alive_ = false;
    write_whole({413,
                 {{"Content-Type", "text/plain"}},
                 fmt::format("the request body exceeds {} bytes\n", limit_)});
  }

  void dispatch();

  /// While a body is streamed the only thing a client can do is go away.
  void watch_for_close() {
    stream_.async_read_some(asio::buffer(&probe_, 1),
                            [self = shared_from_this()](ErrorCode failure, std::size_t) {
                              if (failure && failure != asio::error::operation_aborted)
                                self->drop();
                            });
  }

  void arm_comment() {
    if (!is_events_) return;
    comment_.expires_after(shared_->options.keepalive_comment);
    comment_.async_wait([weak = weak_from_this()](ErrorCode failure) {
      const auto self = weak.lock();
      if (failure || !self || self->dropped_ || self->finished_) return;
      // Keeps proxies from closing an idle stream, and notices clients that vanished.
      if (self->idle_) self->queue(": still here\n\n", false);
      self->idle_ = true;
      self->arm_comment();
    });
  }

  void write_more() {
    if (!head_sent_ || writing_ || dropped_) return;
    if (pieces_.empty()) {
      if (finished_) return write_last();
      stream_.expires_never();
      return;
    }
    // Everything that is queued in one chunk.
    auto bytes = std::make_shared<std::string>();
    std::size_t counted = 0;
    while (!pieces_.empty() && bytes->size() < kBacklog) {
      if (pieces_.front().counted) counted += pieces_.front().bytes.size();
      *bytes += pieces_.front().bytes;
      pieces_.pop_front();
    }
    writing_ = true;
    stream_.expires_after(shared_->options.transfer_timeout);
    asio::async_write(stream_, http::make_chunk(asio::buffer(*bytes)),
                      [self = shared_from_this(), bytes, counted](ErrorCode failure, std::size_t) {
                        self->writing_ = false;
                        if (failure) return self->drop();
                        self->body_->sent(counted);
                        self->write_more();
                      });
  }

  void write_last() {
    writing_ = true;
    stream_.expires_after(shared_->options.transfer_timeout);
    asio::async_write(stream_, http::make_chunk_last(),
                      [self = shared_from_this()](ErrorCode failure, std::size_t) {
                        if (failure) return self->drop();
                        // The read that watched for the end has to go before the socket is used
                        // again; closing is simpler and streams are rare.
                        self->body_->close();
                        self->dropped_ = true;
                        self->comment_.cancel();
                        self->close_gracefully();
                      });
  }

  void close_gracefully() {
    ErrorCode ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.cancel();
  }

  const std::shared_ptr<Shared> shared_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::buffer_body>> parser_;
  ServerRequest request_;
  std::vector<char> piece_;
  std::shared_ptr<Spool> spool_;
  std::uint64_t limit_ = 0;
  std::uint64_t received_ = 0;
  bool keep_alive_ = true;
  // Streaming.
  std::shared_ptr<Stream> body_;
  std::deque<Piece> pieces_;
  asio::steady_timer comment_;
  char probe_ = 0;
  bool is_events_ = false;
  bool idle_ = true;
  bool head_sent_ = false;
  bool writing_ = false;
  bool finished_ = false;
  bool dropped_ = false;
};

/// What a handler gets: only passes on to the connection's thread.
class ConnectionResponder final : public Responder {
 public:
  ConnectionResponder(std::shared_ptr<Shared> shared, std::shared_ptr<Connection> connection)
      : shared_(std::move(shared)), connection_(std::move(connection)) {}

  void respond(ServerResponse response) override {
    shared_->post([connection = std::move(connection_), response = std::move(response)]() mutable {
      connection->write_whole(std::move(response));
    });
  }
  std::shared_ptr<ByteStream> stream(ServerResponse head) override {
    auto body = std::make_shared<Stream>(shared_, connection_);
    shared_->post([connection = std::move(connection_), head = std::move(head), body]() mutable {
      connection->begin_stream(std::move(head), std::move(body));
    });
    return body;
  }

 private:
  const std::shared_ptr<Shared> shared_;
  std::shared_ptr<Connection> connection_;  // given away by the one answer
};

void Connection::dispatch() {
  received_ = 0;
  if (spool_) {
    request_.spooled = spool_->path;
    request_.spool_owner = std::exchange(spool_, nullptr);
  }
  stream_.expires_never();
  shared_->handle(std::move(request_),
                  std::make_shared<ConnectionResponder>(shared_, shared_from_this()));
}
>>>>>>> core

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

class Server final : public HttpServer {
 public:
  explicit Server(std::shared_ptr<Shared> shared)
      : shared_(std::move(shared)),
        acceptor_(shared_->io),
        retry_(shared_->io),
        limit_(shared_->io) {}
  ~Server() override { stop(); }

  Status listen() {
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
