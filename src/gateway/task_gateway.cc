// SPDX-License-Identifier: MIT
#include "gateway/task_gateway.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>

#include "base/fail_point.h"
#include "base/log.h"
#include "os/files.h"

namespace cirrus::gateway {

/// One attached stream; messages of streams that were replaced are ignored.
class TaskGateway::Session final : public rpc::AgentSession {
 public:
  Session(std::shared_ptr<TaskGateway> gateway, std::uint64_t generation)
      : gateway_(std::move(gateway)), generation_(generation) {}
  bool on_message(const gw::AgentMessage& message) override {
    return gateway_->on_message(generation_, message);
  }
  void on_closed() override { gateway_->on_closed(generation_); }

 private:
  std::shared_ptr<TaskGateway> gateway_;
  std::uint64_t generation_;
};

Result<std::shared_ptr<TaskGateway>> TaskGateway::open(TaskGatewayOptions options,
                                                       rpc::TaskService& service) {
  std::shared_ptr<TaskGateway> gateway(new TaskGateway(std::move(options), service));
  CIRRUS_TRY(gateway->load().note("opening the spool of task {}", gateway->task_id()));
  gateway->reserve_descriptors();
  gateway->forwarder_ =
      Thread([raw = gateway.get()](const StopToken& stop) { raw->forward(stop); });
  return gateway;
}

TaskGateway::~TaskGateway() {
  close();
}

void TaskGateway::reserve_descriptors() {
  // Ours: a connection, a log and what is written before it is renamed, and one to spare.
  constexpr std::size_t kReserve = 4;
  std::vector<os::Fd> reserve;
  while (reserve.size() < kReserve) {
    Result<os::Fd> one = os::open_file("/dev/null", O_RDONLY);
    if (!one.ok()) break;
    reserve.push_back(std::move(one).value());
  }
  state_.with([&reserve](State& state) { state.reserve = std::move(reserve); });
}

void TaskGateway::give_up_reserve() {
  (void)state_.with([](State& state) { return std::exchange(state.reserve, {}); });
}

void TaskGateway::close() {
  state_.update([](State& state) { state.closed = true; });
  transfers_.request_stop();
  (void)state_.wait(
      StopToken(), [](const State& state) { return state.lent == 0; },
      [](State&, bool idle) { return idle; });
  forwarder_.request_stop();
  if (forwarder_.joinable()) forwarder_.join();
  const std::shared_ptr<rpc::AgentConnection> connection =
      state_.with([](State& state) { return std::exchange(state.connection, nullptr); });
  if (connection) connection->close(error(Code::Unavailable, "the worker is going away"));
}

Status TaskGateway::load() {
  CIRRUS_TRY(os::make_directories(options_.paths.spool()));
  CIRRUS_TRY(os::make_directories(options_.paths.results()));
  State loaded;
  for (const std::string& step : CIRRUS_TRY(spooled_steps(options_.paths.spool()))) {
    StepLog log;
    log.spool = std::make_unique<Spool>(CIRRUS_TRY(Spool::open(options_.paths.spool(), step)));
    log.spooled = log.spool->size();
    loaded.logs.emplace(step, std::move(log));
  }
  // `done` holds the number of the last forwarded event; files above it are still to be sent.
  std::vector<std::uint64_t> numbers;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(options_.paths.results(), failure)) {
    const std::string name = entry.path().filename().string();
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
    if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size()) {
      numbers.push_back(number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  const Result<std::string> done = os::read_file(options_.paths.results() / "done", 64);
  if (done.ok()) {
    (void)std::from_chars(done.value().data(), done.value().data() + done.value().size(),
                          loaded.last_sequence);
  }
  for (const std::uint64_t number : numbers) {
    const std::string bytes =
        CIRRUS_TRY(os::read_file(options_.paths.results() / std::to_string(number)));
    gw::AgentMessage::Event event;
    if (!event.ParseFromString(bytes)) {
      return error(Code::DataLoss, "result {} is damaged", number);
    }
    loaded.last_sequence = std::max(loaded.last_sequence, number);
    if (event.has_finished()) {
      // The mark may be missing: it must be there before the event goes.
      CIRRUS_TRY(os::write_file(options_.paths.results() / "finished", ""));
      loaded.progress.finished = true;
    }
    loaded.progress.attached_once = true;
    loaded.progress.gave_up = loaded.progress.gave_up || event.has_error();
    loaded.events.push_back(std::move(event));
  }
  if (std::filesystem::exists(options_.paths.results() / "finished")) {
    loaded.progress.finished = true;
    loaded.progress.attached_once = true;
  }
  // The worker that handed the task over is not the one that goes on with it.
  const Result<std::string> bootstrap = os::read_file(options_.paths.reference_agent());
  if (bootstrap.ok()) {
    gw::Bootstrap parsed;
    if (!parsed.ParseFromString(bootstrap.value())) {
      return error(Code::DataLoss, "'{}' is damaged", options_.paths.reference_agent().string());
    }
    std::map<std::string, std::uint64_t> ahead;  // the worker's own words
    for (const gw::LogPosition& position : parsed.log_positions()) {
      ahead[position.step()] = position.offset();
    }
    std::vector<std::string> begun;
    for (const auto& [step, log] : loaded.logs) {
      if (log.spooled > ahead[step]) begun.push_back(step);
    }
    loaded.reference_agent = std::make_unique<ReferenceAgent>(*this, std::move(parsed), begun);
  }
  state_.with([&](State& state) { state = std::move(loaded); });
  return {};
}

Result<std::shared_ptr<rpc::AgentSession>> TaskGateway::attach(
    const gw::AgentMessage::Hello& hello, std::shared_ptr<rpc::AgentConnection> connection) {
  if (!options_.agent_secret.matches(hello.agent_secret())) {
    return error(Code::Unauthenticated, "wrong secret for task {}", options_.task_id);
  }
  gw::GatewayMessage welcome;
  welcome.mutable_welcome()->set_gateway_secret(options_.gateway_secret.reveal());
  std::shared_ptr<rpc::AgentConnection> replaced;
  std::optional<std::string> cancel_reason;
  // Nothing of the older stream may be half-way through while positions are read.
  const std::lock_guard ingest(ingest_mutex_);
  const std::uint64_t generation = state_.update([&](State& state) {
    for (const auto& [step, log] : state.logs) {
      gw::LogPosition& position = *welcome.mutable_welcome()->add_stored();
      position.set_step(step);
      position.set_offset(log.spooled);
    }
    welcome.mutable_welcome()->set_acknowledged_sequence(state.last_sequence);
    replaced = std::exchange(state.connection, connection);
    cancel_reason = state.cancel_reason;
    state.progress.attached_once = true;
    state.reading_paused = false;
    return ++state.generation;
  });
  if (replaced) replaced->close(error(Code::Aborted, "a newer stream of this agent took over"));
  connection->send(std::move(welcome));
  if (cancel_reason) {
    gw::GatewayMessage message;
    message.mutable_cancel()->set_reason(*cancel_reason);
    connection->send(std::move(message));
  }
  return std::shared_ptr<rpc::AgentSession>(
      std::make_shared<Session>(shared_from_this(), generation));
}

Result<rpc::BlobLease> TaskGateway::lend_blobs(const gw::BlobCaller& caller) {
  if (!options_.agent_secret.matches(caller.agent_secret())) {
    return error(Code::Unauthenticated, "wrong secret for task {}", options_.task_id);
  }
  const bool lent = state_.update([](State& state) {
    if (state.closed || state.progress.finished) return false;
    ++state.lent;
    return true;
  });
  if (!lent) return error(Code::NotFound, "task {} has ended", options_.task_id);
  rpc::BlobLease lease;
  lease.service = &service_;
  lease.stop = transfers_.get_token();
  lease.hold = std::shared_ptr<void>(nullptr, [self = shared_from_this()](void*) {
    self->state_.update([](State& state) { --state.lent; });
  });
  return lease;
}

void TaskGateway::allow_repository(const std::string& url) {
  state_.with([&](State& state) { state.clone_url = url; });
}

std::string TaskGateway::clone_url() const {
  return state_.with([](const State& state) { return state.clone_url; });
}

void TaskGateway::allow_vault(const std::string& url) {
  state_.with([&](State& state) { state.vault_url = url; });
}

std::string TaskGateway::vault_url() const {
  return state_.with([](const State& state) { return state.vault_url; });
}

void TaskGateway::cancel(const std::string& reason) {
  std::shared_ptr<rpc::AgentConnection> connection = state_.update([&](State& state) {
    if (!state.cancel_reason) state.cancel_reason = reason;
    return state.connection;
  });
  if (!connection) return;
  gw::GatewayMessage message;
  message.mutable_cancel()->set_reason(reason);
  connection->send(std::move(message));
}

void TaskGateway::agent_gone() {
  state_.update([](State& state) { state.agent_gone = true; });
}

TaskProgress TaskGateway::progress() const {
  return state_.with([](const State& state) { return state.progress; });
}

bool TaskGateway::wait(const StopToken& stop, std::optional<Monotonic> deadline,
                       const std::function<bool(const TaskProgress&)>& ready) {
  const auto is_ready = [&](State& state) { return ready(state.progress); };
  const auto answer = [](State&, bool reached) { return reached; };
  if (deadline) return state_.wait_until(stop, *deadline, is_ready, answer);
  return state_.wait(stop, is_ready, answer);
}

bool TaskGateway::on_message(std::uint64_t generation, const gw::AgentMessage& message) {
  const std::lock_guard ingest(ingest_mutex_);
  if (state_.with([&](const State& state) { return state.generation != generation; })) return true;
  if (message.has_log()) return on_log(generation, message.log());
  if (message.has_event()) on_event(generation, message.event());
  return true;
}

Result<Spool*> TaskGateway::spool_of(const std::string& step) {
  Spool* spool = state_.with([&](State& state) -> Spool* {
    const auto found = state.logs.find(step);
    return found == state.logs.end() ? nullptr : found->second.spool.get();
  });
  if (spool != nullptr) return spool;
  Result<Spool> opened = Spool::open(options_.paths.spool(), step);
  if (!opened.ok()) give_up_reserve();
  auto owned = std::make_unique<Spool>(CIRRUS_TRY(std::move(opened)));
  spool = owned.get();
  state_.with([&](State& state) { state.logs[step].spool = std::move(owned); });
  return spool;
}

Status TaskGateway::write_ahead(const std::string& step, std::string_view bytes) {
  const std::lock_guard ingest(ingest_mutex_);
  if (state_.with([](const State& state) { return state.progress.attached_once; })) {
    return error(Code::FailedPrecondition, "the log of '{}' is its agent's", step);
  }
  return store_at_end(step, bytes);
}

std::vector<gw::LogPosition> TaskGateway::log_positions() const {
  return state_.with([](const State& state) {
    std::vector<gw::LogPosition> positions;
    for (const auto& [step, log] : state.logs) {
      gw::LogPosition& position = positions.emplace_back();
      position.set_step(step);
      position.set_offset(log.spooled);
    }
    return positions;
  });
}

Result<std::uint64_t> TaskGateway::store_log(const std::string& step, std::uint64_t offset,
                                             std::string_view data) {
  Spool* const spool = CIRRUS_TRY(spool_of(step));
  if (offset > spool->size()) {
    return error(Code::FailedPrecondition, "the log of '{}' has a gap at {}", step, spool->size());
  }
  // What overlaps was stored before a reconnect.
  const std::uint64_t known = std::min<std::uint64_t>(spool->size() - offset, data.size());
  const std::string_view fresh = data.substr(static_cast<std::size_t>(known));
  if (!fresh.empty()) CIRRUS_TRY(spool->append(fresh));
  state_.update([&](State& state) { state.logs[step].spooled = spool->size(); });
  return spool->size();
}

Status TaskGateway::store_at_end(const std::string& step, std::string_view bytes) {
  const Spool* const spool = CIRRUS_TRY(spool_of(step));
  CIRRUS_TRY(store_log(step, spool->size(), bytes));
  return {};
}

std::uint64_t TaskGateway::waiting_bytes(const State& state) {
  std::uint64_t waiting = 0;
  for (const auto& [step, log] : state.logs) waiting += log.spooled - log.upstream;
  return waiting;
}

bool TaskGateway::on_log(std::uint64_t generation, const gw::AgentMessage::Log& log) {
  const std::shared_ptr<rpc::AgentConnection> connection =
      state_.with([](const State& state) { return state.connection; });
  if (!connection) return true;
  Result<std::uint64_t> size = store_log(log.step(), log.offset(), log.data());
  if (!size.ok()) {
    // After a failure of the disk the agent keeps the bytes and comes back; a full one blocks the
    // script until then.
    if (size.error().code() != Code::FailedPrecondition) {
      log_error("log spool failed", {{"task", task_id()}, {"error", size.error()}});
    }
    connection->close(std::move(size).error());
    return true;
  }
  crash_point("gateway.log.spooled");
  gw::GatewayMessage stored;
  stored.mutable_log_stored()->mutable_position()->set_step(log.step());
  stored.mutable_log_stored()->mutable_position()->set_offset(size.value());
  // Whoever waits for the bytes was woken when they were stored.
  const bool go_on = state_.with([&](State& state) {
    if (waiting_bytes(state) <= options_.spool_quota || state.generation != generation) return true;
    state.reading_paused = true;
    return false;
  });
  connection->send(std::move(stored));
  return go_on;
}

Status TaskGateway::store_event(const gw::AgentMessage::Event& event) {
  const Status written = os::write_file(options_.paths.results() / std::to_string(event.sequence()),
                                        event.SerializeAsString());
  if (!written.ok()) give_up_reserve();
  CIRRUS_TRY(Status(written));
  crash_point("gateway.result.written");
  if (event.has_finished()) {
    crash_point("gateway.finish.written");
    (void)os::write_file(options_.paths.results() / "finished", "");
  }
  state_.update([&](State& state) {
    state.last_sequence = event.sequence();
    state.events.push_back(event);
    state.progress.finished = state.progress.finished || event.has_finished();
    state.progress.gave_up = state.progress.gave_up || event.has_error();
  });
  return {};
}

void TaskGateway::on_event(std::uint64_t, const gw::AgentMessage::Event& event) {
  std::uint64_t last = 0;
  std::shared_ptr<rpc::AgentConnection> connection;
  state_.with([&](State& state) {
    last = state.last_sequence;
    connection = state.connection;
  });
  if (!connection) return;
  if (event.sequence() > last + 1) {
    connection->close(error(Code::FailedPrecondition, "event {} is missing", last + 1));
    return;
  }
  if (event.sequence() == last + 1) {
    Status written = store_event(event);
    if (!written.ok()) {
      log_error("result spool failed", {{"task", task_id()}, {"error", written.error()}});
      connection->close(std::move(written).error());
      return;
    }
  }
  gw::GatewayMessage stored;
  stored.mutable_event_stored()->set_sequence(std::max(last, event.sequence()));
  connection->send(std::move(stored));
}

void TaskGateway::on_closed(std::uint64_t generation) {
  state_.update([&](State& state) {
    if (state.generation == generation) state.connection = nullptr;
  });
}

Status TaskGateway::serve_reference_agent(const gw::Bootstrap& bootstrap) {
  CIRRUS_TRY(os::write_file(options_.paths.reference_agent(), bootstrap.SerializeAsString()));
  auto agent = std::make_unique<ReferenceAgent>(*this, bootstrap, std::vector<std::string>());
  state_.with([&](State& state) { state.reference_agent = std::move(agent); });
  return {};
}

Result<rpc::ReferenceTask*> TaskGateway::reference_agent(const std::string& secret) {
  if (!options_.agent_secret.matches(secret)) {
    return error(Code::Unauthenticated, "wrong secret for task {}", options_.task_id);
  }
  rpc::ReferenceTask* const agent =
      state_.with([](const State& state) { return state.reference_agent.get(); });
  if (agent != nullptr) return agent;
  return error(Code::NotFound, "the agent of task {} is one of ours", options_.task_id);
}

void TaskGateway::agent_came() {
  state_.update([](State& state) { state.progress.attached_once = true; });
}

Status TaskGateway::append_log(const std::string& step, std::string_view bytes) {
  const std::lock_guard ingest(ingest_mutex_);
  CIRRUS_TRY(store_at_end(step, bytes));
  crash_point("gateway.log.spooled");
  return {};
}

Status TaskGateway::append_event(gw::AgentMessage::Event event,
                                 const std::vector<std::string>& after_steps) {
  const std::lock_guard ingest(ingest_mutex_);
  state_.with([&](const State& state) {
    event.set_sequence(state.last_sequence + 1);
    for (const std::string& step : after_steps) {
      const auto found = state.logs.find(step);
      if (found == state.logs.end()) continue;
      gw::LogPosition& position = *event.add_after();
      position.set_step(step);
      position.set_offset(found->second.spooled);
    }
  });
  return store_event(event);
}

Status TaskGateway::wait_for_room() {
  return state_.wait(
      transfers_.get_token(),
      [this](const State& state) { return waiting_bytes(state) <= options_.spool_quota; },
      [](State&, bool room) {
        return room ? Status() : Status(error(Code::Cancelled, "the worker is going away"));
      });
}

}  // namespace cirrus::gateway
