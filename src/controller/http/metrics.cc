// SPDX-License-Identifier: MIT
#include "controller/http/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <sstream>
#include <vector>

namespace cirrus::controller::http {

namespace {
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily family(const char* name, const char* help, MetricType type) {
  MetricFamily made;
  made.name = name;
  made.help = help;
  made.type = type;
  return made;
}

ClientMetric gauge(double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  return metric;
}

ClientMetric counter(std::uint64_t value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(value);
  return metric;
}

MetricFamily one_gauge(const char* name, const char* help, double value) {
  MetricFamily made = family(name, help, MetricType::Gauge);
  made.metric.push_back(gauge(value));
  return made;
}

template <typename Key>
MetricFamily gauges(const char* name, const char* help, const char* label,
                    const std::map<Key, int>& values, std::string (*text)(const Key&)) {
  MetricFamily made = family(name, help, MetricType::Gauge);
  for (const auto& [key, value] : values) made.metric.push_back(gauge(value, {{label, text(key)}}));
  return made;
}

std::string as_it_is(const std::string& text) {
  return text;
}
std::string status_text(const model::TaskStatus& status) {
  return std::string(model::to_string(status));
}

MetricFamily histogram(const char* name, const char* help, const core::LatencyHistogram& times) {
  MetricFamily made = family(name, help, MetricType::Histogram);
  ClientMetric metric;
  const auto cumulative = times.cumulative();
  for (std::size_t i = 0; i < cumulative.size(); ++i) {
    metric.histogram.bucket.push_back({cumulative[i], core::LatencyHistogram::kBounds[i]});
  }
  metric.histogram.bucket.push_back({times.count(), std::numeric_limits<double>::infinity()});
  metric.histogram.sample_count = times.count();
  metric.histogram.sample_sum = times.sum_seconds();
  made.metric.push_back(std::move(metric));
  return made;
}
}  // namespace

RequestCounts::RequestCounts()
    : routes_(routes().size()), counts_(new std::atomic<std::uint64_t>[routes_ + 1]()) {}

void RequestCounts::count(const Route* route) {
  const std::size_t at =
      route == nullptr ? routes_ : static_cast<std::size_t>(route - routes().data());
  counts_[at].fetch_add(1, std::memory_order_relaxed);
}

std::map<std::string, std::uint64_t> RequestCounts::all() const {
  std::map<std::string, std::uint64_t> counts;
  for (std::size_t i = 0; i < routes_; ++i) {
    const Route& route = routes()[i];
    counts[std::string(route.method) + " " + route.pattern] = counts_[i];
  }
  counts["git"] = counts_[routes_];
  return counts;
}

std::string metrics_text(const Figures& figures) {
  const core::Statistics& state = figures.state;
  std::vector<MetricFamily> families;
  families.push_back(histogram("cirrus_dispatch_seconds",
                               "Time from a task being ready to its assignment to a worker.",
                               state.dispatch));
  families.push_back(one_gauge("cirrus_queue_oldest_seconds",
                               "How long the oldest ready task has waited for a worker.",
                               state.oldest_ready_seconds));
  families.push_back(
      gauges("cirrus_tasks", "Tasks of builds in memory.", "status", state.tasks, status_text));
  families.push_back(gauges("cirrus_waiting_tasks", "Ready tasks by what they wait for first.",
                            "reason", state.waiting, as_it_is));
  families.push_back(one_gauge("cirrus_waiting_tasks_complete",
                               "1 if all ready tasks were looked at for cirrus_waiting_tasks.",
                               state.waiting_complete ? 1 : 0));
  families.push_back(
      gauges("cirrus_workers", "Workers by state.", "state", state.workers, as_it_is));
  families.push_back(
      one_gauge("cirrus_parked_polls", "Polls of workers held at the moment.", state.parked_polls));
  MetricFamily requests =
      family("cirrus_http_requests_total", "Requests by route.", MetricType::Counter);
  for (const auto& [route, count] : figures.requests) {
    requests.metric.push_back(counter(count, {{"route", route}}));
  }
  families.push_back(std::move(requests));
  MetricFamily logs = family("cirrus_log_bytes_total", "Bytes of logs stored since the start.",
                             MetricType::Counter);
  logs.metric.push_back(counter(figures.log_bytes_written));
  families.push_back(std::move(logs));
  MetricFamily artifacts =
      family("cirrus_artifact_bytes_total", "Bytes of artifacts stored since the start.",
             MetricType::Counter);
  artifacts.metric.push_back(counter(figures.artifact_bytes_stored));
  families.push_back(std::move(artifacts));
  families.push_back(one_gauge("cirrus_cache_bytes", "Bytes of all caches.",
                               static_cast<double>(figures.cache_bytes)));
  families.push_back(one_gauge("cirrus_disk_free_bytes",
                               "Free bytes on the disk of the data directory.",
                               static_cast<double>(figures.free_bytes)));
  families.push_back(one_gauge("cirrus_uploads_taken",
                               "1 if the disk has room for caches and artifacts.",
                               figures.uploads_taken ? 1 : 0));
  MetricFamily refused =
      family("cirrus_uploads_refused_total",
             "Caches and artifacts refused or cut off because the disk was too full.",
             MetricType::Counter);
  refused.metric.push_back(counter(figures.uploads_refused));
  families.push_back(std::move(refused));
  families.push_back(one_gauge("cirrus_store_writable", "1 if the controller can write its store.",
                               figures.store_writable ? 1 : 0));
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return text.str();
}

}  // namespace cirrus::controller::http
