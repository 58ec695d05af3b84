// SPDX-License-Identifier: MIT
#include "controller/store/sqlite_removals.h"

#include "controller/store/field_codec.h"

namespace cirrus::controller::store {

namespace {

constexpr const char* kColumns = "id, repository, removed_ms, why, tasks, last_task";

std::string encode_tasks(const std::vector<model::TaskId>& tasks) {
  std::vector<std::string> texts;
  texts.reserve(tasks.size());
  for (const model::TaskId task : tasks) texts.push_back(task.to_string());
  return encode_strings(texts);
}

Result<std::vector<model::TaskId>> decode_tasks(const std::string& bytes) {
  std::vector<model::TaskId> tasks;
  const std::vector<std::string> texts = CIRRUS_TRY(decode_strings(bytes));
  for (const std::string& text : texts) {
    const Result<model::TaskId> task = model::TaskId::parse(text);
    if (!task.ok()) return error(Code::DataLoss, "'{}' is no id of a task", text);
    tasks.push_back(task.value());
  }
  return tasks;
}

Result<RemovedBuildRecord> read_row(Statement& row) {
  RemovedBuildRecord build;
  build.id = model::BuildId{row.next_int()};
  build.repository = row.next_text();
  build.removed_ms = row.next_int();
  build.why = row.next_text();
  build.tasks = CIRRUS_TRY(decode_tasks(row.next_text()));
  build.last_task = row.next_int();
  return build;
}

}  // namespace

Result<RemovalWriter> RemovalWriter::create(Database& database) {
  return RemovalWriter(
      CIRRUS_TRY(database.prepare(
          "DELETE FROM steps WHERE task IN (SELECT id FROM tasks WHERE build = ?)")),
      CIRRUS_TRY(database.prepare("DELETE FROM tasks WHERE build = ?")),
      CIRRUS_TRY(database.prepare("DELETE FROM definitions WHERE build = ?")),
      CIRRUS_TRY(database.prepare("DELETE FROM builds WHERE id = ?")),
      CIRRUS_TRY(database.prepare("REPLACE INTO removed_builds VALUES (?,?,?,?,?,?)")));
}

Status RemovalWriter::write(const RemovedBuildRecord& build) {
  for (Statement* statement : {&steps_, &tasks_, &definitions_, &build_}) {
    CIRRUS_TRY(statement->reset().bind(build.id.value).run());
  }
  return record_.reset()
      .bind(build.id.value)
      .bind(build.repository)
      .bind(build.removed_ms)
      .bind(build.why)
      .bind(encode_tasks(build.tasks))
      .bind(build.last_task)
      .run();
}

Result<std::vector<RemovedBuildRecord>> list_removable(Database& database,
                                                       const RemovalQuery& query) {
  // Statuses as numbers, so that the partial indexes are used: builds from 2 on are final, 2 is
  // completed; tasks from 1 to 3 may still run.
  const char* const order = query.newest_kept > 0
                                ? "b.id < (SELECT id FROM builds ORDER BY id DESC LIMIT 1 OFFSET "
                                  "?2 - 1) ORDER BY b.id LIMIT ?3"
                                : "?2 = 0 ORDER BY b.finished_ms, b.id LIMIT ?3";
  Statement rows = CIRRUS_TRY(database.prepare(fmt::format(
      "SELECT b.id, b.repository FROM builds b WHERE b.status >= 2 AND b.finished_ms < ?1 AND "
      "NOT EXISTS (SELECT 1 FROM tasks t WHERE t.build = b.id AND "
      "(t.holds_worker = 1 OR t.status BETWEEN 1 AND 3)) AND "
      "(b.status <> 2 OR EXISTS (SELECT 1 FROM builds g WHERE g.status = 2 AND "
      "g.repository = b.repository AND g.branch = b.branch AND g.id > b.id AND "
      "g.trusted >= b.trusted AND (length(g.commit_id) > 0 OR length(b.commit_id) = 0))) AND {}",
      order)));
  rows.bind(query.finished_before_ms).bind(query.newest_kept).bind(query.limit);
  std::vector<RemovedBuildRecord> found;
  while (CIRRUS_TRY(rows.step())) {
    RemovedBuildRecord build;
    build.id = model::BuildId{rows.next_int()};
    build.repository = rows.next_text();
    found.push_back(std::move(build));
  }
  Statement tasks =
      CIRRUS_TRY(database.prepare("SELECT id FROM tasks WHERE build = ? ORDER BY id"));
  for (RemovedBuildRecord& build : found) {
    tasks.reset().bind(build.id.value);
    while (CIRRUS_TRY(tasks.step())) build.tasks.push_back(model::TaskId{tasks.next_int()});
    if (!build.tasks.empty()) build.last_task = build.tasks.back().value;
  }
  return found;
}

Result<std::optional<RemovedBuildRecord>> read_removed(Database& database, model::BuildId id) {
  Statement row = CIRRUS_TRY(
      database.prepare(fmt::format("SELECT {} FROM removed_builds WHERE id = ?", kColumns)));
  row.bind(id.value);
  if (!CIRRUS_TRY(row.step())) return std::optional<RemovedBuildRecord>();
  return std::optional(CIRRUS_TRY(read_row(row)));
}

Result<std::vector<RemovedBuildRecord>> list_unswept(Database& database, model::BuildId after,
                                                     int limit) {
  Statement rows = CIRRUS_TRY(database.prepare(
      fmt::format("SELECT {} FROM removed_builds WHERE length(tasks) > 0 AND id > ? ORDER BY id "
                  "LIMIT ?",
                  kColumns)));
  rows.bind(after.value).bind(limit);
  std::vector<RemovedBuildRecord> found;
  while (CIRRUS_TRY(rows.step())) found.push_back(CIRRUS_TRY(read_row(rows)));
  return found;
}

Result<bool> was_removed(Database& database, model::TaskId id) {
  Statement row =
      CIRRUS_TRY(database.prepare("SELECT NOT EXISTS (SELECT 1 FROM tasks WHERE id = ?1) AND "
                                  "(EXISTS (SELECT 1 FROM tasks WHERE id > ?1) OR "
                                  "EXISTS (SELECT 1 FROM removed_builds WHERE last_task >= ?1))"));
  row.bind(id.value);
  return CIRRUS_TRY(row.step()) && row.next_int() != 0;
}

Result<RemovalSummary> removals(Database& database) {
  RemovalSummary summary;
  Statement count = CIRRUS_TRY(database.prepare("SELECT count(*) FROM removed_builds"));
  if (CIRRUS_TRY(count.step())) summary.builds = count.next_int();
  Statement last = CIRRUS_TRY(database.prepare(fmt::format(
      "SELECT {} FROM removed_builds ORDER BY removed_ms DESC, id DESC LIMIT 1", kColumns)));
  if (CIRRUS_TRY(last.step())) summary.last = CIRRUS_TRY(read_row(last));
  return summary;
}

}  // namespace cirrus::controller::store
