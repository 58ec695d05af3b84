// SPDX-License-Identifier: MIT
#include "cli/worker_traces.h"

#include <cstdlib>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/otlp.h"
#include "os/host.h"

namespace cirrus::cli {
namespace {

using nlohmann::json;

TEST(WorkerTraces, ASpanIsTheReferencesInOtlp) {
  worker::TaskSpan span;
  span.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  span.span_id = "1111111111111111";
  span.parent_span_id = "00f067aa0ba902b7";
  span.trace_state = "vendor=1";
  span.start = from_unix_millis(1'780'000'000'123);
  span.end = from_unix_millis(1'780'000'001'000);
  span.task_id = "7";
  span.worker_name = "mac-1";
  span.upstream_host = "ci.example.org";
  span.kind = {"debian", "container", "2"};
  worker::TaskSpan root;
  root.trace_id = span.trace_id;
  root.span_id = "2222222222222222";
  const json request = json::parse(otlp_traces({span, root}, "1.2.3"));
  const json& resource = request.at("resourceSpans").at(0);
  EXPECT_EQ(resource.at("resource").at("attributes").at(0),
            json::parse(R"({"key": "service.name", "value": {"stringValue": "cirrus-cli"}})"));
  EXPECT_EQ(resource.at("resource").at("attributes").at(2).at("value").at("stringValue"),
            os::arch_name());
  EXPECT_EQ(resource.at("scopeSpans").at(0).at("scope").at("name"), "worker");
  const json& spans = resource.at("scopeSpans").at(0).at("spans");
  EXPECT_EQ(spans.at(0), json::parse(R"({
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "1111111111111111",
    "parentSpanId": "00f067aa0ba902b7", "traceState": "vendor=1",
    "name": "persistent-worker-task", "kind": 1,
    "startTimeUnixNano": "1780000000123000000", "endTimeUnixNano": "1780000001000000000",
    "attributes": [
      {"key": "image", "value": {"stringValue": "debian"}},
      {"key": "instance_type", "value": {"stringValue": "container"}},
      {"key": "instance_cpus", "value": {"stringValue": "2"}},
      {"key": "cirrus.task_id", "value": {"stringValue": "7"}},
      {"key": "cirrus.upstream_worker_name", "value": {"stringValue": "mac-1"}},
      {"key": "cirrus.upstream_hostname", "value": {"stringValue": "ci.example.org"}}]})"));
  EXPECT_FALSE(spans.at(1).contains("parentSpanId")) << "a span that begins its trace has none";
  EXPECT_FALSE(spans.at(1).contains("traceState"));
}

TEST(Otlp, TheEnvironmentSaysWhereSignalsGo) {
  const auto set = [](const char* name, const char* value) {
    if (value == nullptr) {
      ::unsetenv(name);
    } else {
      ::setenv(name, value, 1);
    }
  };
  const struct {
    const char* name;
    const char* all;
    const char* traces;
    const char* url;
  } cases[] = {
      {"nothing is off", nullptr, nullptr, ""},
      {"empty is off", "", "", ""},
      {"a path of its own below the one for all", "http://c:4318", nullptr,
       "http://c:4318/v1/traces"},
      {"slashes at the end", "http://c:4318/otlp//", nullptr, "http://c:4318/otlp/v1/traces"},
      {"its own as it is", "http://c:4318", "http://d/x/", "http://d/x/"},
      {"its own alone", nullptr, "http://d/x", "http://d/x"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    set("OTEL_EXPORTER_OTLP_ENDPOINT", c.all);
    set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.traces);
    EXPECT_EQ(otlp_url("traces"), c.url);
  }
  set("OTEL_EXPORTER_OTLP_ENDPOINT", nullptr);
  set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", nullptr);
}

}  // namespace
}  // namespace cirrus::cli
