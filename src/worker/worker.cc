// SPDX-License-Identifier: MIT
#include "worker/worker.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "os/cgroup.h"
#include "os/files.h"
#include "worker/resource_books.h"
#include "worker/settings_changes.h"

namespace cirrus::worker {

namespace {

// The worker's own business: scripts of a task must not see it. Ours: the reference hands over
// everything.
bool is_private_variable(const std::string& name) {
  for (const char* prefix :
       {"CIRRUS_WORKER_", "CIRRUS_API_", "CIRRUS_CONTROLLER_", "WATCHDOG_", "LISTEN_", "OTEL_"}) {
    if (name.starts_with(prefix)) return true;
  }
  return name == "NOTIFY_SOCKET" || name == "SENTRY_DSN";
}

// `inherited` present: only these names, and the private ones not even then.
os::Environment agent_environment(const std::optional<std::vector<std::string>>& inherited) {
  os::Environment environment = os::current_environment();
  for (auto entry = environment.begin(); entry != environment.end();) {
    const bool wanted = !inherited || std::find(inherited->begin(), inherited->end(),
                                                entry->first) != inherited->end();
    entry =
        !wanted || is_private_variable(entry->first) ? environment.erase(entry) : std::next(entry);
  }
  return environment;
}

// A directory that nobody could name by chance may be passed through by the tasks' user.
void open_for_passing(const std::filesystem::path& directory) {
  if (::chmod(directory.c_str(), 0711) != 0) {
    log_warning("cannot open a directory to the tasks' user", {{"path", directory.string()}});
  }
}

// Places of sockets that no task's record names: of instances that stood by, and of starts that a
// crash cut short. What else lies there is somebody else's.
void remove_stale_sockets(const std::filesystem::path& run_directory,
                          const std::set<std::string>& named) {
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(run_directory, failure)) {
    std::error_code ignored;
    if (named.contains(entry.path().string()) || entry.is_symlink(ignored) ||
        !std::filesystem::exists(entry.path() / "guest", ignored)) {
      continue;
    }
    const Status removed = os::remove_tree(entry.path());
    if (!removed.ok()) log_warning("a socket's directory stays", {{"error", removed.error()}});
  }
}

// Idle agents of a worker that died have gone with it; their files and groups have not.
void remove_stale_ready_agents(const std::filesystem::path& tasks_directory) {
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(tasks_directory, failure)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(".ready-") || os::FileLock::is_held(entry.path())) continue;
    if (name.ends_with(".lock")) {
      const Result<std::string> group = os::read_file(entry.path(), 4096);
      const std::string path = group.ok() ? split(group.value(), '\n').front() : std::string();
      if (!path.empty()) (void)os::Cgroup::at(path).remove();
    }
    std::error_code ignored;
    std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace

Worker::Worker(Settings settings, WorkerParts parts, os::FileLock lock)
    : parts_(std::move(parts)), lock_(std::move(lock)) {
  current_.with([&](Current& current) {
    current.settings = std::make_shared<const Settings>(std::move(settings));
  });
  state_.with([](State& state) { state.idle_since = system_clock().now(); });
}

std::shared_ptr<const Settings> Worker::settings() const {
  return current_.with([](const Current& current) { return current.settings; });
}

std::shared_ptr<const TaskEnvironment> Worker::environment() const {
  return current_.with([](const Current& current) { return current.environment; });
}

Result<TaskEnvironment> Worker::make_environment(const Settings& settings) const {
  TaskEnvironment environment;
  environment.tasks_directory = parts_.state_directory / "tasks";
  environment.run_directory = parts_.run_directory;
  environment.agent_program = parts_.agent_program;
  environment.agent_environment = agent_environment(settings.inherited_variables);
  environment.cancel_grace = settings.cancel_grace;
  environment.gateway = parts_.gateway;
  environment.standby = standby_.get();
  environment.isolation_for = parts_.isolation_for;
  environment.security = settings.security;
  environment.min_free_space = settings.min_free_space;
  environment.mirror_without_isolation = settings.git_mirror_without_isolation;
  if (!settings.task_user.empty()) {
    const os::User user = CIRRUS_TRY(os::find_user(settings.task_user).note("'task-user'"));
    const os::User self = CIRRUS_TRY(os::current_user());
    if (self.uid != 0 && self.uid != user.uid) {
      return error(Code::PermissionDenied,
                   "'task-user: {}' needs a worker that runs as root, this one runs as {}",
                   settings.task_user, self.name);
    }
    if (self.uid != user.uid) {
      environment.task_user = user;
      open_for_passing(parts_.run_directory);
      open_for_passing(parts_.run_directory.parent_path());
    }
  }
  return environment;
}

Result<std::unique_ptr<Worker>> Worker::start(Settings settings, WorkerParts parts) {
  CIRRUS_TRY(os::make_directories(parts.state_directory, 0700));
  CIRRUS_TRY(os::make_directories(parts.run_directory, 0700));
  Result<os::FileLock> lock = os::FileLock::try_acquire(parts.state_directory / "worker.lock");
  if (!lock.ok()) {
    if (lock.error().code() == Code::AlreadyExists) {
      return error(Code::AlreadyExists,
                   "another worker uses the data directory '{}': stop it, or give this one its own "
                   "with --data-dir",
                   parts.state_directory.string());
    }
    return std::move(lock).error();
  }
  std::unique_ptr<Worker> worker(
      new Worker(std::move(settings), std::move(parts), std::move(lock).value()));
  CIRRUS_TRY(os::make_directories(worker->parts_.state_directory / "tasks"));
  worker->standby_ = std::make_unique<Standby>(worker->standby_parts());
  auto environment = std::make_shared<const TaskEnvironment>(
      CIRRUS_TRY(worker->make_environment(*worker->settings())));
  worker->current_.with([&](Current& current) { current.environment = std::move(environment); });
  CIRRUS_TRY(worker->open_sessions());
  worker->adopt_all();
  // What stands by is made after that, or it would look like a leftover.
  worker->cleaner_ = Thread([raw = worker.get()](const StopToken&) {
    if (raw->parts_.remove_leftovers) {
      raw->parts_.remove_leftovers([raw] {
        return raw->state_.with([](State& state) {
          std::set<std::string> live = state.live_labels;
          for (const auto& [id, task] : state.tasks) live.insert(id);
          return live;
        });
      });
    }
    const std::shared_ptr<const Settings> current = raw->settings();
    raw->standby_->configure(current->vm.standby, !current->vm.standby_is_list);
  });
  // What an earlier process said and a network kept is older than all that this one says.
  const std::uint64_t number =
      std::uint64_t{number_of_start(worker->parts_.state_directory, system_clock().wall())} << 32U;
  for (const std::shared_ptr<Session>& session : worker->sessions_) {
    worker->loops_.push_back(std::make_unique<UpstreamLoop>(session, *worker, number));
  }
  worker->heartbeat_ =
      Thread([raw = worker.get()](const StopToken& stop) { raw->heartbeat_loop(stop); });
  // Adopted tasks count: an ephemeral worker that was restarted has had its share.
  const std::uint64_t limit = worker->settings()->life.max_tasks;
  if (limit > 0 && worker->facts().started >= limit) worker->drain();
  worker->life_ = Thread([raw = worker.get()](const StopToken& stop) { raw->watch_life(stop); });
  return worker;
}

Worker::~Worker() {
  for (const auto& loop : loops_) loop->request_stop();
  const bool stays = state_.with([](State& state) {
    return !state.tasks.empty() || (state.end && state.end->kind == WorkerEnd::Kind::Detached);
  });
  if (!stays) {
    for (const auto& loop : loops_) loop->say_goodbye();
  }
  loops_.clear();
  shells_.with([](auto& shells) { return std::exchange(shells, {}); }).clear();
  for (Thread* thread : {&heartbeat_, &life_, &cleaner_}) {
    thread->request_stop();
    if (thread->joinable()) thread->join();
  }
  State last = state_.with([](State& state) { return std::move(state); });
  for (const auto& [id, task] : last.tasks) task->request_detach();
  last = State();  // waits for their threads, which may ask for what stands by
  standby_.reset();
}

Status Worker::open_sessions() {
  const std::string instance = CIRRUS_TRY(load_instance_id(parts_.state_directory));
  for (const UpstreamSettings& upstream : settings()->upstreams) {
    sessions_.push_back(std::make_shared<Session>(CIRRUS_TRY(parts_.connect(upstream, instance))));
  }
  return {};
}

// Before the first registration: an id that is missing from a poll counts as lost.
void Worker::adopt_all() {
  const std::filesystem::path tasks = environment()->tasks_directory;
  remove_stale_ready_agents(tasks);
  std::set<std::string> run_directories;
  std::vector<std::pair<std::shared_ptr<Session>, TaskRecord>> adopted;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(tasks, failure)) {
    if (!entry.is_directory()) continue;
    Result<TaskRecord> record = load_task_record(entry.path());
    if (!record.ok()) {
      // A directory without a record belongs to a task whose acceptance never reached the disk.
      if (record.error().code() == Code::NotFound &&
          !os::FileLock::is_held(entry.path() / "agent.lock")) {
        const Status removed = os::remove_tree(entry.path());
        log_info("dead task directory removed", {{"path", entry.path().string()}});
        if (removed.ok()) continue;
      }
      log_warning("task directory left alone",
                  {{"path", entry.path().string()}, {"error", record.error()}});
      continue;
    }
    run_directories.insert(record.value().run_directory());
    std::shared_ptr<Session> owner;
    for (const std::shared_ptr<Session>& session : sessions_) {
      if (session->endpoint() == record.value().upstream_endpoint()) owner = session;
    }
    if (!owner) {
      log_warning(
          "task of an unknown upstream left alone",
          {{"task", record.value().task_id()}, {"upstream", record.value().upstream_endpoint()}});
      continue;
    }
    const auto label = record.value().handles().find("label");
    if (record.value().phase() == TaskRecord::BOOTSTRAPPED &&
        label != record.value().handles().end()) {
      state_.with([&](State& state) { state.live_labels.insert(label->second); });
    }
    adopted.emplace_back(owner, std::move(record).value());
  }
  remove_stale_sockets(parts_.run_directory, run_directories);
  // Only now: a task that starts afresh makes a socket of its own.
  for (auto& [owner, record] : adopted) run_task(owner, std::move(record));
}

StandbyParts Worker::standby_parts() {
  StandbyParts parts;
  parts.run_directory = parts_.run_directory;
  parts.agent_program = parts_.agent_program;
  parts.agent_environment = agent_environment(settings()->inherited_variables);
  parts.isolation_for = parts_.isolation_for;
  parts.softnet_allow = [this] { return settings()->security.softnet_allow(); };
  parts.allowed = [this](const rpc::pb::Isolation& wanted) -> Result<isolation::IsolationSpec> {
    const std::shared_ptr<const Settings> current = settings();
    CIRRUS_TRY(current->security.check(&wanted));
    return current->security.enforced(wanted);
  };
  parts.fits = [this](const std::map<std::string, double>& booked, bool single) {
    return standby_fits(booked, single);
  };
  parts.on_released = [this] { admit_more(); };
  return parts;
}

bool Worker::standby_fits(const std::map<std::string, double>& booked, bool single) const {
  const std::shared_ptr<const Settings> current = settings();
  return state_.with([&](const State& state) {
    if (state.draining || state.end) return false;
    // Source: reference worker, standby: made only while no task runs.
    if (single && !state.tasks.empty()) return false;
    std::map<std::string, double> used = booked;
    for (const auto& [id, task] : state.tasks) {
      if (task->released()) continue;
      for (const auto& [name, amount] : task->resources()) used[name] += amount;
    }
    return std::all_of(booked.begin(), booked.end(), [&](const auto& amount) {
      const auto limit = current->resources.find(amount.first);
      const double available = limit == current->resources.end() ? 0 : limit->second;
      return used[amount.first] <= available * (1 + 1e-9);
    });
  });
}

void Worker::run_task(const std::shared_ptr<Session>& session, TaskRecord record) {
  const std::shared_ptr<const Settings> current = settings();
  const bool fresh = record.phase() == TaskRecord::ASSIGNED;
  const bool runs = record.phase() != TaskRecord::ENDED;
  const InstanceKind kind = instance_kind_of(record.isolation());
  if (current->traces) begin_span(record);
  const TaskSpan span = span_of(record, current->name);
  // The task's thread may end before it is in the table; task_ended waits for the table.
  const bool last = state_.update([&](State& state) {
    const std::string id = record.task_id();
    const std::shared_ptr<TaskRun> task = std::make_shared<TaskRun>(
        environment(), session, std::move(record),
        [this](const std::string& ended) { task_ended(ended); }, [this] { admit_more(); });
    state.tasks[id] = task;
    state.spans[id] = span;
    if (fresh) {
      standby_->assign(id, task->wanted());
      state.waiting.push_back(id);
      admit_waiting(state, current->resources);
    } else {
      task->admit();  // it runs already, or there is nothing left to run
    }
    if (state.cancelled) task->cancel("the worker is stopping");
    if (runs) {
      ++state.started;
      ++state.instances[kind];
    }
    return current->life.max_tasks > 0 && state.started >= current->life.max_tasks;
  });
  if (last) drain();
}

void Worker::admit_more() {
  const std::shared_ptr<const Settings> current = settings();
  state_.update([&](State& state) { admit_waiting(state, current->resources); });
}

// In order, so that small tasks never starve a big one, and whatever several controllers gave away
// at the same time. What stands by gives way to a task that waits.
void Worker::admit_waiting(State& state, const std::map<std::string, double>& total) {
  Amounts booked = standby_->booked();
  ResourceBooks books(total);
  for (const auto& [id, task] : state.tasks) {
    if (task->holds_resources()) books.book(task->resources());
  }
  while (!state.waiting.empty()) {
    const auto found = state.tasks.find(state.waiting.front());
    if (found != state.tasks.end()) {
      TaskRun& task = *found->second;
      if (!books.fits(task.resources(), booked)) {
        if (!books.fits(task.resources(), {})) return;
        // Only what stands by is in the way: it is this task's, or it goes.
        if (standby_->assign_late(found->first, task.wanted())) booked = standby_->booked();
        if (!books.fits(task.resources(), booked)) {
          standby_->make_room(task.resources());
          return;
        }
      }
      books.book(task.resources());
      task.admit();
    }
    state.waiting.erase(state.waiting.begin());
  }
}

void Worker::task_ended(const std::string& id) {
  std::string endpoint;
  const std::shared_ptr<const Settings> current = settings();
  state_.update([&](State& state) {
    const auto found = state.tasks.find(id);
    if (found == state.tasks.end()) return;
    endpoint = found->second->upstream_endpoint();
    state.finished.push_back(std::move(found->second));
    state.tasks.erase(found);
    end_span(state, id);
    admit_waiting(state, current->resources);
    if (state.tasks.empty()) state.idle_since = system_clock().now();
    if (state.draining && state.tasks.empty() && !state.end) {
      state.end = WorkerEnd{WorkerEnd::Kind::Drained, "the last task has ended"};
    }
  });
  standby_->look_again();
  for (const auto& loop : loops_) {
    if (loop->session()->endpoint() == endpoint) loop->poll_soon();
  }
}

void Worker::end_span(State& state, const std::string& id) {
  const auto found = state.spans.find(id);
  if (found == state.spans.end()) return;
  TaskSpan span = std::move(found->second);
  state.spans.erase(found);
  if (!span.sampled) return;
  span.end = std::max(span.start, system_clock().wall());
  state.ended_spans.push_back(std::move(span));
  if (state.ended_spans.size() > kMaxSpans) state.ended_spans.pop_front();
}

std::vector<TaskSpan> Worker::take_spans() {
  std::deque<TaskSpan> ended =
      state_.with([](State& state) { return std::exchange(state.ended_spans, {}); });
  return {std::make_move_iterator(ended.begin()), std::make_move_iterator(ended.end())};
}

std::size_t Worker::running() const {
  return state_.with([](const State& state) { return state.tasks.size(); });
}

std::vector<std::string> Worker::reload(Settings wanted) {
  const std::shared_ptr<const Settings> old = settings();
  const std::vector<std::string> changes = changes_between(*old, wanted);
  wanted.name = old->name;
  wanted.upstreams = old->upstreams;
  wanted.data_directory = old->data_directory;
  wanted.metrics_address = old->metrics_address;
  wanted.traces = old->traces;
  Result<TaskEnvironment> made = make_environment(wanted);
  if (!made.ok()) {
    return {fmt::format("nothing was changed: {}", made.error().to_string())};
  }
  auto environment = std::make_shared<const TaskEnvironment>(std::move(made).value());
  auto fresh = std::make_shared<const Settings>(std::move(wanted));
  current_.with([&](Current& current) {
    current.settings = fresh;
    current.environment = std::move(environment);
  });
  standby_->configure(fresh->vm.standby, !fresh->vm.standby_is_list);
  state_.update([&](State& state) { admit_waiting(state, fresh->resources); });
  for (const auto& loop : loops_) loop->refresh();
  return changes;
}

WorkerFacts Worker::facts() const {
  WorkerFacts facts;
  const std::shared_ptr<const Settings> current = settings();
  facts.name = current->name;
  facts.resources_total = current->resources;
  state_.with([&](const State& state) {
    facts.started = state.started;
    facts.instances = state.instances;
    facts.draining = state.draining;
    for (const auto& [id, task] : state.tasks) {
      TaskFacts& one = facts.tasks.emplace_back();
      one.id = id;
      one.upstream = task->upstream_endpoint();
      one.since = state.spans.at(id).start;
      if (task->released()) one.phase = TaskFacts::Phase::Reporting;
      if (!task->holds_resources()) continue;
      one.phase = TaskFacts::Phase::Running;
      for (const auto& [name, amount] : task->resources()) facts.resources_in_use[name] += amount;
    }
  });
  facts.standby = standby_->facts();
  facts.min_free_space = current->min_free_space;
  for (const auto& loop : loops_) facts.upstreams[loop->session()->endpoint()] = loop->facts();
  return facts;
}

}  // namespace cirrus::worker
