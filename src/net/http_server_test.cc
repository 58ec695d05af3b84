// SPDX-License-Identifier: MIT
#include "net/http_server.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/guarded.h"
#include "net/http_client.h"
#include "os/files.h"
#include "os/loopback.h"
#include "os/temp_dir.h"

namespace cirrus::net {

namespace {
class HttpServerTest : public testing::Test {
 protected:
  void start(Admit admit, Handle handle) {
    HttpServerOptions options;
    options.address = "127.0.0.1:0";
    options.spool_directory = directory_.path();
    options.transfer_timeout = transfer_timeout_;
    options.linger = linger_;
    auto started = HttpServer::start(std::move(options), std::move(admit), std::move(handle));
    ASSERT_TRUE(started.ok()) << started.error().to_string();
    server_ = std::move(started).value();
  }
  static Admit admit_all(std::uint64_t limit = 1U << 20U, bool spool = false) {
    return [limit, spool](const ServerRequest&, const std::function<void(Admission)>& decided) {
      Admission admission;
      admission.body_limit = limit;
      admission.spool = spool;
      decided(std::move(admission));
    };
  }
  HttpResponse send(const std::string& method, const std::string& target, std::string body = {}) {
    HttpRequest request;
    request.method = method;
    request.url = "http://127.0.0.1:" + std::to_string(server_->port()) + target;
    request.body = std::move(body);
    const auto response = client_.send(request);
    EXPECT_TRUE(response.ok()) << response.error().to_string();
    return response.ok() ? response.value() : HttpResponse{};
  }

  os::Fd connect_to_server() {
    os::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(server_->port()));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    return socket;
  }
  static void send_all(const os::Fd& socket, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      ASSERT_GT(sent, 0) << std::strerror(errno);
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  static std::string read_to_end(const os::Fd& socket) {
    std::string all;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::read(socket.get(), buffer, sizeof buffer)) > 0) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    EXPECT_EQ(got, 0) << std::strerror(errno);
    return all;
  }

  std::chrono::seconds transfer_timeout_{60};
  std::chrono::milliseconds linger_{60'000};
  os::TempDir directory_ = os::TempDir::create("http-server-test").value();
  std::unique_ptr<HttpServer> server_;
  HttpClient client_;
};
}  // namespace

TEST_F(HttpServerTest, HandsOverWhatWasSent) {
  start(admit_all(), [](const ServerRequest& request, const std::shared_ptr<Responder>& responder) {
    responder->respond(
        {200,
         {},
         request.method + " " + request.path + " " + request.query.at("a b") + " " + request.body});
  });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(send("POST", "/x%2Fy?a+b=c%20d", "body").body, "POST /x%2Fy c d body");
  }
}

TEST_F(HttpServerTest, SaysTheSizeOfAStreamThatIsKnown) {
  start(admit_all(), [](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    const auto stream = responder->stream({200, {{"Content-Length", "6"}}, ""});
    stream->write("abc");
    stream->write("def");
    stream->finish();
  });
  const HttpResponse answer = send("GET", "/");
  EXPECT_EQ(answer.body, "abcdef");
  EXPECT_EQ(answer.headers.at("content-length"), "6");
  EXPECT_FALSE(answer.headers.contains("transfer-encoding"));
}

TEST_F(HttpServerTest, AnswersHeadWithTheSizeOfWhatGetWouldBring) {
  start(admit_all(), [](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    responder->respond({200, {{"Content-Length", "12345"}}, ""});
  });
  for (int i = 0; i < 2; ++i) {  // the connection stays usable
    const HttpResponse answer = send("HEAD", "/");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers.at("content-length"), "12345");
  }
}

TEST_F(HttpServerTest, BreaksAStreamThatCannotBeCompleted) {
  for (const bool sized : {true, false}) {
    start(admit_all(), [sized](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
      ServerResponse head;
      if (sized) head.headers = {{"Content-Length", "6"}};
      const auto stream = responder->stream(std::move(head));
      stream->write("abc");
      stream->abort();
    });
    HttpRequest request;
    request.url = "http://127.0.0.1:" + std::to_string(server_->port()) + "/";
    EXPECT_FALSE(client_.send(request).ok());
  }
}

TEST_F(HttpServerTest, ServesASocketThatListensAlready) {
  os::Fd listener = std::move(os::listen_loopback(0)).value();
  const int port = os::local_port(listener.get());
  HttpServerOptions options;
  options.listener = std::move(listener);
  options.spool_directory = directory_.path();
  int peer = 0;
  auto started = HttpServer::start(
      std::move(options), admit_all(),
      [&peer](const ServerRequest& request, const std::shared_ptr<Responder>& responder) {
        EXPECT_EQ(request.peer, "127.0.0.1");
        peer = request.peer_port;
        responder->respond({200, {}, "here"});
      });
  ASSERT_TRUE(started.ok()) << started.error().to_string();
  server_ = std::move(started).value();
  EXPECT_EQ(server_->port(), port);
  EXPECT_EQ(send("GET", "/").body, "here");
  EXPECT_GT(peer, 0);
}

TEST_F(HttpServerTest, RefusesLargeBodiesBeforeAndWhileTheyCome) {
  int handled = 0;
  start(admit_all(1000), [&](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    ++handled;
    responder->respond({200, {}, ""});
  });
  EXPECT_EQ(send("POST", "/", std::string(1000, 'x')).status, 200);
  EXPECT_EQ(send("POST", "/", std::string(1001, 'x')).status, 413);
  EXPECT_EQ(handled, 1);
}

TEST_F(HttpServerTest, ARefusalComesBeforeTheBodyIsRead) {
  start(
      [](const ServerRequest&, const std::function<void(Admission)>& decided) {
        Admission admission;
        admission.refusal = ServerResponse{401, {{"WWW-Authenticate", "Bearer"}}, "no\n"};
        decided(std::move(admission));
      },
      [](const ServerRequest&, const std::shared_ptr<Responder>&) { FAIL(); });
  const HttpResponse response = send("POST", "/", std::string(100, 'x'));
  EXPECT_EQ(response.status, 401);
  EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer");
}

TEST_F(HttpServerTest, WhoIsRefusedWhileItSendsStillGetsTheAnswer) {
  start(admit_all(1000), [](const ServerRequest&, const std::shared_ptr<Responder>&) { FAIL(); });
  const os::Fd socket = connect_to_server();
  // More than sockets hold, and only then the answer is read, as simple clients do it.
  const std::string body(32U << 20U, 'x');
  send_all(socket, fmt::format("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}",
                               body.size(), body));
  const std::string answer = read_to_end(socket);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
  EXPECT_NE(answer.find("exceeds 1000 bytes"), std::string::npos) << answer;
  server_->stop();  // does not wait for who lingers
}

TEST_F(HttpServerTest, WhoIsRefusedAndGoesOnIsNotListenedToForEver) {
  linger_ = std::chrono::milliseconds(300);
  start(admit_all(1000), [](const ServerRequest&, const std::shared_ptr<Responder>&) { FAIL(); });
  const os::Fd socket = connect_to_server();
  send_all(socket, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
  EXPECT_TRUE(read_to_end(socket).starts_with("HTTP/1.1 413 "));
  bool closed = false;
  for (int i = 0; i < 500 && !closed; ++i) {
    closed = ::send(socket.get(), "x", 1, MSG_NOSIGNAL) < 0;
    wait_for(StopToken(), std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(closed);
}

TEST_F(HttpServerTest, SpooledBodiesAreFilesThatGoAway) {
  std::filesystem::path path;
  start(admit_all(10U << 20U, true),
        [&](const ServerRequest& request, const std::shared_ptr<Responder>& responder) {
          path = *request.spooled;
          responder->respond({200, {}, std::to_string(os::read_file(path).value().size())});
        });
  EXPECT_EQ(send("POST", "/", std::string(3'000'000, 'x')).body, "3000000");
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(HttpServerTest, StreamsFromAnotherThreadAndSurvivesEmptyPieces) {
  std::vector<Thread> producers;
  start(admit_all(), [&](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    const std::shared_ptr<ByteStream> body = responder->stream({200, {}, ""});
    producers.emplace_back([body](const StopToken& stop) {
      for (int i = 0; i < 100; ++i) {
        body->write("");
        if (!body->write_blocking(std::string(50'000, 'x'), stop)) return;
      }
      body->finish();
    });
  });
  EXPECT_EQ(send("GET", "/").body.size(), 5'000'000U);
}

TEST_F(HttpServerTest, StreamedBytesKeepTheirOrderAcrossThreads) {
  start(admit_all(), [&](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    const std::shared_ptr<ByteStream> body = responder->stream({200, {}, ""});
    body->write("first, ");
    // Ends before the server's thread leaves this handler.
    Thread([&](const StopToken&) { body->write("second, "); }).join();
    body->write("third");
    body->finish();
  });
  EXPECT_EQ(send("GET", "/").body, "first, second, third");
}

TEST_F(HttpServerTest, AStreamMayTakeLongerThanAnyOfItsPiecesAndBeIdle) {
  transfer_timeout_ = std::chrono::seconds(1);
  Thread writer;
  start(admit_all(), [&writer](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    writer = Thread([stream = responder->stream({200, {}, ""})](const StopToken& stop) {
      for (const int pause : {400, 400, 400, 1500, 400}) {
        stream->write("x");
        (void)wait_for(stop, std::chrono::milliseconds(pause));
      }
      stream->finish();
    });
  });
  EXPECT_EQ(send("GET", "/").body, "xxxxx");
}

TEST_F(HttpServerTest, AStreamLearnsThatItsReaderLeft) {
  std::atomic<bool> closed{false};
  start(admit_all(), [&](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    EventStream events(*responder);
    events.on_close([&] { closed = true; });
    events.send("hello", "1\n2");
  });
  HttpRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(server_->port()) + "/";
  std::string got;
  ASSERT_TRUE(client_
                  .stream(request,
                          [&](std::string_view bytes) {
                            got += bytes;
                            return got.find("\n\n") == std::string::npos;
                          })
                  .ok());
  EXPECT_EQ(got, "event: hello\ndata: 1\ndata: 2\n\n");
  for (int i = 0; i < 500 && !closed; ++i) wait_for(StopToken(), std::chrono::milliseconds(10));
  EXPECT_TRUE(closed);
}

TEST_F(HttpServerTest, StopsWhileRequestsAreOpen) {
  Guarded<std::shared_ptr<Responder>> kept;
  start(admit_all(), [&](const ServerRequest&, const std::shared_ptr<Responder>& responder) {
    kept.update([&](std::shared_ptr<Responder>& value) { value = responder; });
  });
  HttpRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(server_->port()) + "/";
  Thread asking([&](const StopToken&) { EXPECT_FALSE(client_.send(request).ok()); });
  const auto responder = kept.wait_until(
      StopToken(), system_clock().now() + std::chrono::seconds(10),
      [](const std::shared_ptr<Responder>& value) { return value != nullptr; },
      [](const std::shared_ptr<Responder>& value, bool) { return value; });
  server_->stop();
  ASSERT_NE(responder, nullptr);
  responder->respond({200, {}, "too late"});
}

TEST(HttpTypes, DecodesWhatArrivesInUrls) {
  EXPECT_EQ(percent_decode("a%2Fb%20c").value(), "a/b c");
  for (const char* bad : {"%", "%2", "%zz", "%00"}) EXPECT_FALSE(percent_decode(bad).ok()) << bad;
  EXPECT_EQ(parse_query("a=1&b&c=%41+x&a=2").at("a"), "2");
  EXPECT_EQ(parse_query("c=%41+x").at("c"), "A x");
  for (const char* text : {"", "a", "ab", "abc", "abcd"}) {
    EXPECT_EQ(base64_decode(base64_encode(text)).value(), text);
  }
}

}  // namespace cirrus::net
