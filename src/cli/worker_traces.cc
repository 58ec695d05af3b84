// SPDX-License-Identifier: MIT
#include "cli/worker_traces.h"

#include <iterator>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "cli/otlp.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

// Source: OpenTelemetry, batch processor of spans: the delay and the time for one export.
constexpr std::chrono::milliseconds kExportPeriod = std::chrono::seconds(5);
constexpr auto kExportTime = std::chrono::seconds(30);
// Nobody waits longer for a worker to end because its collector is away.
constexpr auto kLastExportTime = std::chrono::seconds(2);
constexpr int kInternalSpan = 1;  // Source: OTLP, SpanKind.

std::string nanoseconds_of(WallTime time) {
  return std::to_string(static_cast<std::uint64_t>(to_unix_millis(time)) * 1'000'000U);
}

// Source: reference worker, span `persistent-worker-task` and its attributes.
json document_of(const worker::TaskSpan& span) {
  json one{{"traceId", span.trace_id},
           {"spanId", span.span_id},
           {"name", "persistent-worker-task"},
           {"kind", kInternalSpan},
           {"startTimeUnixNano", nanoseconds_of(span.start)},
           {"endTimeUnixNano", nanoseconds_of(span.end)},
           {"attributes",
            json::array({otlp_attribute("image", span.kind.image),
                         otlp_attribute("instance_type", span.kind.type),
                         otlp_attribute("instance_cpus", span.kind.cpus),
                         otlp_attribute("cirrus.task_id", span.task_id),
                         otlp_attribute("cirrus.upstream_worker_name", span.worker_name),
                         otlp_attribute("cirrus.upstream_hostname", span.upstream_host)})}};
  if (!span.parent_span_id.empty()) one["parentSpanId"] = span.parent_span_id;
  if (!span.trace_state.empty()) one["traceState"] = span.trace_state;
  return one;
}

}  // namespace

void export_traces(worker::Worker& worker, const std::string& url, const StopToken& stop) {
  const net::HttpClient client;
  const std::chrono::milliseconds period = otlp_period("OTEL_BSP_SCHEDULE_DELAY", kExportPeriod);
  std::vector<worker::TaskSpan> spans;
  for (bool last = false; !last;) {
    last = !wait_for(stop, period);
    std::vector<worker::TaskSpan> ended = worker.take_spans();
    spans.insert(spans.end(), std::make_move_iterator(ended.begin()),
                 std::make_move_iterator(ended.end()));
    if (spans.empty()) continue;
    const Status sent = otlp_send(client, url, otlp_traces(spans, program_version()),
                                  last ? kLastExportTime : kExportTime, last ? StopToken() : stop);
    if (sent.ok() || sent.error().code() == Code::InvalidArgument) spans.clear();
    if (!sent.ok()) log_debug("spans not exported", {{"error", sent.error()}});
    if (spans.size() > worker::Worker::kMaxSpans) {
      spans.erase(spans.begin(), spans.end() - worker::Worker::kMaxSpans);
    }
  }
}

std::string otlp_traces(const std::vector<worker::TaskSpan>& spans, const std::string& version) {
  json documents = json::array();
  for (const worker::TaskSpan& span : spans) documents.push_back(document_of(span));
  const json request{
      {"resourceSpans",
       json::array({{{"resource", otlp_resource(version)},
                     {"scopeSpans", json::array({{{"scope", {{"name", "worker"}}},
                                                  {"spans", std::move(documents)}}})}}})}};
  return request.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace cirrus::cli
