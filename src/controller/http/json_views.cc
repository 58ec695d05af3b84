// SPDX-License-Identifier: MIT
#include "controller/http/json_views.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/strings.h"
#include "cirrus_evaluator.pb.h"
#include "net/http_types.h"

namespace cirrus::controller::http {

namespace {
using nlohmann::json;
namespace api = org::cirruslabs::ci::services::cirruscigrpc;

std::string text_of(const json& value) {
  // Names and messages come from outside and may not be UTF-8.
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json time_of(std::int64_t millis) {
  if (millis == 0) return nullptr;
  return to_rfc3339(from_unix_millis(millis));
}

/// What the next page is after; empty: this is the last one.
json place_of(const std::string& next_after) {
  return next_after.empty() ? json() : json(next_after);
}

std::int64_t duration(std::int64_t started, std::int64_t finished) {
  return started == 0 || finished == 0 ? 0 : std::max<std::int64_t>(0, finished - started);
}

std::string waiting_text(const core::TaskView& task) {
  std::vector<std::string> sentences;
  for (const model::WaitingReason& reason : task.waiting_reasons) sentences.push_back(reason.text);
  return join(sentences, "; ");
}

/// Only the fields that mean something for this kind.
json reason_value(const model::WaitingReason& reason) {
  json value = {{"kind", model::to_string(reason.kind)}, {"text", reason.text}};
  const auto add = [&value](const char* name, const std::string& text) {
    if (!text.empty()) value[name] = text;
  };
  if (reason.workers > 0) value["workers"] = reason.workers;
  add("worker", reason.worker);
  add("pool", reason.pool);
  add("label", reason.label);
  add("wanted", reason.wanted);
  add("offered", reason.offered);
  add("resource", reason.resource);
  if (reason.missing > 0) value["missing"] = reason.missing;
  if (reason.task.valid()) value["task"] = reason.task.to_string();
  return value;
}

json task_value(const core::TaskView& task) {
  json steps = json::array();
  for (const core::StepView& step : task.steps) {
    steps.push_back({{"name", step.name},
                     {"status", model::to_string(step.status)},
                     {"duration_ms", step.duration_ns / 1'000'000}});
  }
  json depends_on = json::array();
  for (const model::TaskId id : task.depends_on) depends_on.push_back(id.to_string());
  return {{"id", task.id.to_string()},
          {"build_id", task.build.to_string()},
          {"name", task.name},
          {"status", model::to_string(task.status)},
          {"allow_failures", task.allow_failures},
          {"depends_on", std::move(depends_on)},
          {"worker", task.worker.empty() ? json(nullptr) : json(task.worker)},
          {"unreachable", task.unreachable},
          {"reason", task.reason},
          {"waiting_reason", waiting_text(task)},
          {"manual", task.manual},
          {"created_at", time_of(task.created_ms)},
          {"started_at", time_of(task.started_ms)},
          {"finished_at", time_of(task.finished_ms)},
          {"duration_ms", duration(task.started_ms, task.finished_ms)},
          {"attempt", task.attempt},
          {"steps", std::move(steps)}};
}

json issue_list(const std::string& bytes) {
  json list = json::array();
  api::EvaluateConfigResponse issues;
  if (!issues.ParseFromString(bytes)) return list;
  for (const api::Issue& issue : issues.issues()) {
    list.push_back({{"level", to_lower(api::Issue::Level_Name(issue.level()))},
                    {"message", issue.message()},
                    {"path", issue.path()},
                    {"line", issue.line()},
                    {"column", issue.column()}});
  }
  return list;
}

json build_value(const core::BuildView& build) {
  json tasks = json::array();
  for (const core::TaskView& task : build.tasks) {
    if (task.current) tasks.push_back(task_value(task));
  }
  const store::BuildRecord& record = build.record;
  return {{"id", record.id.to_string()},
          {"repository", record.repository},
          {"branch", record.branch},
          {"commit", record.commit},
          {"message", record.message},
          {"priority", record.priority},
          {"trusted", record.trusted},
          {"status", model::to_string(record.status)},
          {"created_at", time_of(record.created_ms)},
          {"finished_at", time_of(record.finished_ms)},
          {"issues", issue_list(record.issues)},
          {"tasks", std::move(tasks)}};
}

json worker_value(const core::WorkerView& worker) {
  json tasks = json::array();
  for (const model::TaskId id : worker.tasks) tasks.push_back(id.to_string());
  return {{"pool", worker.pool},
          {"name", worker.name},
          {"state", worker.state},
          {"disabled", worker.disabled},
          {"draining", worker.draining},
          {"connected", worker.connected},
          {"labels", worker.labels},
          {"resources", worker.resources},
          {"resources_in_use", worker.resources_in_use},
          {"tasks", std::move(tasks)},
          {"last_seen_ms_ago",
           worker.last_seen_ago_ms < 0 ? json(nullptr) : json(worker.last_seen_ago_ms)},
          {"conflict", worker.conflict}};
}

json pool_value(const core::PoolView& pool) {
  return {{"name", pool.record.name},
          {"paused", pool.record.paused},
          {"hold_reference_polls", pool.record.hold_reference_polls},
          {"lost_after_ms", pool.record.lost_after_ms},
          {"untrusted_isolations", pool.record.untrusted_isolations.words()},
          {"record_shells", pool.record.record_shells},
          {"workers", pool.workers},
          {"connected", pool.connected}};
}
}  // namespace

std::string build_json(const core::BuildView& build) {
  return text_of({{"schema_version", 1}, {"build", build_value(build)}});
}

std::string builds_json(const std::vector<core::BuildView>& builds, bool more,
                        const store::RemovalSummary& removed) {
  json list = json::array();
  for (const core::BuildView& build : builds) list.push_back(build_value(build));
  const json next = more && !builds.empty() ? json(builds.back().record.id.to_string()) : json();
  json page = {{"schema_version", 1}, {"builds", std::move(list)}, {"next_before", next}};
  if (removed.builds > 0) {
    page["removed"] = {{"builds", removed.builds},
                       {"last_at", time_of(removed.last.removed_ms)},
                       {"why", removed.last.why}};
  }
  return text_of(page);
}

std::string task_json(const core::TaskView& task) {
  return text_of({{"schema_version", 1}, {"task", task_value(task)}});
}

std::string why_json(const core::TaskView& task) {
  json reasons = json::array();
  json details = json::array();
  for (const model::WaitingReason& reason : task.waiting_reasons) {
    reasons.push_back(reason.text);
    details.push_back(reason_value(reason));
  }
  if (reasons.empty() && !task.reason.empty()) reasons.push_back(task.reason);
  return text_of({{"schema_version", 1},
                  {"status", model::to_string(task.status)},
                  {"reasons", std::move(reasons)},
                  {"details", std::move(details)}});
}

std::string workers_json(const std::vector<core::WorkerView>& workers,
                         const std::string& next_after) {
  json list = json::array();
  for (const core::WorkerView& worker : workers) list.push_back(worker_value(worker));
  return text_of(
      {{"schema_version", 1}, {"workers", std::move(list)}, {"next_after", place_of(next_after)}});
}

std::string worker_event_json(const core::WorkerView& worker, WallTime now) {
  json value = worker_value(worker);
  value["key"] = "worker/" + worker.pool + "/" + worker.name;
  value.erase("last_seen_ms_ago");  // changes all the time
  const std::int64_t seen = to_unix_millis(now) - worker.last_seen_ago_ms;
  value["last_seen_at"] = worker.last_seen_ago_ms < 0 ? json() : time_of(seen - seen % 60'000);
  return text_of(value);
}

std::string pool_event_json(const core::PoolView& pool) {
  return text_of({{"key", "pool/" + pool.record.name},
                  {"name", pool.record.name},
                  {"paused", pool.record.paused},
                  {"untrusted_isolations", pool.record.untrusted_isolations.words()},
                  {"workers", pool.workers},
                  {"connected", pool.connected}});
}

std::string build_event_json(const core::BuildView& build) {
  std::map<std::string, int> tasks;
  for (const core::TaskView& task : build.tasks) {
    if (task.current) ++tasks[std::string(model::to_string(task.status))];
  }
  const store::BuildRecord& record = build.record;
  return text_of({{"key", "build/" + record.id.to_string()},
                  {"id", record.id.to_string()},
                  {"repository", record.repository},
                  {"branch", record.branch},
                  {"commit", record.commit},
                  {"message", shorten(record.message, 400)},
                  {"trusted", record.trusted},
                  {"status", model::to_string(record.status)},
                  {"created_at", time_of(record.created_ms)},
                  {"finished_at", time_of(record.finished_ms)},
                  {"tasks", tasks}});
}

std::string troubles_event_json(const std::vector<std::string>& troubles) {
  return text_of({{"key", "controller"}, {"troubles", troubles}});
}

std::string removed_event_json(const std::string& key) {
  return text_of({{"key", key}});
}

std::string worker_json(const core::WorkerView& worker) {
  return text_of({{"schema_version", 1}, {"worker", worker_value(worker)}});
}

std::string pools_json(const std::vector<core::PoolView>& pools, const std::string& next_after) {
  json list = json::array();
  for (const core::PoolView& pool : pools) list.push_back(pool_value(pool));
  return text_of(
      {{"schema_version", 1}, {"pools", std::move(list)}, {"next_after", place_of(next_after)}});
}

std::string pool_json(const core::PoolView& pool) {
  return text_of({{"schema_version", 1}, {"pool", pool_value(pool)}});
}

std::string identity_json(const core::ApiIdentity& identity) {
  return text_of({{"schema_version", 1},
                  {"id", identity.token_id},
                  {"name", identity.name},
                  {"role", core::to_string(identity.role)},
                  {"repositories", identity.repositories},
                  {"trusted", identity.trusted}});
}

std::string tokens_json(const core::ApiTokenViews& tokens, const std::string& next_after) {
  json list = json::array();
  for (const store::ApiTokenRecord& token : tokens) {
    list.push_back({{"id", token.id},
                    {"name", token.name},
                    {"role", token.role},
                    {"repositories", token.repositories},
                    {"trusted", token.trusted},
                    {"created_at", time_of(token.created_ms)},
                    {"revoked_at", time_of(token.revoked_ms)}});
  }
  return text_of(
      {{"schema_version", 1}, {"tokens", std::move(list)}, {"next_after", place_of(next_after)}});
}

std::string tokens_json(const core::RegistrationTokenViews& tokens, const std::string& next_after) {
  json list = json::array();
  for (const store::RegistrationTokenRecord& token : tokens) {
    list.push_back({{"id", token.id},
                    {"pool", token.pool},
                    {"note", token.note},
                    {"worker_names", token.worker_names},
                    {"created_at", time_of(token.created_ms)},
                    {"expires_at", time_of(token.expires_ms)},
                    {"revoked_at", time_of(token.revoked_ms)}});
  }
  return text_of(
      {{"schema_version", 1}, {"tokens", std::move(list)}, {"next_after", place_of(next_after)}});
}

std::string audit_json(const std::vector<store::AuditRecord>& entries) {
  json list = json::array();
  for (const store::AuditRecord& entry : entries) {
    list.push_back({{"id", entry.id},
                    {"at", time_of(entry.at_ms)},
                    {"actor", entry.actor},
                    {"action", entry.action},
                    {"subject", entry.subject}});
  }
  return text_of({{"schema_version", 1}, {"audit", std::move(list)}});
}

std::string token_json(const core::State::NewToken& token) {
  return text_of({{"schema_version", 1}, {"id", token.id}, {"token", token.token}});
}

std::string id_json(const std::string& id) {
  return text_of({{"schema_version", 1}, {"id", id}});
}

std::string ids_json(const std::vector<model::TaskId>& ids) {
  json list = json::array();
  for (const model::TaskId id : ids) list.push_back(id.to_string());
  return text_of({{"schema_version", 1}, {"tasks", std::move(list)}});
}

std::string log_event_json(std::uint64_t offset, const std::string& bytes) {
  return fmt::format(R"({{"offset":{},"data":"{}"}})", offset, net::base64_encode(bytes));
}

}  // namespace cirrus::controller::http
