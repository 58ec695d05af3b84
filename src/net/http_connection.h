// SPDX-License-Identifier: MIT
// Inside the HTTP server: one connection, for any stream. Included by the two files that make them.
#pragma once

#include <fcntl.h>

#include <chrono>
#include <deque>
#include <optional>
#include <vector>

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include "base/log.h"
#include "base/strings.h"
#include "net/http_shared.h"

namespace cirrus::net::server {

namespace beast = boost::beast;
namespace http = boost::beast::http;

/// HTTP/1.1 over one kind of stream. `Derived` opens it and closes it.
template <typename StreamType>
class HttpConnection : public Connection,
                       public std::enable_shared_from_this<HttpConnection<StreamType>> {
 public:
  template <typename... Arguments>
  explicit HttpConnection(std::shared_ptr<Shared> shared, Arguments&&... arguments)
      : Connection(std::move(shared)),
        stream_(std::forward<Arguments>(arguments)...),
        comment_(shared_->io) {}
  ~HttpConnection() override {
    if (body_) body_->close();
  }

  void read_head() {
    if (shared_->draining) return close();
    reading_head_ = true;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(shared_->options.max_header_bytes));
    parser_->body_limit(boost::none);  // set by the admission, and checked by us
    lowest().expires_after(shared_->options.header_timeout);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = this->shared_from_this()](ErrorCode failure, std::size_t) {
                              self->on_head(failure);
                            });
  }

  void write_whole(ServerResponse response) override {
    auto message = std::make_shared<http::response<http::string_body>>();
    fill(*message, response);
    message->body() = std::move(response.body);
    // The answer to HEAD says what the body of GET would have.
    const bool told = is_head_ && message->has_content_length();
    if (!told) message->prepare_payload();
    if (is_head_) message->body().clear();
    const bool keep = keep_alive_;
    message->keep_alive(keep);
    lowest().expires_after(shared_->options.transfer_timeout);
    http::async_write(
        stream_, *message,
        [self = this->shared_from_this(), message, keep](ErrorCode failure, std::size_t) {
          if (failure) return;
          if (keep) return self->read_head();
          // Unread bytes would make the kernel reset the connection, and the answer with it.
          if (!self->parser_->is_done()) return self->linger();
          self->close();
        });
  }

  void begin_stream(ServerResponse head, std::shared_ptr<Stream> body) override {
    body_ = std::move(body);
    auto message = std::make_shared<http::response<http::empty_body>>();
    fill(*message, head);
    // The handler's duty is to write as many bytes as it announced.
    chunked_ = !message->has_content_length();
    if (chunked_) message->chunked(true);
    message->keep_alive(false);  // see write_last
    is_events_ = (*message)[http::field::content_type] == "text/event-stream";
    auto serializer = std::make_shared<http::response_serializer<http::empty_body>>(*message);
    writing_ = true;
    lowest().expires_after(shared_->options.transfer_timeout);
    http::async_write_header(
        stream_, *serializer,
        [self = this->shared_from_this(), message, serializer](ErrorCode failure, std::size_t) {
          self->writing_ = false;
          // An empty body needs no second write; the chunks are ours.
          if (failure && failure != http::error::need_buffer) return self->drop();
          self->head_sent_ = true;
          self->watch_for_close();
          self->arm_comment();
          self->write_more();
        });
  }

  void drain() override {
    keep_alive_ = false;
    if (lingering_ || (reading_head_ && !body_)) return drop();
    if (is_events_) finish_stream();
  }
  void drop() override {
    if (dropped_) return;
    dropped_ = true;
    comment_.cancel();
    if (body_) body_->close();
    ErrorCode ignored;
    lowest().socket().close(ignored);
  }

  void queue(std::string bytes, bool counted) override {
    if (dropped_) return;
    if (counted) idle_ = false;
    pieces_.push_back({std::move(bytes), counted});
    write_more();
  }
  void finish_stream() override {
    finished_ = true;
    write_more();
  }

 protected:
  /// What the kernel knows of it; has the deadlines.
  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream_); }
  /// Tells the client that nothing more will come, and calls `told`, if it is there, when it was.
  virtual void say_goodbye(std::function<void()> told) = 0;

  StreamType stream_;

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
    reading_head_ = false;
    if (failure) {
      if (failure == http::error::end_of_stream) return close();
      if (failure.category() == http::make_error_code(http::error::bad_method).category()) {
        keep_alive_ = false;
        write_whole(failure == http::error::header_limit
                        ? refusal(431, "too large", "the head of the request is too long")
                        : refusal(400, "bad request", "this is no HTTP request"));
      }
      return;
    }
    request_ = ServerRequest();
    const auto& head = parser_->get();
    keep_alive_ = head.keep_alive();
    request_.method = std::string(head.method_string());
    is_head_ = request_.method == "HEAD";
    request_.target = std::string(head.target());
    ErrorCode unknown;
    const auto peer = lowest().socket().remote_endpoint(unknown);
    if (!unknown) request_.peer = peer.address().to_string();
    if (!unknown) request_.peer_port = peer.port();
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
    lowest().expires_never();
    shared_->admit(request_, [self = this->shared_from_this()](Admission admission) {
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
        return write_whole(refusal(507, "no room", "there is no room for the request's body"));
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
    lowest().expires_after(shared_->options.transfer_timeout);
    http::async_write(stream_, *message,
                      [self = this->shared_from_this(), message](ErrorCode failure, std::size_t) {
                        if (!failure) self->read_body();
                      });
  }

  void read_body() {
    piece_.resize(kPiece);
    parser_->get().body().data = piece_.data();
    parser_->get().body().size = piece_.size();
    lowest().expires_after(shared_->options.transfer_timeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = this->shared_from_this()](ErrorCode failure, std::size_t) {
                       self->on_body(failure);
                     });
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
        return write_whole(refusal(507, "no room", "there is no room for the request's body"));
      }
    } else {
      request_.body.append(piece_.data(), got);
    }
    if (parser_->is_done()) return dispatch();
    read_body();
  }

  void refuse_size() {
    keep_alive_ = false;
    write_whole(
        refusal(413, "too large", fmt::format("the request's body exceeds {} bytes", limit_)));
  }

  void dispatch();

  void close() { say_goodbye(nullptr); }

  /// Says goodbye and throws away what the client still sends, until it closes or `linger` is over.
  void linger() {
    if (shared_->draining) return close();
    lingering_ = true;
    say_goodbye([self = this->shared_from_this()] {
      self->piece_.resize(kPiece);
      self->lowest().expires_after(self->shared_->options.linger);
      self->discard();
    });
  }
  void discard() {
    lowest().async_read_some(asio::buffer(piece_),
                             [self = this->shared_from_this()](ErrorCode failure, std::size_t) {
                               if (!failure) self->discard();
                             });
  }

  /// While a body is streamed the only thing a client can do is go away.
  void watch_for_close() {
    // The library gives a read the deadline there was when it began: this one waits as long as the
    // stream goes on, and writes have deadlines of their own.
    lowest().expires_never();
    stream_.async_read_some(asio::buffer(&probe_, 1),
                            [self = this->shared_from_this()](ErrorCode failure, std::size_t) {
                              if (failure && failure != asio::error::operation_aborted)
                                self->drop();
                            });
  }

  void arm_comment() {
    if (!is_events_) return;
    comment_.expires_after(shared_->options.keepalive_comment);
    comment_.async_wait([weak = this->weak_from_this()](ErrorCode failure) {
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
      lowest().expires_never();
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
    lowest().expires_after(shared_->options.transfer_timeout);
    const auto written = [self = this->shared_from_this(), bytes, counted](ErrorCode failure,
                                                                           std::size_t) {
      self->writing_ = false;
      if (failure) return self->drop();
      self->body_->sent(counted);
      self->write_more();
    };
    if (chunked_) {
      asio::async_write(stream_, http::make_chunk(asio::buffer(*bytes)), written);
    } else {
      asio::async_write(stream_, asio::buffer(*bytes), written);
    }
  }

  void write_last() {
    writing_ = true;
    lowest().expires_after(shared_->options.transfer_timeout);
    const auto ended = [self = this->shared_from_this()](ErrorCode failure, std::size_t) {
      if (failure) return self->drop();
      // The read that watched for the end has to go before the socket is used again; closing is
      // simpler and streams are rare.
      self->body_->close();
      self->dropped_ = true;
      self->comment_.cancel();
      self->close();
    };
    if (!chunked_) return ended({}, 0);
    asio::async_write(stream_, http::make_chunk_last(), ended);
  }

  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::buffer_body>> parser_;
  ServerRequest request_;
  std::vector<char> piece_;
  std::shared_ptr<Spool> spool_;
  std::uint64_t limit_ = 0;
  std::uint64_t received_ = 0;
  bool keep_alive_ = true;
  bool reading_head_ = false;
  bool lingering_ = false;
  // Streaming.
  std::shared_ptr<Stream> body_;
  std::deque<Piece> pieces_;
  asio::steady_timer comment_;
  char probe_ = 0;
  bool is_head_ = false;
  bool is_events_ = false;
  bool chunked_ = true;
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

template <typename StreamType>
void HttpConnection<StreamType>::dispatch() {
  received_ = 0;
  if (spool_) {
    request_.spooled = spool_->path;
    request_.spool_owner = std::exchange(spool_, nullptr);
  }
  lowest().expires_never();
  shared_->handle(std::move(request_),
                  std::make_shared<ConnectionResponder>(shared_, this->shared_from_this()));
}

}  // namespace cirrus::net::server
