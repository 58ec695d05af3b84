// SPDX-License-Identifier: MIT
#include "controller/core/core.h"

#include "base/log.h"

namespace cirrus::controller::core {

Core::Core(store::Store& store, const Clock& clock, StateOptions options)
    : store_(store), clock_(clock), options_(std::move(options)) {}

Result<std::unique_ptr<Core>> Core::start(store::Store& store, const Clock& clock,
                                          StateOptions options) {
  std::unique_ptr<Core> core(new Core(store, clock, std::move(options)));
  core->state_ = std::make_unique<State>(core->options_, CIRRUS_TRY(store.load()), core->moment());
  // What loading itself decided (the session key of a new store) must be durable before anybody
  // can see it.
  const store::Changes changes = core->state_->take_changes();
  if (!changes.empty()) CIRRUS_TRY(store.apply(changes));
  for (const State::Effect& effect : core->state_->take_effects()) effect(nullptr);
  Core* const self = core.get();
  core->thread_ = Thread([self](const StopToken& stop) { self->run(stop); });
  return core;
}

Core::~Core() {
  stop();
}

bool Core::post(Command command) {
  return queue_.update([&](Queue& queue) {
    if (queue.closed) return false;
    queue.commands.push_back(std::move(command));
    return true;
  });
}

void Core::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  queue_.notify_all();
  thread_.join();
}

std::optional<std::string> Core::poisoned() const {
  return poison_.with([](const auto& reason) { return reason; });
}

void Core::run(const StopToken& stop) {
  while (!stop.stop_requested()) {
    const Monotonic wake = moment().now + state_->next_wake(moment());
    std::vector<Command> batch = queue_.wait_until(
        stop, wake, [](const Queue& queue) { return !queue.commands.empty(); },
        [](Queue& queue, bool) { return std::exchange(queue.commands, {}); });
    run_batch(std::move(batch));
  }
  // What was posted before the end is answered; then nothing is taken any more.
  std::vector<Command> last = queue_.with([](Queue& queue) {
    queue.closed = true;
    return std::exchange(queue.commands, {});
  });
  last.push_back([](State& state, Moment now) { state.release_polls(now); });
  run_batch(std::move(last));
}

void Core::run_batch(std::vector<Command> batch) {
  const Moment now = moment();
  if (stale_) reload(now);
  for (const Command& command : batch) command(*state_, now);
  state_->settle(now);

  store::Changes changes = state_->take_changes();
  const std::vector<State::Effect> effects = state_->take_effects();
  const std::optional<Error> failure = commit(std::move(changes), now);
  if (!failure && !stale_) {
    for (const State::Effect& effect : effects) effect(nullptr);
    return;
  }
  // Nothing of this batch happened: its answers say so, and State goes back to what is stored.
  const Error why = failure ? *failure : Error(Code::Unavailable, *poisoned());
  const std::vector<State::Effect> abandoned = state_->abandon();
  for (const State::Effect& effect : effects) effect(&why);
  for (const State::Effect& effect : abandoned) effect(&why);
  reload(now);
}

std::optional<Error> Core::commit(store::Changes changes, Moment now) {
  const std::optional<std::string> poison = poisoned();
  if (!poison && changes.empty()) return std::nullopt;
  if (poison && now.now < next_try_) {
    if (changes.empty()) return std::nullopt;
    return Error(Code::Unavailable, *poison);
  }
  // While poisoned, every write is also the question whether it can be written again.
  if (changes.empty()) changes.settings.emplace_back("last-recovery", std::to_string(now.millis()));
  const Status written = store_.apply(changes);
  if (written.ok()) {
    if (poison) {
      poison_.with([](auto& reason) { reason.reset(); });
      log_info("store can be written again");
    }
    return std::nullopt;
  }
  next_try_ = now.now + std::chrono::seconds(1);
  Error why(Code::Unavailable,
            fmt::format("the controller cannot write its store ({}): free space or mend the disk, "
                        "it goes on by itself",
                        written.error().to_string()));
  if (!poison) log_error("store cannot be written", {{"error", written.error()}});
  poison_.with([&](auto& reason) { reason = why.message(); });
  return why;
}

void Core::reload(Moment now) {
  Result<store::Loaded> loaded = store_.load();
  stale_ = !loaded.ok();
  // As after a restart: workers show up again with their next poll.
  if (loaded.ok()) state_ = std::make_unique<State>(options_, std::move(loaded).value(), now);
}

}  // namespace cirrus::controller::core
