// SPDX-License-Identifier: MIT
#include "base/log.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <mutex>

#include "base/clock.h"

namespace cirrus {

namespace {

std::atomic<int> lowest_level{static_cast<int>(LogLevel::Info)};  // atomic: read on every event

struct SinkHolder {
  std::mutex mutex;
  LogSink sink;  // guarded by mutex; empty means standard error
};
SinkHolder& sink_holder() {
  static SinkHolder holder;
  return holder;
}

bool needs_quotes(std::string_view value) {
  return value.empty() || std::any_of(value.begin(), value.end(), [](char c) {
           return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == '\\' ||
                  c == '\x7f';
         });
}

void append_quoted(std::string& line, std::string_view value) {
  line.push_back('"');
  for (const char c : value) {
    switch (c) {
      case '"': line += "\\\""; break;
      case '\\': line += "\\\\"; break;
      case '\n': line += "\\n"; break;
      case '\r': line += "\\r"; break;
      case '\t': line += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') {
          line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        } else {
          line.push_back(c);
        }
    }
  }
  line.push_back('"');
}

}  // namespace

std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::Trace: return "trace";
    case LogLevel::Debug: return "debug";
    case LogLevel::Info: return "info";
    case LogLevel::Warning: return "warning";
    case LogLevel::Error: return "error";
    case LogLevel::Fatal: return "fatal";
    case LogLevel::Panic: return "panic";
  }
  return "info";
}

Result<LogLevel> parse_log_level(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "warn") return LogLevel::Warning;
  for (int i = static_cast<int>(LogLevel::Trace); i <= static_cast<int>(LogLevel::Panic); ++i) {
    if (lower == to_string(static_cast<LogLevel>(i))) return static_cast<LogLevel>(i);
  }
  return error(Code::InvalidArgument,
               "unknown log level '{}': use panic, fatal, error, warning, info, debug or trace",
               text);
}

void set_log_sink(LogSink sink) {
  SinkHolder& holder = sink_holder();
  const std::lock_guard lock(holder.mutex);
  holder.sink = std::move(sink);
}

void set_log_level(LogLevel level) {
  lowest_level.store(static_cast<int>(level));
}

bool log_enabled(LogLevel level) {
  return static_cast<int>(level) >= lowest_level.load();
}

void log_event(LogLevel level, std::string_view text, LogFields fields) {
  if (!log_enabled(level)) return;
  std::string line =
      fmt::format("{} {:<7} {}", to_rfc3339(system_clock().wall()), to_string(level), text);
  for (const LogField& field : fields) {
    line.push_back(' ');
    line += field.key;
    line.push_back('=');
    if (needs_quotes(field.value)) {
      append_quoted(line, field.value);
    } else {
      line += field.value;
    }
  }
  SinkHolder& holder = sink_holder();
  const std::lock_guard lock(holder.mutex);
  if (holder.sink) {
    holder.sink(level, line);
    return;
  }
  line.push_back('\n');
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace cirrus
