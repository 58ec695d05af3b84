// SPDX-License-Identifier: MIT
// Api: what agents reported of their tasks.
#include <nlohmann/json.hpp>

#include "controller/http/api.h"
#include "controller/http/json_views.h"
#include "controller/http/problem.h"

namespace cirrus::controller::http {

namespace {
using nlohmann::json;
namespace pb = blobs::pb;

/// Reports are anybody's bytes: what is no UTF-8 is shown with marks in its place.
std::string dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

const char* level_name(pb::Annotation::Level level) {
  switch (level) {
    case pb::Annotation::WARNING: return "warning";
    case pb::Annotation::FAILURE: return "failure";
    default: return "notice";
  }
}

json annotation_view(const pb::Annotation& one) {
  const auto& place = one.file_location();
  return {{"level", level_name(one.level())},     {"message", one.message()},
          {"raw_details", one.raw_details()},     {"path", place.path()},
          {"start_line", place.start_line()},     {"end_line", place.end_line()},
          {"start_column", place.start_column()}, {"end_column", place.end_column()}};
}

json chart_view(const google::protobuf::RepeatedPtrField<pb::ChartPoint>& points) {
  json list = json::array();
  for (const pb::ChartPoint& point : points) {
    list.push_back({point.seconds_from_start(), point.value()});
  }
  return list;
}

json cache_view(const std::string& key, const pb::CacheRetrievalAttempt& attempt) {
  json view{{"key", key}, {"hit", attempt.has_hit()}};
  view["size"] = attempt.has_hit() ? attempt.hit().size_bytes() : attempt.miss().size_bytes();
  if (!attempt.error().empty()) view["error"] = attempt.error();
  return view;
}

Result<json> report_view(const blobs::ReportStore& reports, model::TaskId task) {
  json view{{"schema_version", 1}};
  view["warnings"] = CIRRUS_TRY(reports.warnings(task));
  const std::optional<pb::ReportAgentFinishedRequest> figures = CIRRUS_TRY(reports.figures(task));
  view["caches"] = json::array();
  if (!figures) return view;
  const pb::ResourceUtilization& used = figures->resource_utilization();
  // Points are [seconds since the task's start, value].
  view["resources"] = {{"cpu_total", used.cpu_total()},
                       {"memory_total", used.memory_total()},
                       {"cpu", chart_view(used.cpu_chart())},
                       {"memory", chart_view(used.memory_chart())}};
  for (const auto& [key, attempt] : figures->cacheretrievalattempts()) {
    view["caches"].push_back(cache_view(key, attempt));
  }
  return view;
}

Result<json> annotations_view(const blobs::ReportStore& reports, model::TaskId task) {
  json list = json::array();
  for (const pb::Annotation& one : CIRRUS_TRY(reports.annotations(task))) {
    list.push_back(annotation_view(one));
  }
  return json{{"schema_version", 1}, {"annotations", std::move(list)}};
}
}  // namespace

// GET /api/v1/tasks/{id}/annotations and .../report
void Api::route_reports(const Parts& parts, const Answer& answer) {
  with_task(parts[3], answer, [this, answer, what = parts[4]](const core::TaskView& task) {
    const bool queued = pool_.run([this, answer, what, id = task.id](const StopToken&) {
      const Result<json> view = what == "report" ? report_view(stores_.reports, id)
                                                 : annotations_view(stores_.reports, id);
      if (!view.ok()) return answer->respond(problem(view.error()));
      answer->respond(json_response(200, dump(view.value())));
    });
    if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
  });
}

}  // namespace cirrus::controller::http
