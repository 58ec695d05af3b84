// SPDX-License-Identifier: MIT
#include "cli/otlp.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "os/host.h"

namespace cirrus::cli {

std::string otlp_url(const std::string& signal) {
  const auto variable = [](const std::string& name) -> std::string {
    const char* const text = std::getenv(name.c_str());
    return text == nullptr ? "" : text;
  };
  std::string upper = signal;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string url = variable("OTEL_EXPORTER_OTLP_" + upper + "_ENDPOINT");
  if (!url.empty()) return url;
  url = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (url.empty()) return {};
  while (url.ends_with('/')) url.pop_back();
  return url + "/v1/" + signal;
}

std::chrono::milliseconds otlp_period(const char* variable, std::chrono::milliseconds usual) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return usual;
  std::int64_t number = 0;
  const char* const end = text + std::strlen(text);
  const auto parsed = std::from_chars(text, end, number);
  if (parsed.ec == std::errc() && parsed.ptr == end && number > 0) {
    return std::chrono::milliseconds(number);
  }
  log_warning("a period of export is no number of milliseconds: the usual one holds",
              {{"variable", variable}, {"value", text}, {"usual", usual.count()}});
  return usual;
}

nlohmann::json otlp_attribute(const std::string& key, const std::string& value) {
  return {{"key", key}, {"value", {{"stringValue", value}}}};
}

nlohmann::json otlp_resource(const std::string& version) {
  return {{"attributes", nlohmann::json::array({otlp_attribute("service.name", "cirrus-cli"),
                                                otlp_attribute("service.version", version),
                                                otlp_attribute("host.arch", os::arch_name())})}};
}

Status otlp_send(const net::HttpClient& client, const std::string& url, std::string body,
                 std::chrono::milliseconds timeout, const StopToken& stop) {
  net::HttpRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = {{"Content-Type", "application/json"}};
  request.body = std::move(body);
  request.timeout = timeout;
  const net::HttpResponse answer = CIRRUS_TRY(client.send(request, stop));
  if (answer.status < 300) return {};
  // Source: OTLP, failures: these alone are worth another try.
  const bool again = answer.status == 429 || (answer.status >= 502 && answer.status <= 504);
  return error(again ? Code::Unavailable : Code::InvalidArgument, "'{}' answered {}", url,
               answer.status);
}

}  // namespace cirrus::cli
