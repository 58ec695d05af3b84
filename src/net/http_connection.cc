// SPDX-License-Identifier: MIT
#include "net/http_connection.h"

namespace cirrus::net::server {

namespace {
class PlainConnection final : public HttpConnection<beast::tcp_stream> {
 public:
  using HttpConnection::HttpConnection;
  void start() override { read_head(); }

 private:
  void say_goodbye(std::function<void()> told) override {
    ErrorCode ignored;
    lowest().socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    lowest().cancel();
    if (told) told();
  }
};
}  // namespace

std::shared_ptr<Connection> make_plain_connection(std::shared_ptr<Shared> shared,
                                                  asio::ip::tcp::socket socket) {
  return std::make_shared<PlainConnection>(std::move(shared), std::move(socket));
}

}  // namespace cirrus::net::server
