// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/stop.h"
#include "controller/core/state.h"
#include "controller/store/store.h"

namespace cirrus::controller::core {

/// The state loop: one thread around State, and one that writes the store.
///
///   edge ──post──► queue ──► State ──changes──► writer: Store::apply ──► effects (answers)
///                              └──hints──► answers at once
///
/// Posting is thread-safe and never blocks. Commands are applied in order, also while a transaction
/// is being written; all they changed meanwhile is the next transaction. Answers come from the
/// loop's thread: hints at once, all others when everything the loop had done by then is durable.
/// What only repeats itself when it is lost (State::touch_lightly) is not worth a transaction of
/// its own: it waits for the next one, at most kLinger. If a write fails, every answer that waits
/// is that failure, State is loaded anew from the store, and the core is *poisoned*: it shows what
/// is stored, refuses changes with the reason, tries again every second, and goes on when the
/// store can be written.
class Core {
 public:
  using Command = std::function<void(State& state, Moment moment)>;
  /// How long light changes may stay unwritten. Ours: a worker's list is repeated every second.
  static constexpr std::chrono::milliseconds kLinger{100};

  /// Loads the state. `store` must outlive the core. Errors: as Store.
  static Result<std::unique_ptr<Core>> start(store::Store& store, const Clock& clock,
                                             StateOptions options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Runs `command` on the loop. False after `stop`: it will not run, answer UNAVAILABLE yourself.
  [[nodiscard]] bool post(Command command);
  /// Posts and waits for the answer: for start-up, tests and threads that serve a single call,
  /// never from those of an edge that serve many.
  template <typename T>
  Result<T> ask(std::function<void(State&, Reply<T>, Moment)> question);

  /// Answers parked polls and whatever is queued, then ends the thread. Safe to call twice.
  void stop();
  /// Why work is refused; nullopt if all is well. Thread-safe.
  std::optional<std::string> poisoned() const;

  store::Store& store() { return store_; }
  const Clock& clock() const { return clock_; }

 private:
  Core(store::Store& store, const Clock& clock, StateOptions options);
  struct Queue {
    std::vector<Command> commands;
    std::optional<Status> written;  ///< how the transaction under way ended
    bool closed = false;
  };
  struct Order {
    std::optional<store::Changes> changes;  ///< to be written
  };
  void run(const StopToken& stop);
  void run_writer(const StopToken& stop);
  void apply(const std::vector<Command>& batch, Moment now);
  /// Lets go what may go, and starts the next transaction if one is due and none is under way.
  void advance(Moment now);
  void end_write(const Status& written, Moment now);
  /// Nothing that still waits for an answer happened.
  void fail(const Error& why, Moment now);
  /// Takes State from the store again.
  void reload(Moment now);
  Moment moment() const { return {clock_.now(), clock_.wall()}; }

  store::Store& store_;           // constant after construction
  const Clock& clock_;            // constant after construction
  StateOptions options_;          // constant after construction
  std::unique_ptr<State> state_;  // loop only, after start
  Guarded<Queue> queue_;
  Guarded<Order> order_;
  Guarded<std::optional<std::string>> poison_;
  std::vector<State::Effect> in_flight_;  // loop only; wait for the transaction under way
  bool writing_ = false;                  // loop only; a transaction is under way
  std::optional<Monotonic> light_since_;  // loop only; since when light changes are unwritten
  Monotonic next_try_{};                  // loop only; while poisoned
  bool stale_ = false;  // loop only; State holds what is not stored and could not be reloaded
  Thread writer_;
  Thread thread_;
};

template <typename T>
Result<T> Core::ask(std::function<void(State&, Reply<T>, Moment)> question) {
  auto slot = std::make_shared<Guarded<std::optional<Result<T>>>>();
  const bool taken = post([slot, question = std::move(question)](State& state, Moment now) {
    question(
        state,
        [slot](Result<T> result) {
          slot->update(
              [&](std::optional<Result<T>>& waiting) { waiting.emplace(std::move(result)); });
        },
        now);
  });
  if (!taken) return error(Code::Unavailable, "the controller is shutting down");
  return slot->wait(
      StopToken(), [](const auto& waiting) { return waiting.has_value(); },
      [](auto& waiting, bool) { return *std::move(waiting); });
}

}  // namespace cirrus::controller::core
