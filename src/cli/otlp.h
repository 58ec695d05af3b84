// SPDX-License-Identifier: MIT
// OTLP over HTTP, in JSON: what metrics and traces have in common.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "base/stop.h"
#include "net/http_client.h"

namespace cirrus::cli {

/// Where a signal (`metrics`, `traces`) goes: OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT as it is, else
/// `/v1/<signal>` below OTEL_EXPORTER_OTLP_ENDPOINT; empty: nowhere.
/// Source: OpenTelemetry, protocol exporter.
std::string otlp_url(const std::string& signal);

/// Milliseconds that a variable says, or `usual`, also if it says no number above 0 (a warning).
std::chrono::milliseconds otlp_period(const char* variable, std::chrono::milliseconds usual);

nlohmann::json otlp_attribute(const std::string& key, const std::string& value);

/// What every request begins with. Source: reference worker, resource.
nlohmann::json otlp_resource(const std::string& version);

/// Sends one request. Errors: as HttpClient; Unavailable or, where sending it again is of no use,
/// InvalidArgument if the answer is no success.
Status otlp_send(const net::HttpClient& client, const std::string& url, std::string body,
                 std::chrono::milliseconds timeout, const StopToken& stop);

}  // namespace cirrus::cli
