// SPDX-License-Identifier: MIT
#include "net/http_client.h"

#include <gtest/gtest.h>

namespace cirrus::net {
namespace {

TEST(EventParser, JoinsLinesOverAnyBorder) {
  const std::string stream =
      "event: log\r\nid: 7\r\ndata: one\r\ndata: two\r\n\r\n: ping\n\ndata:three\n\nevent: end\n\n";
  for (std::size_t border = 0; border <= stream.size(); ++border) {
    SCOPED_TRACE(border);
    EventParser parser;
    std::vector<EventParser::Event> events;
    const auto keep = [&](const EventParser::Event& event) {
      events.push_back(event);
      return true;
    };
    parser.feed(std::string_view(stream).substr(0, border), keep);
    parser.feed(std::string_view(stream).substr(border), keep);
    ASSERT_EQ(events.size(), 3U);
    EXPECT_EQ(events[0].name, "log");
    EXPECT_EQ(events[0].id, "7");
    EXPECT_EQ(events[0].data, "one\ntwo");
    EXPECT_EQ(events[1].data, "three");
    EXPECT_EQ(events[2].name, "end");
  }
}

TEST(HttpClient, SaysWhatCannotBeReached) {
  HttpRequest request;
  request.url = "http://127.0.0.1:1/x";
  const Result<HttpResponse> response = HttpClient().send(request);
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().code(), Code::Unavailable);
  request.url = "ftp://127.0.0.1/x";
  EXPECT_EQ(HttpClient().send(request).error().code(), Code::InvalidArgument);
}

}  // namespace
}  // namespace cirrus::net
