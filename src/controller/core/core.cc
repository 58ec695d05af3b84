// SPDX-License-Identifier: MIT
#include "controller/core/core.h"

#include "base/log.h"

namespace cirrus::controller::core {

Core::Core(store::Store& store, const Clock& clock, StateOptions options)
    : store_(store), clock_(clock), options_(std::move(options)) {
  if (options_.find_task) return;
  options_.find_task = [&store](model::TaskId id) { return store.read_task(id); };
}

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
  core->writer_ = Thread([self](const StopToken& stop) { self->run_writer(stop); });
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
  writer_.request_stop();
  order_.notify_all();
  writer_.join();
}

std::optional<std::string> Core::poisoned() const {
  return poison_.with([](const auto& reason) { return reason; });
}

void Core::run_writer(const StopToken& stop) {
  while (true) {
    std::optional<store::Changes> changes = order_.wait(
        stop, [](const Order& order) { return order.changes.has_value(); },
        [](Order& order, bool) { return std::exchange(order.changes, std::nullopt); });
    if (!changes) return;  // stopped, and nothing was ordered
    Status written = store_.apply(*changes);
    queue_.update([&](Queue& queue) { queue.written.emplace(std::move(written)); });
  }
}

void Core::run(const StopToken& stop) {
  std::optional<Status> written;
  const auto take = [&written](Queue& queue) {
    written = std::exchange(queue.written, std::nullopt);
    return std::exchange(queue.commands, {});
  };
  while (!stop.stop_requested()) {
    Monotonic wake = moment().now + state_->next_wake(moment());
    if (light_since_ && !writing_) wake = std::min(wake, *light_since_ + kLinger);
    if (poisoned() && next_try_ > moment().now) wake = std::min(wake, next_try_);
    const std::vector<Command> batch = queue_.wait_until(
        stop, wake,
        [](const Queue& queue) { return !queue.commands.empty() || queue.written.has_value(); },
        [&](Queue& queue, bool) { return take(queue); });
    const Moment now = moment();
    if (written) end_write(*std::exchange(written, std::nullopt), now);
    apply(batch, now);
    advance(now);
  }
  // What was posted before the end is answered; then nothing is taken any more.
  std::vector<Command> last = queue_.with([&](Queue& queue) {
    queue.closed = true;
    return take(queue);
  });
  last.push_back([](State& state, Moment now) { state.release_polls(now); });
  if (written) end_write(*std::exchange(written, std::nullopt), moment());
  apply(last, moment());
  do {
    light_since_ = Monotonic{};  // nothing may linger any more
    advance(moment());
    if (!writing_) break;
    const Status done = queue_.wait(
        StopToken(), [](const Queue& queue) { return queue.written.has_value(); },
        [](Queue& queue, bool) { return *std::exchange(queue.written, std::nullopt); });
    end_write(done, moment());
  } while (true);
}

void Core::apply(const std::vector<Command>& batch, Moment now) {
  if (stale_) reload(now);
  for (const Command& command : batch) command(*state_, now);
  state_->settle(now);
  for (const State::Effect& hint : state_->take_hints()) hint(nullptr);
}

void Core::advance(Moment now) {
  if (writing_) return;  // what waits is looked at again when it has ended
  const std::optional<std::string> poison = poisoned();
  if (stale_)
    return fail(Error(Code::Unavailable, poison.value_or("the store cannot be read")), now);
  const bool light = state_->has_light_changes();
  const bool lingers =
      !state_->has_heavy_changes() && light_since_ && now.now < *light_since_ + kLinger;
  const bool idle = !state_->has_heavy_changes() && (!light || !light_since_ || lingers);
  if (idle && (!poison || now.now < next_try_)) {
    if (light && !light_since_) light_since_ = now.now;
    for (const State::Effect& effect : state_->take_effects()) effect(nullptr);
    return;
  }
  if (poison && now.now < next_try_) return fail(Error(Code::Unavailable, *poison), now);
  store::Changes changes = state_->take_changes();
  light_since_.reset();
  in_flight_ = state_->take_effects();
  // While poisoned, every write is also the question whether it can be written again.
  if (changes.empty()) changes.settings.emplace_back("last-recovery", std::to_string(now.millis()));
  writing_ = true;
  order_.update([&](Order& order) { order.changes.emplace(std::move(changes)); });
}

void Core::end_write(const Status& written, Moment now) {
  writing_ = false;
  const std::vector<State::Effect> effects = std::exchange(in_flight_, {});
  if (written.ok()) {
    if (poisoned()) {
      poison_.with([](auto& reason) { reason.reset(); });
      log_info("store can be written again");
    }
    for (const State::Effect& effect : effects) effect(nullptr);
    return;
  }
  next_try_ = now.now + std::chrono::seconds(1);
  const Error why(Code::Unavailable,
                  fmt::format("the controller cannot write its store ({}): free space or mend the "
                              "disk, it goes on by itself",
                              written.error().to_string()));
  if (!poisoned()) log_error("store cannot be written", {{"error", written.error()}});
  poison_.with([&](auto& reason) { reason = why.message(); });
  for (const State::Effect& effect : effects) effect(&why);
  fail(why, now);
}

void Core::fail(const Error& why, Moment now) {
  for (const State::Effect& effect : state_->abandon()) effect(&why);
  light_since_.reset();
  reload(now);
}

void Core::reload(Moment now) {
  Result<store::Loaded> loaded = store_.load();
  stale_ = !loaded.ok();
  // As after a restart: workers show up again with their next poll.
  if (loaded.ok()) state_ = std::make_unique<State>(options_, std::move(loaded).value(), now);
}

}  // namespace cirrus::controller::core
