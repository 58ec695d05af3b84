// SPDX-License-Identifier: MIT
#include "cli/worker_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/command.h"
#include "cli/otlp.h"
#include "cli/worker_traces.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "os/temp_dir.h"

namespace cirrus::cli {

namespace {

// Source: reference worker, metrics: names and the period of export.
constexpr char kPrefix[] = "org.cirruslabs.persistent_worker.";
constexpr std::chrono::milliseconds kExportPeriod = std::chrono::seconds(60);
constexpr auto kExportTime = std::chrono::seconds(10);
// Nobody waits longer for a worker to end because its collector is away.
constexpr auto kLastExportTime = std::chrono::seconds(2);

std::uint64_t nanoseconds_of(WallTime time) {
  return static_cast<std::uint64_t>(to_unix_millis(time)) * 1'000'000U;
}

std::map<std::string, double> unused(const worker::WorkerFacts& facts) {
  std::map<std::string, double> amounts = facts.resources_total;
  for (const auto& [name, amount] : facts.resources_in_use) amounts[name] -= amount;
  return amounts;
}

// Source: reference worker, attributes of its counters.
std::map<std::string, std::string> labels_of(const worker::InstanceKind& kind) {
  return {{"image", kind.image}, {"instance_type", kind.type}, {"instance_cpus", kind.cpus}};
}

// Sends until stopped, and once more then. An export that fails is tried again with the next one,
// silently, as the reference does: a worker works without anybody watching.
void export_loop(const worker::Worker& worker, const std::string& url, const StopToken& stop) {
  const std::uint64_t start = nanoseconds_of(system_clock().wall());
  const net::HttpClient client;
  const std::chrono::milliseconds period =
      otlp_period("OTEL_METRIC_EXPORT_INTERVAL", kExportPeriod);
  for (bool last = false; !last;) {
    last = !wait_for(stop, period);
    const Status sent = otlp_send(client, url,
                                  otlp_request(worker.facts(), program_version(), start,
                                               nanoseconds_of(system_clock().wall())),
                                  last ? kLastExportTime : kExportTime, last ? StopToken() : stop);
    if (!sent.ok()) log_debug("metrics not exported", {{"error", sent.error()}});
  }
}

class Metrics final : public WorkerMetrics {
 public:
  explicit Metrics(worker::Worker& worker) : worker_(worker) {}
  ~Metrics() override {
    if (server_) server_->stop();
    // Both first: a collector that is away costs the end of the worker its time once.
    for (Thread* thread : {&exporter_, &tracer_}) thread->request_stop();
    for (Thread* thread : {&exporter_, &tracer_}) {
      if (thread->joinable()) thread->join();
    }
  }
  int port() const override { return server_ ? server_->port() : 0; }

  Status start(const std::string& address) {
    if (const std::string url = otlp_url("metrics"); !url.empty()) {
      exporter_ = Thread([this, url](const StopToken& stop) { export_loop(worker_, url, stop); });
    }
    if (const std::string url = otlp_url("traces"); !url.empty()) {
      tracer_ = Thread([this, url](const StopToken& stop) { export_traces(worker_, url, stop); });
    }
    if (address.empty()) return {};
    net::HttpServerOptions options;
    options.address = address;
    options.spool_directory = os::temporary_root();
    options.max_connections = 64;
    server_ = CIRRUS_TRY(net::HttpServer::start(
        std::move(options),
        [](const net::ServerRequest&, const std::function<void(net::Admission)>& decided) {
          net::Admission admission;
          admission.body_limit = 0;
          decided(std::move(admission));
        },
        [this](const net::ServerRequest& request,
               const std::shared_ptr<net::Responder>& responder) {
          responder->respond(answer(request));
        }));
    return {};
  }

 private:
  net::ServerResponse answer(const net::ServerRequest& request) const {
    net::ServerResponse response;
    response.headers = {{"Content-Type", "text/plain; charset=utf-8"}};
    if (request.method != "GET") {
      response.status = 405;
      response.body = "only GET\n";
    } else if (request.path == "/metrics") {
      response.headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}};
      response.body = prometheus_page(worker_.facts());
    } else if (request.path == "/healthz") {
      const worker::WorkerFacts facts = worker_.facts();
      bool registered = false;
      for (const auto& [endpoint, known] : facts.upstreams) {
        registered = registered || known.registered;
      }
      response.status = registered ? 200 : 503;
      response.body = registered ? "ok\n" : "no controller has registered this worker yet\n";
    } else {
      response.status = 404;
      response.body = "there are /metrics and /healthz\n";
    }
    return response;
  }

  worker::Worker& worker_;
  std::unique_ptr<net::HttpServer> server_;
  Thread exporter_;
  Thread tracer_;
};

}  // namespace

std::string prometheus_page(const worker::WorkerFacts& facts) {
  prometheus::Registry registry;
  const auto gauge = [&registry](const char* name, const char* help) {
    return std::ref(prometheus::BuildGauge().Name(name).Help(help).Register(registry));
  };
  prometheus::BuildCounter()
      .Name("org_cirruslabs_persistent_worker_tasks_count")
      .Help("Tasks taken since the worker started.")
      .Register(registry)
      .Add({})
      .Increment(static_cast<double>(facts.started));
  auto standby = std::ref(prometheus::BuildCounter()
                              .Name("cirrus_worker_standby_assignments")
                              .Help("Tasks that found what they ask for running, and did not.")
                              .Register(registry));
  for (const auto& [result, counts] :
       {std::pair("hit", &facts.standby.hits), {"miss", &facts.standby.misses}}) {
    for (const auto& [kind, count] : *counts) {
      auto labels = labels_of(kind);
      labels["result"] = result;
      standby.get().Add(labels).Increment(static_cast<double>(count));
    }
  }
  auto images = std::ref(prometheus::BuildCounter()
                             .Name("org_cirruslabs_persistent_worker_images_total")
                             .Help("Tasks by what they ran in.")
                             .Register(registry));
  for (const auto& [kind, count] : facts.instances) {
    images.get().Add(labels_of(kind)).Increment(static_cast<double>(count));
  }
  gauge("cirrus_worker_standby_ready", "Instances that wait for a task.")
      .get()
      .Add({})
      .Set(static_cast<double>(facts.standby.ready));
  gauge("org_cirruslabs_persistent_worker_tasks_running_count", "Tasks on this worker now.")
      .get()
      .Add({})
      .Set(static_cast<double>(facts.running()));
  auto used = gauge("org_cirruslabs_persistent_worker_resources_used_count", "Amounts in use.");
  auto left = gauge("org_cirruslabs_persistent_worker_resources_unused_count", "Amounts left.");
  for (const auto& [name, amount] : facts.resources_in_use) {
    used.get().Add({{"name", name}}).Set(amount);
  }
  for (const auto& [name, amount] : unused(facts)) left.get().Add({{"name", name}}).Set(amount);
  auto known = gauge("cirrus_worker_upstream_registered", "1 once the controller took the worker.");
  for (const auto& [endpoint, upstream] : facts.upstreams) {
    known.get().Add({{"endpoint", endpoint}}).Set(upstream.registered ? 1 : 0);
  }
  gauge("cirrus_worker_draining", "1 while the worker takes no new tasks.")
      .get()
      .Add({})
      .Set(facts.draining ? 1 : 0);
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

std::string otlp_request(const worker::WorkerFacts& facts, const std::string& version,
                         std::uint64_t start, std::uint64_t now) {
  using Json = nlohmann::json;
  // 64-bit numbers are strings in OTLP's JSON form.
  const std::string time = std::to_string(now);
  Json metrics = Json::array();
  const auto point = [&](std::uint64_t value) {
    return Json{{"asInt", std::to_string(value)},
                {"startTimeUnixNano", std::to_string(start)},
                {"timeUnixNano", time}};
  };
  const auto counter = [&](const char* name, Json points) {
    metrics.push_back({{"name", std::string(kPrefix) + name},
                       {"sum",
                        {{"aggregationTemporality", 2},
                         {"isMonotonic", true},
                         {"dataPoints", std::move(points)}}}});
  };
  const auto counters = [&](const char* name, const worker::InstanceCounts& counts) {
    Json points = Json::array();
    for (const auto& [kind, count] : counts) {
      Json one = point(count);
      one["attributes"] = Json::array();
      for (const auto& [key, value] : labels_of(kind)) {
        one["attributes"].push_back(otlp_attribute(key, value));
      }
      points.push_back(std::move(one));
    }
    // A counter without points has nothing to say.
    if (!points.empty()) counter(name, std::move(points));
  };
  counter("tasks.count", Json::array({point(facts.started)}));
  counters("images.total", facts.instances);
  counters("standby.hit", facts.standby.hits);
  counters("standby.miss", facts.standby.misses);
  metrics.push_back(
      {{"name", std::string(kPrefix) + "tasks.running_count"},
       {"gauge",
        {{"dataPoints", {{{"asInt", std::to_string(facts.running())}, {"timeUnixNano", time}}}}}}});
  const auto amounts = [&](const char* name, const std::map<std::string, double>& values) {
    Json points = Json::array();
    for (const auto& [resource, amount] : values) {
      points.push_back({{"asDouble", amount},
                        {"timeUnixNano", time},
                        {"attributes", Json::array({otlp_attribute("name", resource)})}});
    }
    metrics.push_back(
        {{"name", std::string(kPrefix) + name}, {"gauge", {{"dataPoints", std::move(points)}}}});
  };
  amounts("resources.unused_count", unused(facts));
  amounts("resources.used_count", facts.resources_in_use);
  const Json request{
      {"resourceMetrics",
       Json::array({{{"resource", otlp_resource(version)},
                     {"scopeMetrics", Json::array({{{"scope", {{"name", "worker"}}},
                                                    {"metrics", std::move(metrics)}}})}}})}};
  return request.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::unique_ptr<WorkerMetrics>> WorkerMetrics::start(worker::Worker& worker,
                                                            const std::string& address) {
  auto metrics = std::make_unique<Metrics>(worker);
  CIRRUS_TRY(metrics->start(address).note("serving metrics"));
  return std::unique_ptr<WorkerMetrics>(std::move(metrics));
}

}  // namespace cirrus::cli
