// SPDX-License-Identifier: MIT
// The spans of a worker's tasks, as the reference sends them: OTLP over HTTP, in JSON.
#pragma once

#include <string>
#include <vector>

#include "base/stop.h"
#include "worker/worker.h"

namespace cirrus::cli {

/// Sends spans to `url` until stopped, every OTEL_BSP_SCHEDULE_DELAY milliseconds (5 s), and once
/// more then. Those that could not be sent are tried again, silently, at most Worker::kMaxSpans.
void export_traces(worker::Worker& worker, const std::string& url, const StopToken& stop);

/// One OTLP/HTTP export request.
std::string otlp_traces(const std::vector<worker::TaskSpan>& spans, const std::string& version);

}  // namespace cirrus::cli
