// SPDX-License-Identifier: MIT
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include "net/http_connection.h"
#include "net/tls_keys.h"

namespace cirrus::net::server {

namespace {
constexpr std::chrono::seconds kGoodbye{5};

class TlsConnection final : public HttpConnection<beast::ssl_stream<beast::tcp_stream>> {
 public:
  TlsConnection(std::shared_ptr<Shared> shared, asio::ip::tcp::socket socket,
                std::shared_ptr<asio::ssl::context> context)
      : HttpConnection(std::move(shared), std::move(socket), *context),
        context_(std::move(context)) {}

  void start() override {
    lowest().expires_after(shared_->options.header_timeout);
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [this, self = this->shared_from_this()](ErrorCode failure) {
                              if (!failure) read_head();
                            });
  }

 private:
  void say_goodbye(std::function<void()> told) override {
    lowest().cancel();
    lowest().expires_after(kGoodbye);
    // It fails where the client sends on; by then it was told.
    stream_.async_shutdown([self = this->shared_from_this(), told = std::move(told)](ErrorCode) {
      if (told) told();
    });
  }

  const std::shared_ptr<asio::ssl::context> context_;  // also after the keys were replaced
};
}  // namespace

std::shared_ptr<Connection> make_tls_connection(std::shared_ptr<Shared> shared,
                                                asio::ip::tcp::socket socket) {
  std::shared_ptr<asio::ssl::context> context = shared->keys->current();
  return std::make_shared<TlsConnection>(std::move(shared), std::move(socket), std::move(context));
}

}  // namespace cirrus::net::server
