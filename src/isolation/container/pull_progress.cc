// SPDX-License-Identifier: MIT
#include "isolation/container/pull_progress.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/strings.h"

namespace cirrus::isolation {

namespace {
using nlohmann::json;

constexpr std::size_t kLongestLine = 4096;
constexpr std::size_t kMostLayers = 1000;

std::string text_of(const json& message, const char* key) {
  const auto found = message.find(key);
  return found != message.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t amount_of(const json& detail, const char* key) {
  const auto found = detail.find(key);
  return found != detail.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}
}  // namespace

std::optional<std::string> PullProgress::feed(std::string_view text, Monotonic now) {
  const json message = json::parse(text, nullptr, false);
  if (!message.is_object()) return std::nullopt;
  // Output of a build.
  if (std::string line = text_of(message, "stream"); !line.empty()) {
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (line.empty()) return std::nullopt;
    return shorten(line, kLongestLine);
  }
  const std::string status = text_of(message, "status");
  const std::string id = text_of(message, "id");
  // What is not about one layer says something of the whole: where from, its digest, the end.
  if (id.empty() || status.starts_with("Pulling from")) {
    if (status.empty()) return std::nullopt;
    return shorten(status, kLongestLine);
  }
  const auto detail = message.find("progressDetail");
  if (detail == message.end() || !detail->is_object() || status != "Downloading") {
    return std::nullopt;
  }
  if (!layers_.contains(id) && layers_.size() >= kMostLayers) return std::nullopt;
  layers_[id] = {amount_of(*detail, "current"), amount_of(*detail, "total")};
  if (!last_) last_ = now;
  if (now - *last_ < kInterval) return std::nullopt;
  last_ = now;
  return summary();
}

std::string PullProgress::summary() const {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  for (const auto& [id, layer] : layers_) {
    done += layer.done;
    total += layer.total;
  }
  constexpr double kMega = 1e6;
  const double megabytes = static_cast<double>(done) / kMega;
  if (total < done || total == 0) return fmt::format("Downloading: {:.1f} MB", megabytes);
  return fmt::format("Downloading: {:.1f} of {:.1f} MB", megabytes,
                     static_cast<double>(total) / kMega);
}

}  // namespace cirrus::isolation
