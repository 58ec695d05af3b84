// SPDX-License-Identifier: MIT
#include "worker/task_span.h"

#include <algorithm>
#include <optional>

#include "base/ids.h"

namespace cirrus::worker {

namespace {

// `00-<32 digits>-<16 digits>-<2 digits>`; versions to come may add more after another dash.
constexpr std::size_t kTraceAt = 3;
constexpr std::size_t kTraceDigits = 32;
constexpr std::size_t kSpanAt = kTraceAt + kTraceDigits + 1;
constexpr std::size_t kSpanDigits = 16;
constexpr std::size_t kFlagsAt = kSpanAt + kSpanDigits + 1;
constexpr std::size_t kLength = kFlagsAt + 2;

struct TraceParent {
  std::string trace_id;
  std::string span_id;
  std::string flags;
  // The lowest bit of the flags.
  bool sampled() const {
    const char low = flags[1];
    return ((low <= '9' ? low - '0' : low - 'a' + 10) & 1) != 0;
  }
  std::string to_string() const { return "00-" + trace_id + "-" + span_id + "-" + flags; }
};

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

std::optional<TraceParent> parse(std::string_view text) {
  if (text.size() < kLength || text[kTraceAt - 1] != '-' || text[kSpanAt - 1] != '-' ||
      text[kFlagsAt - 1] != '-') {
    return std::nullopt;
  }
  const std::string_view version = text.substr(0, 2);
  const std::string_view trace = text.substr(kTraceAt, kTraceDigits);
  const std::string_view span = text.substr(kSpanAt, kSpanDigits);
  const std::string_view flags = text.substr(kFlagsAt, 2);
  if (!is_hex(version) || version == "ff" || !is_hex(trace) || is_zero(trace) || !is_hex(span) ||
      is_zero(span) || !is_hex(flags)) {
    return std::nullopt;
  }
  const bool more = text.size() > kLength;
  if (more && (version == "00" || text[kLength] != '-')) return std::nullopt;
  return TraceParent{std::string(trace), std::string(span), std::string(flags)};
}

}  // namespace

void begin_span(TaskRecord& record) {
  if (record.traced()) return;
  std::optional<TraceParent> own = parse(record.traceparent());
  record.set_traced(true);
  if (own) {
    record.set_parent_span_id(own->span_id);
  } else {
    own = TraceParent{random_hex(kTraceDigits / 2), "", "01"};
    record.clear_tracestate();  // it says something about a parent that there is not
  }
  own->span_id = random_hex(kSpanDigits / 2);
  record.set_traceparent(own->to_string());
}

TaskSpan span_of(const TaskRecord& record, const std::string& worker_name) {
  TaskSpan span;
  span.start =
      record.assigned_at() > 0 ? from_unix_millis(record.assigned_at()) : system_clock().wall();
  span.task_id = record.task_id();
  span.worker_name = worker_name;
  span.upstream_host = host_of_endpoint(record.upstream_endpoint());
  span.kind = instance_kind_of(record.isolation());
  const std::optional<TraceParent> own = parse(record.traceparent());
  if (!record.traced() || !own) return span;
  span.trace_id = own->trace_id;
  span.span_id = own->span_id;
  span.sampled = own->sampled();
  span.parent_span_id = record.parent_span_id();
  span.trace_state = record.tracestate();
  return span;
}

std::string host_of_endpoint(std::string_view endpoint) {
  if (const std::size_t scheme = endpoint.find("://"); scheme != std::string_view::npos) {
    endpoint.remove_prefix(scheme + 3);
  }
  endpoint = endpoint.substr(0, endpoint.find('/'));
  if (endpoint.starts_with('[')) return std::string(endpoint.substr(1, endpoint.find(']') - 1));
  return std::string(endpoint.substr(0, endpoint.rfind(':')));
}

}  // namespace cirrus::worker
