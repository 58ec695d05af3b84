// SPDX-License-Identifier: MIT
// A connection that becomes a byte stream, against a scripted server.
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "net/http_client.h"
#include "os/temp_dir.h"
#include "os/unix_socket.h"

namespace cirrus::net {
namespace {

/// Accepts one connection, reads a request's head, answers, and echoes one line.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer)
      : listener_(os::listen_unix(path(), 0600).value()),
        thread_([this, answer = std::move(answer)] { serve(answer); }) {}
  ~OneAnswer() {
    if (thread_.joinable()) thread_.join();
  }

  std::string path() const { return (directory_.path() / "s").string(); }
  const std::string& head() {
    thread_.join();
    thread_ = Thread([] {});
    return head_;
  }

 private:
  void serve(const std::string& answer) {
    const os::Fd connection = os::accept_connection(listener_.get()).value();
    char byte = 0;
    while (!head_.ends_with("\r\n\r\n")) {
      if (os::read_some(connection.get(), {&byte, 1}).value() == 0) return;
      head_ += byte;
    }
    ASSERT_TRUE(os::write_all(connection.get(), answer).ok());
    if (!answer.starts_with("HTTP/1.1 101")) return;
    const std::string said = os::read_exactly(connection.get(), 4).value();
    ASSERT_TRUE(os::write_all(connection.get(), said).ok());
  }

  os::TempDir directory_ = os::TempDir::create("cirrus-takeover-test").value();
  os::Fd listener_;
  std::string head_;
  Thread thread_;
};

HttpRequest attach(const OneAnswer& server) {
  HttpRequest request;
  request.method = "POST";
  request.url = "http://engine/v1.41/containers/x/attach?stream=1";
  request.unix_socket = server.path();
  request.timeout = std::chrono::seconds(20);
  return request;
}

TEST(TakeOverStream, LeavesWhatFollowsTheAnswerInTheStream) {
  OneAnswer server("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\nhello");
  const Result<os::Fd> stream = take_over_stream(attach(server), {});
  ASSERT_TRUE(stream.ok()) << stream.error().to_string();
  EXPECT_EQ(os::read_exactly(stream.value().get(), 5).value(), "hello");
  ASSERT_TRUE(os::write_all(stream.value().get(), "abcd").ok());
  EXPECT_EQ(os::read_exactly(stream.value().get(), 4).value(), "abcd");
  EXPECT_TRUE(server.head().starts_with("POST /v1.41/containers/x/attach?stream=1 HTTP/1.1\r\n"));
}

TEST(TakeOverStream, ARefusalIsTheServersSentence) {
  OneAnswer server("HTTP/1.1 404 Not Found\r\n\r\n{\"message\":\"no such container\"}\n");
  const Result<os::Fd> stream = take_over_stream(attach(server), {});
  ASSERT_FALSE(stream.ok());
  EXPECT_EQ(stream.error().code(), Code::NotFound);
  EXPECT_NE(stream.error().message().find("no such container"), std::string::npos);
}

TEST(TakeOverStream, ARefusalEndsWhereItsLengthSays) {
  // The connection stays open behind it.
  OneAnswer server("HTTP/1.1 409 Conflict\r\nContent-Length: 3\r\n\r\nno!");
  HttpResponse refusal;
  EXPECT_FALSE(take_over_stream(attach(server), {}, &refusal).ok());
  EXPECT_EQ(refusal.status, 409);
  EXPECT_EQ(refusal.body, "no!");
}

TEST(TakeOverStream, ARefusalInPiecesIsPutTogether) {
  OneAnswer server(
      "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno \r\n2\r\nno\r\n0\r\n\r\n");
  HttpResponse refusal;
  EXPECT_FALSE(take_over_stream(attach(server), {}, &refusal).ok());
  EXPECT_EQ(refusal.body, "no no");
}

TEST(TakeOverStream, AServerThatHangsUpIsUnavailable) {
  OneAnswer server("HTTP/1.1 10");
  EXPECT_EQ(take_over_stream(attach(server), {}).error().code(), Code::Unavailable);
}

TEST(HttpClient, SpeaksOverUnixSockets) {
  OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
  HttpRequest request = attach(server);
  request.method = "GET";
  const Result<HttpResponse> response = HttpClient().send(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  EXPECT_EQ(response.value().body, "OK");
}

TEST(PercentEncode, LeavesNothingAServerCouldRead) {
  EXPECT_EQ(percent_encode("a/b:c d?&=\n\xff~"), "a%2Fb%3Ac%20d%3F%26%3D%0A%FF~");
}

}  // namespace
}  // namespace cirrus::net
