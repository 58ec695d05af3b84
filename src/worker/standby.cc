// SPDX-License-Identifier: MIT
#include "worker/standby.h"

#include <algorithm>
#include <atomic>

#include <google/protobuf/util/message_differencer.h>

#include "base/ids.h"
#include "base/log.h"
#include "os/files.h"

namespace cirrus::worker {

namespace {

using google::protobuf::util::MessageDifferencer;

// Ours: how often what stands by is looked at.
constexpr auto kHealthPeriod = std::chrono::seconds(5);

bool same(const StandbySettings& a, const StandbySettings& b) {
  return MessageDifferencer::Equals(a.isolation, b.isolation) && a.resources == b.resources &&
         a.warmup_script == b.warmup_script && a.warmup_timeout == b.warmup_timeout;
}

void add(std::map<std::string, double>& sum, const std::map<std::string, double>& amounts) {
  for (const auto& [name, amount] : amounts) sum[name] += amount;
}

std::string kind_of(const isolation::IsolationSpec& spec) {
  switch (spec.type_case()) {
    case isolation::IsolationSpec::kTart: return "tart " + spec.tart().image();
    case isolation::IsolationSpec::kVetu: return "vetu " + spec.vetu().image();
    case isolation::IsolationSpec::kContainer: return "container " + spec.container().image();
    default: return "unknown";
  }
}

}  // namespace

Standby::Standby(StandbyParts parts)
    : parts_(std::move(parts)), thread_([this](const StopToken& stop) { run(stop); }) {}

void Standby::configure(std::vector<StandbySettings> wanted, bool single) {
  state_.update([&](State& state) {
    std::vector<std::shared_ptr<const StandbySettings>> kept;
    for (StandbySettings& one : wanted) {
      // What stays the same stays the same object, so that its instances do.
      const auto old = std::find_if(state.wanted.begin(), state.wanted.end(),
                                    [&](const auto& known) { return same(*known, one); });
      kept.push_back(old != state.wanted.end() && (*old)->count == one.count
                         ? *old
                         : std::make_shared<const StandbySettings>(std::move(one)));
    }
    state.wanted = std::move(kept);
    state.single = single;
    for (auto slot = state.ready.begin(); slot != state.ready.end();) {
      const auto next = std::next(slot);
      const bool stays =
          std::any_of(state.wanted.begin(), state.wanted.end(),
                      [&](const auto& known) { return same(*known, *slot->settings); });
      if (!stays) state.ending.splice(state.ending.end(), state.ready, slot);
      slot = next;
    }
    state.look = true;
  });
}

void Standby::update(const google::protobuf::RepeatedPtrField<Parameters>& parameters) {
  if (parameters.empty()) return;  // no change. Source: protocol, standby
  std::vector<StandbySettings> wanted;
  for (const Parameters& given : parameters) {
    const Result<isolation::IsolationSpec> allowed = parts_.allowed(given.isolation());
    if (!allowed.ok() || parts_.isolation_for(given.isolation()) == nullptr ||
        kind_of(given.isolation()) == "unknown") {
      log_warning("the server's standby is left out",
                  {{"what", kind_of(given.isolation())},
                   {"why", allowed.ok() ? "no such isolation" : allowed.error().to_string()}});
      continue;
    }
    StandbySettings one;
    one.isolation = given.isolation();
    one.resources.insert(given.resources().begin(), given.resources().end());
    one.warmup_script = given.warmup().script();
    one.warmup_timeout = std::chrono::seconds(
        std::min<std::uint64_t>(given.warmup().timeout_seconds(), 24U * 3600U));
    wanted.push_back(std::move(one));
  }
  const bool single = wanted.size() == 1;
  const bool unchanged = state_.with([&](const State& state) {
    return state.wanted.size() == wanted.size() &&
           std::equal(wanted.begin(), wanted.end(), state.wanted.begin(),
                      [](const auto& a, const auto& b) { return same(a, *b); });
  });
  if (!unchanged) configure(std::move(wanted), single);
}

void Standby::drain() {
  configure({}, false);
}

bool Standby::keep_for(State& state, const std::string& task_id,
                       const isolation::IsolationSpec* spec) {
  const auto found = std::find_if(state.ready.begin(), state.ready.end(), [&](const Slot& slot) {
    return spec != nullptr && MessageDifferencer::Equals(slot.settings->isolation, *spec);
  });
  if (found == state.ready.end()) return false;
  ++state.hits[instance_kind_of(*spec)];
  state.look = true;
  state.assigned.insert_or_assign(task_id, std::move(*found));
  state.ready.erase(found);
  return true;
}

void Standby::assign(const std::string& task_id, const isolation::IsolationSpec* spec) {
  state_.update([&](State& state) {
    if (state.ready.empty() || keep_for(state, task_id, spec)) return;
    ++state.misses[instance_kind_of(spec == nullptr ? isolation::IsolationSpec() : *spec)];
    state.look = true;
    if (state.single) state.ending.splice(state.ending.end(), state.ready);
  });
}

bool Standby::assign_late(const std::string& task_id, const isolation::IsolationSpec* spec) {
  return state_.update([&](State& state) {
    return state.assigned.contains(task_id) || keep_for(state, task_id, spec);
  });
}

std::optional<StandbySlot> Standby::claim(const std::string& task_id) {
  return state_.with([&](State& state) -> std::optional<StandbySlot> {
    const auto found = state.assigned.find(task_id);
    if (found == state.assigned.end()) return std::nullopt;
    StandbySlot slot = std::move(found->second.slot);
    state.assigned.erase(found);
    return slot;
  });
}

void Standby::forget(const std::string& task_id) {
  state_.update([&](State& state) {
    const auto found = state.assigned.find(task_id);
    if (found == state.assigned.end()) return;
    // Its agent has not heard of any task: it stands by again.
    state.ready.push_back(std::move(found->second));
    state.assigned.erase(found);
    state.look = true;
  });
}

void Standby::make_room(const std::map<std::string, double>& needed) {
  state_.update([&](State& state) {
    for (auto slot = state.ready.begin(); slot != state.ready.end();) {
      const auto next = std::next(slot);
      const bool helps = std::any_of(needed.begin(), needed.end(), [&](const auto& amount) {
        const auto held = slot->settings->resources.find(amount.first);
        return amount.second > 0 && held != slot->settings->resources.end() && held->second > 0;
      });
      if (helps) {
        state.ending.splice(state.ending.end(), state.ready, slot);
        state.look = true;
      }
      slot = next;
    }
  });
}

void Standby::look_again() {
  state_.update([](State& state) { state.look = true; });
}

std::map<std::string, double> Standby::sum(const State& state) {
  std::map<std::string, double> total = state.in_work;
  for (const std::list<Slot>* slots : {&state.ready, &state.ending}) {
    for (const Slot& slot : *slots) add(total, slot.settings->resources);
  }
  return total;
}

std::map<std::string, double> Standby::booked() const {
  return state_.with([](const State& state) { return sum(state); });
}

std::vector<Standby::Information> Standby::information() const {
  const Monotonic now = system_clock().now();
  return state_.with([&](const State& state) {
    std::vector<Information> all;
    for (const Slot& slot : state.ready) {
      Information& one = all.emplace_back();
      Parameters& parameters = *one.mutable_parameters();
      *parameters.mutable_isolation() = slot.settings->isolation;
      parameters.mutable_resources()->insert(slot.settings->resources.begin(),
                                             slot.settings->resources.end());
      if (!slot.settings->warmup_script.empty()) {
        parameters.mutable_warmup()->set_script(slot.settings->warmup_script);
        parameters.mutable_warmup()->set_timeout_seconds(
            static_cast<std::uint64_t>(slot.settings->warmup_timeout.count()));
      }
      one.set_age_seconds(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::seconds>(now - slot.since).count()));
    }
    return all;
  });
}

StandbyFacts Standby::facts() const {
  return state_.with([](const State& state) {
    StandbyFacts facts{0, state.ready.size(), state.warming, state.hits, state.misses};
    for (const auto& one : state.wanted) facts.wanted += one->count;
    return facts;
  });
}

void Standby::run(const StopToken& stop) {
  while (!stop.stop_requested()) {
    state_.update([](State& state) { state.look = false; });
    end_all_due();
    drop_dead();
    const bool due = !retry_at_ || system_clock().now() >= *retry_at_;
    if (due && make_one(stop)) continue;
    Monotonic wake = system_clock().now() + kHealthPeriod;
    if (retry_at_ && *retry_at_ > system_clock().now()) wake = std::min(wake, *retry_at_);
    const bool idle = state_.with([](const State& state) {
      return state.wanted.empty() && state.ready.empty() && state.ending.empty();
    });
    const auto something = [](State& state) { return state.look; };
    // Nothing to look after: no reason to wake.
    if (idle) {
      state_.wait(stop, something, [](State&, bool) {});
    } else {
      state_.wait_until(stop, wake, something, [](State&, bool) {});
    }
  }
  State last = state_.with([](State& state) { return std::move(state); });
  for (std::list<Slot>* slots : {&last.ready, &last.ending}) {
    for (Slot& slot : *slots) end(slot);
  }
  for (auto& [task, slot] : last.assigned) end(slot);
}

void Standby::end(Slot& slot) {
  const Status destroyed = slot.slot.instance->destroy();
  if (!destroyed.ok()) {
    log_warning("standby instance not cleaned up",
                {{"name", slot.slot.name}, {"error", destroyed.error()}});
  }
  (void)os::remove_tree(slot.slot.run_directory);
  log_info("standby instance ended", {{"name", slot.slot.name}});
}

void Standby::end_all_due() {
  std::list<Slot> due;
  state_.with([&](State& state) {
    due.splice(due.end(), state.ending);
    for (const Slot& slot : due) add(state.in_work, slot.settings->resources);
  });
  end_all(std::move(due));
}

void Standby::end_all(std::list<Slot> due) {
  if (due.empty()) return;
  for (Slot& slot : due) end(slot);
  state_.update([](State& state) { state.in_work.clear(); });
  parts_.on_released();
}

void Standby::drop_dead() {
  std::list<Slot> dead;
  state_.with([&](State& state) {
    for (auto slot = state.ready.begin(); slot != state.ready.end();) {
      const auto next = std::next(slot);
      if (slot->slot.instance->wait_end(StopToken(), system_clock().now())) {
        add(state.in_work, slot->settings->resources);
        dead.splice(dead.end(), state.ready, slot);
      }
      slot = next;
    }
  });
  for (const Slot& slot : dead) {
    log_warning("standby instance ended by itself",
                {{"name", slot.slot.name}, {"what", slot.slot.instance->end_description()}});
  }
  end_all(std::move(dead));
}

std::shared_ptr<const StandbySettings> Standby::missing(const State& state) {
  for (const auto& wanted : state.wanted) {
    const auto have = std::count_if(state.ready.begin(), state.ready.end(), [&](const Slot& slot) {
      return same(*slot.settings, *wanted);
    });
    if (have < static_cast<std::ptrdiff_t>(wanted->count)) return wanted;
  }
  return nullptr;
}

bool Standby::make_one(const StopToken& stop) {
  bool single = false;
  // Booked first and asked about afterwards, so that a task that comes meanwhile sees it.
  const std::shared_ptr<const StandbySettings> wanted = state_.with([&](State& state) {
    auto found = missing(state);
    if (found) state.in_work = found->resources;
    single = state.single;
    return found;
  });
  if (!wanted) return false;
  const auto unbook = [this] {
    state_.update([](State& state) { state.in_work.clear(); });
    parts_.on_released();
  };
  if (!parts_.fits(booked(), single)) {
    unbook();
    state_.with([](State& state) { state.look = false; });
    return false;
  }
  state_.with([](State& state) { state.warming = 1; });
  Result<Slot> made = launch(wanted, stop);
  state_.with([](State& state) { state.warming = 0; });
  if (!made.ok()) {
    unbook();
    if (stop.stop_requested()) return false;
    const Duration pause = backoff_.next();
    retry_at_ = system_clock().now() + pause;
    log_warning("no standby instance",
                {{"what", kind_of(wanted->isolation)},
                 {"error", made.error()},
                 {"next-try-in-seconds", std::chrono::ceil<std::chrono::seconds>(pause).count()}});
    return false;
  }
  backoff_.reset();
  retry_at_.reset();
  state_.update([&](State& state) {
    state.in_work.clear();
    const bool still = std::any_of(state.wanted.begin(), state.wanted.end(),
                                   [&](const auto& known) { return same(*known, *wanted); });
    (still ? state.ready : state.ending).push_back(std::move(made).value());
    state.look = true;
  });
  parts_.on_released();  // a task may wait for it, or for its room
  return true;
}

Result<Standby::Slot> Standby::launch(std::shared_ptr<const StandbySettings> settings,
                                      const StopToken& stop) {
  Slot slot;
  slot.slot.name = "standby-" + random_hex(8);
  slot.slot.run_directory = parts_.run_directory / random_hex(5);
  slot.slot.task_cookie = random_hex(16);
  isolation::LaunchRequest request;
  request.task_id = slot.slot.name;
  request.spec = CIRRUS_TRY(parts_.allowed(settings->isolation));
  isolation::Isolation* const isolation = parts_.isolation_for(settings->isolation);
  if (isolation == nullptr) {
    return error(Code::Unimplemented, "this worker has no such isolation");
  }
  request.resources = settings->resources;
  if (parts_.softnet_allow) request.softnet_allow = parts_.softnet_allow();
  request.agent_program = parts_.agent_program;
  request.environment = parts_.agent_environment;
  request.task_cookie = slot.slot.task_cookie;
  request.guest_directory = slot.slot.run_directory / "guest";
  request.gateway_socket = request.guest_directory / "gateway.sock";
  request.scratch_directory = slot.slot.run_directory / "scratch";
  request.lock_file = slot.slot.run_directory / "agent.lock";
  request.agent_log = slot.slot.run_directory / "agent.log";
  request.notice = [name = slot.slot.name](std::string_view line) {
    log_info("standby", {{"name", name}, {"what", line}});
  };
  const auto launched = [&]() -> Status {
    CIRRUS_TRY(os::make_directories(slot.slot.run_directory, 0700));
    CIRRUS_TRY(os::make_directories(request.guest_directory, 0755));
    slot.slot.instance = CIRRUS_TRY(isolation->launch(request, stop));
    return warm_up(*slot.slot.instance, *settings, stop);
  }();
  if (!launched.ok()) {
    if (slot.slot.instance) (void)slot.slot.instance->destroy();
    (void)os::remove_tree(slot.slot.run_directory);
    return launched.error();
  }
  slot.since = system_clock().now();
  log_info("standby instance ready",
           {{"name", slot.slot.name}, {"what", kind_of(settings->isolation)}});
  slot.settings = std::move(settings);
  return slot;
}

Status Standby::warm_up(isolation::Instance& instance, const StandbySettings& settings,
                        const StopToken& stop) {
  if (settings.warmup_script.empty()) return {};
  StopSource ended;
  const StopCallback on_stop(stop, [&ended] { ended.request_stop(); });
  std::atomic<bool> timed_out{false};
  std::optional<Thread> clock;
  if (settings.warmup_timeout.count() > 0) {
    clock.emplace([&](const StopToken& done) {
      if (!wait_for(done, settings.warmup_timeout)) return;
      timed_out = true;
      ended.request_stop();
    });
  }
  Status warmed = instance.run_script(settings.warmup_script, ended.get_token());
  clock.reset();
  // Source: reference worker: it is used as it is.
  if (timed_out && !stop.stop_requested()) {
    log_warning("the warm-up took longer than its timeout; the instance is used as it is");
    return {};
  }
  return std::move(warmed).note("warming up");
}

}  // namespace cirrus::worker
