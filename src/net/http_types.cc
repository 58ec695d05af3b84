// SPDX-License-Identifier: MIT
#include "net/http_types.h"

namespace cirrus::net {

std::string_view ServerRequest::header(const std::string& lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

EventStream::EventStream(Responder& responder)
    : stream_(responder.stream({200,
                                {{"Content-Type", "text/event-stream"},
                                 {"Cache-Control", "no-store"},
                                 {"X-Content-Type-Options", "nosniff"}},
                                ""})) {}

bool EventStream::send(std::string_view event, std::string_view data, std::string_view id) {
  std::string text;
  if (!id.empty()) text.append("id: ").append(id).append("\n");
  text += "event: ";
  text += event;
  text += '\n';
  for (;;) {
    const std::size_t end = data.find('\n');
    text += "data: ";
    text += data.substr(0, end);
    text += '\n';
    if (end == std::string_view::npos) break;
    data.remove_prefix(end + 1);
  }
  text += '\n';
  return stream_->write(std::move(text));
}

std::map<std::string, std::string> parse_query(std::string_view query) {
  std::map<std::string, std::string> parts;
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view part = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
    if (part.empty()) continue;
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1);
    parts[percent_decode(name, true).value_or(std::string(name))] =
        percent_decode(value, true).value_or(std::string(value));
  }
  return parts;
}

}  // namespace cirrus::net
