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

/// The state loop: one thread around State and the write side of the store.
///
///   edge ──post──► queue ──batch──► State ──changes──► Store::apply ──► effects (answers)
///
/// Posting is thread-safe and never blocks. Commands are applied in order; all that arrived while
/// a transaction was committed form the next batch. Answers come from the loop's thread, after the
/// commit; if the commit fails they are that failure, State is loaded anew from the store, and the
/// core is *poisoned*: it shows what is stored, refuses changes with the reason, tries again every
/// second, and goes on when the store can be written.
class Core {
 public:
  using Command = std::function<void(State& state, Moment moment)>;

  /// Loads the state. `store` must outlive the core. Errors: as Store.
  static Result<std::unique_ptr<Core>> start(store::Store& store, const Clock& clock,
                                             StateOptions options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Runs `command` on the loop. False after `stop`: it will not run, answer UNAVAILABLE yourself.
  [[nodiscard]] bool post(Command command);
  /// Posts and waits for the answer: for start-up and tests, never from an edge's threads.
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
    bool closed = false;
  };
  void run(const StopToken& stop);
  void run_batch(std::vector<Command> batch);
  /// Why nothing was written; nullopt if all of it is durable (or there was nothing).
  std::optional<Error> commit(store::Changes changes, Moment now);
  /// Takes State from the store again.
  void reload(Moment now);
  Moment moment() const { return {clock_.now(), clock_.wall()}; }

  store::Store& store_;           // constant after construction
  const Clock& clock_;            // constant after construction
  const StateOptions options_;    // constant after construction
  std::unique_ptr<State> state_;  // loop only, after start
  Guarded<Queue> queue_;
  Guarded<std::optional<std::string>> poison_;
  Monotonic next_try_{};  // loop only; while poisoned
  bool stale_ = false;    // loop only; State holds what is not stored and could not be reloaded
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
