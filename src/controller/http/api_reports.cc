// SPDX-License-Identifier: MIT
// Api: what agents reported of their tasks.
#include <nlohmann/json.hpp>

#include "controller/http/answers.h"
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

json annotations_view(const blobs::ReportStore::AnnotationPage& page, std::size_t after) {
  json list = json::array();
  for (const pb::Annotation& one : page.annotations) list.push_back(annotation_view(one));
  const json next =
      page.more ? json(std::to_string(after + page.annotations.size())) : json(nullptr);
  return {{"schema_version", 1}, {"annotations", std::move(list)}, {"next_after", next}};
}
}  // namespace

void Api::list_annotations(const net::ServerRequest& request, const std::string& task,
                           const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 1000, 1, 5000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  const Result<std::int64_t> after = number_of(request.query, "after", 0, 0, kMostNumber);
  if (!after.ok()) return answer->respond(problem(after.error()));
  with_task(
      task, answer,
      [this, answer, after = static_cast<std::size_t>(after.value()),
       most = static_cast<std::size_t>(limit.value())](const core::TaskView& found) {
        const bool queued = pool_.run([this, answer, after, most, id = found.id](const StopToken&) {
          const auto page = stores_.reports.annotations(id, after, most);
          if (!page.ok()) return answer->respond(problem(page.error()));
          answer->respond(json_response(200, dump(annotations_view(page.value(), after))));
        });
        if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
      });
}

// GET /api/v1/tasks/{id}/annotations[?limit=&after=] and .../report
void Api::route_reports(const net::ServerRequest& request, const Parts& parts,
                        const Answer& answer) {
  if (parts[4] == "annotations") return list_annotations(request, parts[3], answer);
  with_task(parts[3], answer, [this, answer](const core::TaskView& task) {
    const bool queued = pool_.run([this, answer, id = task.id](const StopToken&) {
      const Result<json> view = report_view(stores_.reports, id);
      if (!view.ok()) return answer->respond(problem(view.error()));
      answer->respond(json_response(200, dump(view.value())));
    });
    if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
  });
}

}  // namespace cirrus::controller::http
