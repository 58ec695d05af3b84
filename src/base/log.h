// SPDX-License-Identifier: MIT
// Log lines are events: fixed lower-case text plus fields, written once, by the layer that decides.
//   log_info("task started", {{"task", id}, {"worker", name}});
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/result.h"

namespace cirrus {

/// In order of urgency. Panic and Fatal exist because the reference's configuration names them.
enum class LogLevel { Trace, Debug, Info, Warning, Error, Fatal, Panic };

std::string_view to_string(LogLevel level);
/// Reads a level name in any case, `warn` included. Errors: InvalidArgument, listing the names.
Result<LogLevel> parse_log_level(std::string_view text);

/// One `key=value` of a log line.
struct LogField {
  template <typename T>
  LogField(std::string_view field_key, const T& field_value)
      : key(field_key), value(fmt::format("{}", field_value)) {}
  LogField(std::string_view field_key, const Error& failure)
      : key(field_key), value(failure.to_string()) {}

  std::string key;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

/// Where finished lines go; called from any thread, one call at a time, without the newline.
using LogSink = std::function<void(LogLevel level, std::string_view line)>;

/// Replaces the sink (standard error at first). Not to be called while other threads log.
void set_log_sink(LogSink sink);
/// The lowest level that is written; Info at first. Thread-safe.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);

/// Writes one event. Values with spaces, quotes or control characters are quoted and escaped.
void log_event(LogLevel level, std::string_view text, LogFields fields = {});

inline void log_debug(std::string_view text, LogFields fields = {}) {
  log_event(LogLevel::Debug, text, fields);
}
inline void log_info(std::string_view text, LogFields fields = {}) {
  log_event(LogLevel::Info, text, fields);
}
inline void log_warning(std::string_view text, LogFields fields = {}) {
  log_event(LogLevel::Warning, text, fields);
}
inline void log_error(std::string_view text, LogFields fields = {}) {
  log_event(LogLevel::Error, text, fields);
}

}  // namespace cirrus
