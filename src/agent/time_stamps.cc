// SPDX-License-Identifier: MIT
#include "agent/time_stamps.h"

#include <ctime>

#include <fmt/format.h>

namespace cirrus::agent {
namespace {

std::string stamp(WallTime now) {
  const std::int64_t millis = to_unix_millis(now);
  const std::time_t seconds = millis / 1000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("[{:02}:{:02}:{:02}.{:03}] ", local.tm_hour, local.tm_min, local.tm_sec,
                     millis % 1000);
}

}  // namespace

std::string TimeStamps::apply(std::string_view bytes) {
  std::string result;
  const std::string prefix = stamp(clock_.wall());
  while (!bytes.empty()) {
    if (at_line_start_) result += prefix;
    const std::size_t newline = bytes.find('\n');
    const std::size_t length = newline == std::string_view::npos ? bytes.size() : newline + 1;
    result.append(bytes.substr(0, length));
    at_line_start_ = newline != std::string_view::npos;
    bytes.remove_prefix(length);
  }
  return result;
}

}  // namespace cirrus::agent
