// SPDX-License-Identifier: MIT
#include "controller/store/sqlite_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <mutex>

#include "base/clock.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "controller/store/field_codec.h"
#include "controller/store/sqlite_database.h"
#include "controller/store/sqlite_removals.h"
#include "controller/store/sqlite_schema.h"
#include "os/fd.h"
#include "os/files.h"

namespace cirrus::controller::store {

namespace {

constexpr const char* kBuildColumns =
    "id, repository, branch, commit_id, message, environment, priority, status, created_ms, "
    "finished_ms, issues, cache_space, trusted, submitted_by";
constexpr const char* kTaskColumns =
    "id, build, node, attempt, status, reason, pool, worker, holds_worker, triggered, "
    "client_secret, server_secret, clone_token, created_ms, assigned_ms, started_ms, finished_ms, "
    "lost_before";

Result<BuildRecord> read_build_row(Statement& row) {
  BuildRecord build;
  build.id = model::BuildId{row.next_int()};
  build.repository = row.next_text();
  build.branch = row.next_text();
  build.commit = row.next_text();
  build.message = row.next_text();
  build.environment = CIRRUS_TRY((decode_map<std::map<std::string, std::string>>(row.next_text())));
  build.priority = static_cast<int>(row.next_int());
  build.status = CIRRUS_TRY(model::build_status_of(static_cast<int>(row.next_int())));
  build.created_ms = row.next_int();
  build.finished_ms = row.next_int();
  build.issues = row.next_text();
  build.cache_space = row.next_text();
  build.trusted = row.next_int() != 0;
  build.submitted_by = row.next_text();
  return build;
}

Result<TaskRecord> read_task_row(Statement& row) {
  TaskRecord task;
  task.id = model::TaskId{row.next_int()};
  task.build = model::BuildId{row.next_int()};
  task.node = static_cast<int>(row.next_int());
  task.attempt = static_cast<int>(row.next_int());
  task.status = CIRRUS_TRY(model::task_status_of(static_cast<int>(row.next_int())));
  task.reason = row.next_text();
  task.pool = row.next_text();
  task.worker = row.next_text();
  task.holds_worker = row.next_int() != 0;
  task.triggered = row.next_int() != 0;
  task.client_secret = row.next_text();
  task.server_secret = row.next_text();
  task.clone_token = row.next_text();
  task.created_ms = row.next_int();
  task.assigned_ms = row.next_int();
  task.started_ms = row.next_int();
  task.finished_ms = row.next_int();
  task.lost_before = static_cast<int>(row.next_int());
  return task;
}

/// Errors: DataLoss. A list that cannot be read must not open a pool.
Result<model::IsolationSet> read_isolations(const std::string& bytes, const std::string& pool) {
  const auto damaged = [&](const Error& why) {
    return error(Code::DataLoss, "what pool '{}' lets untrusted builds use cannot be read: {}",
                 pool, why.message());
  };
  const Result<std::vector<std::string>> words = decode_strings(bytes);
  if (!words.ok()) return damaged(words.error());
  Result<model::IsolationSet> set = model::IsolationSet::of(words.value());
  if (!set.ok()) return damaged(set.error());
  return set;
}

/// The statements that read one build; one set per connection.
class BuildReader {
 public:
  static Result<BuildReader> create(Database& database) {
    BuildReader reader;
    reader.build_ = make(CIRRUS_TRY(
        database.prepare(fmt::format("SELECT {} FROM builds WHERE id = ?", kBuildColumns))));
    reader.definitions_ = make(CIRRUS_TRY(database.prepare(
        "SELECT node, depends_on, task FROM definitions WHERE build = ? ORDER BY node")));
    reader.tasks_ = make(CIRRUS_TRY(database.prepare(
        fmt::format("SELECT {} FROM tasks WHERE build = ? ORDER BY id", kTaskColumns))));
    reader.steps_ = make(CIRRUS_TRY(database.prepare(
        "SELECT position, name, status, duration_ns FROM steps WHERE task = ? ORDER BY position")));
    return reader;
  }

  Result<std::optional<BuildRows>> read(model::BuildId id) {
    BuildRows rows;
    build_->reset().bind(id.value);
    if (!CIRRUS_TRY(build_->step())) return std::optional<BuildRows>();
    rows.build = CIRRUS_TRY(read_build_row(*build_));
    build_->reset();

    definitions_->reset().bind(id.value);
    while (CIRRUS_TRY(definitions_->step())) {
      DefinitionRecord definition;
      definition.build = id;
      definition.node = static_cast<int>(definitions_->next_int());
      definition.depends_on = CIRRUS_TRY(decode_numbers(definitions_->next_text()));
      definition.task = definitions_->next_text();
      rows.definitions.push_back(std::move(definition));
    }
    definitions_->reset();

    tasks_->reset().bind(id.value);
    while (CIRRUS_TRY(tasks_->step())) rows.tasks.push_back(CIRRUS_TRY(read_task_row(*tasks_)));
    tasks_->reset();

    for (const TaskRecord& task : rows.tasks) {
      steps_->reset().bind(task.id.value);
      while (CIRRUS_TRY(steps_->step())) {
        StepRecord step;
        step.task = task.id;
        step.index = static_cast<int>(steps_->next_int());
        step.name = steps_->next_text();
        step.status = CIRRUS_TRY(model::step_status_of(static_cast<int>(steps_->next_int())));
        step.duration_ns = steps_->next_int();
        rows.steps.push_back(std::move(step));
      }
    }
    steps_->reset();
    return std::optional(std::move(rows));
  }

 private:
  static std::unique_ptr<Statement> make(Statement statement) {
    return std::make_unique<Statement>(std::move(statement));
  }
  std::unique_ptr<Statement> build_;
  std::unique_ptr<Statement> definitions_;
  std::unique_ptr<Statement> tasks_;
  std::unique_ptr<Statement> steps_;
};

/// The statements that write; prepared once.
struct Writer {
  Statement begin, commit, rollback;
  Statement setting, pool, registration_token, api_token, worker, build, definition, task, step,
      audit;
  RemovalWriter removal;

  static Result<Writer> create(Database& db) {
    return Writer{
        CIRRUS_TRY(db.prepare("BEGIN IMMEDIATE")),
        CIRRUS_TRY(db.prepare("COMMIT")),
        CIRRUS_TRY(db.prepare("ROLLBACK")),
        CIRRUS_TRY(db.prepare("REPLACE INTO settings VALUES (?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO pools VALUES (?,?,?,?,?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO registration_tokens VALUES (?,?,?,?,?,?,?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO api_tokens VALUES (?,?,?,?,?,?,?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO workers VALUES (?,?,?,?,?,?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO builds VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO definitions VALUES (?,?,?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO tasks VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")),
        CIRRUS_TRY(db.prepare("REPLACE INTO steps VALUES (?,?,?,?,?)")),
        CIRRUS_TRY(
            db.prepare("INSERT INTO audit (at_ms, actor, action, subject) VALUES (?,?,?,?)")),
        CIRRUS_TRY(RemovalWriter::create(db)),
    };
  }

  Status write(const Changes& changes) {
    for (const auto& [key, value] : changes.settings) {
      CIRRUS_TRY(setting.reset().bind(key).bind(value).run());
    }
    for (const PoolRecord& row : changes.pools) {
      CIRRUS_TRY(pool.reset()
                     .bind(row.name)
                     .bind(row.hold_reference_polls ? 1 : 0)
                     .bind(row.paused ? 1 : 0)
                     .bind(row.lost_after_ms)
                     .bind(encode_strings(row.untrusted_isolations.words()))
                     .bind(row.record_shells ? 1 : 0)
                     .run());
    }
    for (const RegistrationTokenRecord& row : changes.registration_tokens) {
      CIRRUS_TRY(registration_token.reset()
                     .bind(row.id)
                     .bind(row.pool)
                     .bind(row.hash)
                     .bind(row.created_ms)
                     .bind(row.expires_ms)
                     .bind(row.revoked_ms)
                     .bind(row.note)
                     .bind(row.worker_names)
                     .run());
    }
    for (const ApiTokenRecord& row : changes.api_tokens) {
      CIRRUS_TRY(api_token.reset()
                     .bind(row.id)
                     .bind(row.name)
                     .bind(row.role)
                     .bind(row.hash)
                     .bind(row.created_ms)
                     .bind(row.revoked_ms)
                     .bind(encode_strings(row.repositories))
                     .bind(row.trusted ? 1 : 0)
                     .run());
    }
    for (const WorkerRecord& row : changes.workers) {
      CIRRUS_TRY(worker.reset()
                     .bind(row.pool)
                     .bind(row.name)
                     .bind(row.instance)
                     .bind(row.disabled ? 1 : 0)
                     .bind(encode_map(row.labels))
                     .bind(encode_resources(row.resources))
                     .bind(row.first_seen_ms)
                     .run());
    }
    for (const BuildRecord& row : changes.builds) {
      CIRRUS_TRY(build.reset()
                     .bind(row.id.value)
                     .bind(row.repository)
                     .bind(row.branch)
                     .bind(row.commit)
                     .bind(row.message)
                     .bind(encode_map(row.environment))
                     .bind(row.priority)
                     .bind(static_cast<int>(row.status))
                     .bind(row.created_ms)
                     .bind(row.finished_ms)
                     .bind(row.issues)
                     .bind(row.cache_space)
                     .bind(row.trusted ? 1 : 0)
                     .bind(row.submitted_by)
                     .run());
    }
    for (const DefinitionRecord& row : changes.definitions) {
      CIRRUS_TRY(definition.reset()
                     .bind(row.build.value)
                     .bind(row.node)
                     .bind(encode_numbers(row.depends_on))
                     .bind(row.task)
                     .run());
    }
    for (const TaskRecord& row : changes.tasks) CIRRUS_TRY(write_task(row));
    for (const StepRecord& row : changes.steps) {
      CIRRUS_TRY(step.reset()
                     .bind(row.task.value)
                     .bind(row.index)
                     .bind(row.name)
                     .bind(static_cast<int>(row.status))
                     .bind(row.duration_ns)
                     .run());
    }
    for (const AuditRecord& row : changes.audit) {
      CIRRUS_TRY(
          audit.reset().bind(row.at_ms).bind(row.actor).bind(row.action).bind(row.subject).run());
    }
    for (const RemovedBuildRecord& row : changes.removed_builds) CIRRUS_TRY(removal.write(row));
    return {};
  }

  Status write_task(const TaskRecord& row) {
    return task.reset()
        .bind(row.id.value)
        .bind(row.build.value)
        .bind(row.node)
        .bind(row.attempt)
        .bind(static_cast<int>(row.status))
        .bind(row.reason)
        .bind(row.pool)
        .bind(row.worker)
        .bind(row.holds_worker ? 1 : 0)
        .bind(row.triggered ? 1 : 0)
        .bind(row.client_secret)
        .bind(row.server_secret)
        .bind(row.clone_token)
        .bind(row.created_ms)
        .bind(row.assigned_ms)
        .bind(row.started_ms)
        .bind(row.finished_ms)
        .bind(row.lost_before)
        .run();
  }
};

class SqliteStore final : public Store {
 public:
  SqliteStore(std::filesystem::path directory, Database writing, Database reading, Writer writer,
              BuildReader state_reader, BuildReader edge_reader)
      : directory_(std::move(directory)),
        writing_(std::move(writing)),
        reading_(std::move(reading)),
        writer_(std::move(writer)),
        state_reader_(std::move(state_reader)),
        edge_reader_(std::move(edge_reader)) {}

  Result<Loaded> load() override {
    Loaded loaded;
    CIRRUS_TRY(load_configuration(loaded));
    std::vector<model::BuildId> open;
    Statement ids =
        CIRRUS_TRY(writing_.prepare("SELECT id FROM builds WHERE status < 2 UNION "
                                    "SELECT build FROM tasks WHERE holds_worker = 1 ORDER BY 1"));
    while (CIRRUS_TRY(ids.step())) open.push_back(model::BuildId{ids.next_int()});
    for (const model::BuildId id : open) {
      std::optional<BuildRows> rows = CIRRUS_TRY(state_reader_.read(id));
      if (rows) loaded.builds.push_back(*std::move(rows));
    }
    Statement last =
        CIRRUS_TRY(writing_.prepare("SELECT max((SELECT ifnull(max(id), 0) FROM builds), "
                                    "(SELECT ifnull(max(id), 0) FROM removed_builds)), "
                                    "max((SELECT ifnull(max(id), 0) FROM tasks), "
                                    "(SELECT ifnull(max(last_task), 0) FROM removed_builds))"));
    if (CIRRUS_TRY(last.step())) {
      loaded.last_build_id = last.next_int();
      loaded.last_task_id = last.next_int();
    }
    return loaded;
  }

  Status apply(const Changes& changes) override {
    CIRRUS_TRY(fail_point("store.apply.begin"));
    // Files that are open stay writable below a mount that is not. What went there would be missing
    // after a restart, and the logs of what was accepted would have no place.
    if (CIRRUS_TRY(os::is_read_only(directory_))) {
      return error(Code::Unavailable, "the file system of {} is read-only", directory_.string());
    }
    CIRRUS_TRY(writer_.begin.reset().run());
    Status written = writer_.write(changes);
    if (written.ok()) written = fail_point("store.apply.written");
    if (written.ok()) written = writer_.commit.reset().run();
    if (written.ok()) crash_point("store.apply.committed");
    if (!written.ok()) {
      // Some failures (a full disk) have rolled back by themselves; then this one fails, rightly.
      const Status rolled_back = writer_.rollback.reset().run();
      static_cast<void>(rolled_back.ok());
    }
    return written;
  }

  Result<std::optional<BuildRows>> read_build(model::BuildId id) override {
    const std::lock_guard lock(reading_mutex_);
    return edge_reader_.read(id);
  }

  Result<std::optional<model::BuildId>> build_of(model::TaskId id) override {
    const std::lock_guard lock(reading_mutex_);
    Statement row = CIRRUS_TRY(reading_.prepare("SELECT build FROM tasks WHERE id = ?"));
    row.bind(id.value);
    if (!CIRRUS_TRY(row.step())) return std::optional<model::BuildId>();
    return std::optional(model::BuildId{row.next_int()});
  }

  Result<std::optional<TaskRecord>> read_task(model::TaskId id) override {
    const std::lock_guard lock(reading_mutex_);
    Statement row = CIRRUS_TRY(
        reading_.prepare(fmt::format("SELECT {} FROM tasks WHERE id = ?", kTaskColumns)));
    row.bind(id.value);
    if (!CIRRUS_TRY(row.step())) return std::optional<TaskRecord>();
    return std::optional(CIRRUS_TRY(read_task_row(row)));
  }

  Result<std::vector<model::BuildId>> list_builds(std::int64_t before, int limit) override {
    const std::lock_guard lock(reading_mutex_);
    Statement row = CIRRUS_TRY(reading_.prepare(
        "SELECT id FROM builds WHERE ?1 = 0 OR id < ?1 ORDER BY id DESC LIMIT ?2"));
    row.bind(before).bind(limit);
    std::vector<model::BuildId> ids;
    while (CIRRUS_TRY(row.step())) ids.push_back(model::BuildId{row.next_int()});
    return ids;
  }

  Result<std::optional<GreenBuild>> last_green(const std::string& repository,
                                               const std::string& branch) override {
    const std::lock_guard lock(reading_mutex_);
    // The status as a number, so that the partial index is used.
    Statement row = CIRRUS_TRY(
        reading_.prepare("SELECT id, commit_id FROM builds WHERE status = 2 AND repository = ? AND "
                         "branch = ? AND trusted = 1 AND length(commit_id) > 0 "
                         "ORDER BY id DESC LIMIT 1"));
    row.bind(repository).bind(branch);
    if (!CIRRUS_TRY(row.step())) return std::optional<GreenBuild>();
    GreenBuild build;
    build.id = model::BuildId{row.next_int()};
    build.commit = row.next_text();
    return std::optional(std::move(build));
  }

  Result<std::vector<AuditRecord>> list_audit(const AuditQuery& query) override {
    const std::lock_guard lock(reading_mutex_);
    // Texts are stored as blobs, so what they are compared with is one, too.
    Statement row = CIRRUS_TRY(reading_.prepare(
        "SELECT at_ms, actor, action, subject, id FROM audit WHERE (?1 = 0 OR id < ?1) AND "
        "(length(?2) = 0 OR actor = ?2) AND (length(?3) = 0 OR action = ?3 OR "
        "substr(action, 1, length(?4)) = ?4) ORDER BY id DESC LIMIT ?5"));
    const std::string below = query.action + ".";
    row.bind(query.before).bind(query.actor).bind(query.action).bind(below).bind(query.limit);
    std::vector<AuditRecord> newest;
    while (CIRRUS_TRY(row.step())) {
      AuditRecord entry;
      entry.at_ms = row.next_int();
      entry.actor = row.next_text();
      entry.action = row.next_text();
      entry.subject = row.next_text();
      entry.id = row.next_int();
      newest.push_back(std::move(entry));
    }
    return newest;
  }

  Result<std::vector<RemovedBuildRecord>> list_removable(const RemovalQuery& query) override {
    const std::lock_guard lock(reading_mutex_);
    return store::list_removable(reading_, query);
  }
  Result<std::optional<RemovedBuildRecord>> read_removed(model::BuildId id) override {
    const std::lock_guard lock(reading_mutex_);
    return store::read_removed(reading_, id);
  }
  Result<std::vector<RemovedBuildRecord>> list_unswept(model::BuildId after, int limit) override {
    const std::lock_guard lock(reading_mutex_);
    return store::list_unswept(reading_, after, limit);
  }
  Result<bool> was_removed(model::TaskId id) override {
    const std::lock_guard lock(reading_mutex_);
    return store::was_removed(reading_, id);
  }
  Result<RemovalSummary> removals() override {
    const std::lock_guard lock(reading_mutex_);
    return store::removals(reading_);
  }

 private:
  Status load_configuration(Loaded& loaded) {
    Statement settings = CIRRUS_TRY(writing_.prepare("SELECT key, value FROM settings"));
    while (CIRRUS_TRY(settings.step())) {
      std::string key = settings.next_text();
      loaded.settings[std::move(key)] = settings.next_text();
    }
    Statement pools = CIRRUS_TRY(writing_.prepare(
        "SELECT name, hold, paused, lost_after_ms, untrusted_isolations, record_shells FROM "
        "pools"));
    while (CIRRUS_TRY(pools.step())) {
      PoolRecord pool;
      pool.name = pools.next_text();
      pool.hold_reference_polls = pools.next_int() != 0;
      pool.paused = pools.next_int() != 0;
      pool.lost_after_ms = pools.next_int();
      pool.untrusted_isolations = CIRRUS_TRY(read_isolations(pools.next_text(), pool.name));
      pool.record_shells = pools.next_int() != 0;
      loaded.pools.push_back(std::move(pool));
    }
    Statement tokens = CIRRUS_TRY(writing_.prepare(
        "SELECT id, pool, hash, created_ms, expires_ms, revoked_ms, note, worker_names FROM "
        "registration_tokens"));
    while (CIRRUS_TRY(tokens.step())) {
      RegistrationTokenRecord token;
      token.id = tokens.next_text();
      token.pool = tokens.next_text();
      token.hash = tokens.next_text();
      token.created_ms = tokens.next_int();
      token.expires_ms = tokens.next_int();
      token.revoked_ms = tokens.next_int();
      token.note = tokens.next_text();
      token.worker_names = tokens.next_text();
      loaded.registration_tokens.push_back(std::move(token));
    }
    Statement api = CIRRUS_TRY(writing_.prepare(
        "SELECT id, name, role, hash, created_ms, revoked_ms, repositories, trusted FROM "
        "api_tokens"));
    while (CIRRUS_TRY(api.step())) {
      ApiTokenRecord token;
      token.id = api.next_text();
      token.name = api.next_text();
      token.role = api.next_text();
      token.hash = api.next_text();
      token.created_ms = api.next_int();
      token.revoked_ms = api.next_int();
      token.repositories = CIRRUS_TRY(decode_strings(api.next_text()));
      token.trusted = api.next_int() != 0;
      loaded.api_tokens.push_back(std::move(token));
    }
    Statement workers = CIRRUS_TRY(writing_.prepare(
        "SELECT pool, name, instance, disabled, labels, resources, first_seen_ms FROM workers"));
    while (CIRRUS_TRY(workers.step())) {
      WorkerRecord worker;
      worker.pool = workers.next_text();
      worker.name = workers.next_text();
      worker.instance = workers.next_text();
      worker.disabled = workers.next_int() != 0;
      worker.labels = CIRRUS_TRY(decode_map<model::Labels>(workers.next_text()));
      worker.resources = CIRRUS_TRY(decode_resources(workers.next_text()));
      worker.first_seen_ms = workers.next_int();
      loaded.workers.push_back(std::move(worker));
    }
    return {};
  }

  const std::filesystem::path directory_;
  // Order matters: statements end before their connection.
  Database writing_;          // state loop only
  Database reading_;          // guarded by reading_mutex_
  Writer writer_;             // state loop only
  BuildReader state_reader_;  // state loop only
  BuildReader edge_reader_;   // guarded by reading_mutex_
  std::mutex reading_mutex_;
};

// A commit into a log file that grows makes the file system commit its own books too: 4 ms a time
// on the disk this was measured on, against 0.2 ms for overwriting blocks that are there already.
// So the log is written full once, by a transaction that is rolled back after it spilled, and
// SQLite starts over at its beginning. `wal_autocheckpoint` keeps it from growing past that.
Status preallocate_log(Database& database, const std::filesystem::path& path) {
  const std::filesystem::path log = path.string() + "-wal";
  constexpr std::uintmax_t kBytes = 16U << 20U;
  std::error_code failure;
  if (std::filesystem::file_size(log, failure) >= kBytes && !failure) return {};
  CIRRUS_TRY(database.execute("PRAGMA cache_size=16; BEGIN IMMEDIATE; CREATE TABLE spill(x)"));
  Status filled = database.execute("INSERT INTO spill VALUES (zeroblob(17000000))");
  // Always: the store must never start inside this transaction, full disk or not.
  CIRRUS_TRY(database.execute("ROLLBACK; PRAGMA cache_size=-16000"));
  if (!filled.ok()) return {};  // a matter of speed only; a full disk is found by who needs it
  const os::Fd file = CIRRUS_TRY(os::open_file(log, O_RDWR));
  if (::fsync(file.get()) != 0) return errno_error(errno, "cannot sync '{}'", log.string());
  return {};
}

/// A damaged page is found at start, not when a build needs it in a week. A store too large for the
/// time given is looked through as far as that goes; `cirrus controller check` looks at all of it.
Status check_for_damage(Database& database, const std::filesystem::path& path) {
  constexpr std::chrono::milliseconds kBudget{1000};  // Ours: a start takes at most 2 s.
  if (!CIRRUS_TRY(database.check(kBudget, system_clock()))) {
    log_info("the store is too large to be checked whole at start", {{"path", path.string()}});
  }
  return {};
}

}  // namespace

Error damaged_store(const std::filesystem::path& path, const Error& why) {
  return error(Code::DataLoss,
               "the store {} is damaged ({}): restore a back-up, or salvage it with: sqlite3 {} "
               "'.recover' | sqlite3 {}.salvaged",
               path.string(), why.message(), path.string(), path.string());
}

Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& path,
                                                 Durability durability) {
  // Made by us first, because SQLite would use the umask.
  { const os::Fd made = CIRRUS_TRY(os::open_file(path, O_RDWR | O_CREAT, 0600)); }
  Database writing = CIRRUS_TRY(Database::open(path, Database::Mode::ReadWrite));
  const char* synchronous = durability == Durability::PowerLoss ? "FULL" : "NORMAL";
  Status prepared = writing.execute(
      fmt::format("PRAGMA journal_mode=WAL; PRAGMA synchronous={}; PRAGMA foreign_keys=OFF; "
                  "PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-16000",
                  synchronous));
  if (prepared.ok()) prepared = check_for_damage(writing, path);
  if (prepared.ok()) prepared = migrate(writing);
  if (prepared.ok() && durability == Durability::PowerLoss) {
    prepared = preallocate_log(writing, path);
  }
  if (!prepared.ok() && prepared.error().code() == Code::DataLoss) {
    return damaged_store(path, prepared.error());
  }
  CIRRUS_TRY(std::move(prepared).note("opening the store {}", path.string()));
  Database reading = CIRRUS_TRY(Database::open(path, Database::Mode::ReadOnly));
  Writer writer = CIRRUS_TRY(Writer::create(writing));
  BuildReader state_reader = CIRRUS_TRY(BuildReader::create(writing));
  BuildReader edge_reader = CIRRUS_TRY(BuildReader::create(reading));
  return std::unique_ptr<Store>(std::make_unique<SqliteStore>(
      path.has_parent_path() ? path.parent_path() : ".", std::move(writing), std::move(reading),
      std::move(writer), std::move(state_reader), std::move(edge_reader)));
}

}  // namespace cirrus::controller::store
