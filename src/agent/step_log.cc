// SPDX-License-Identifier: MIT
#include "agent/step_log.h"

#include <utility>

namespace cirrus::agent {

StepLog::StepLog(std::string step, Outbox& outbox,
                 std::shared_ptr<const model::PatternSet> patterns,
                 std::unique_ptr<TimeStamps> stamps)
    : step_(std::move(step)),
      outbox_(outbox),
      masker_(std::move(patterns)),
      stamps_(std::move(stamps)) {}

void StepLog::write(std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (observer_) observer_(bytes);
  masker_.feed(bytes, masked_);
  pass_on_locked();
}

void StepLog::observe(std::function<void(std::string_view)> observer) {
  const std::lock_guard lock(mutex_);
  observer_ = std::move(observer);
}

void StepLog::flush() {
  const std::lock_guard lock(mutex_);
  masker_.finish(masked_);
  pass_on_locked();
}

void StepLog::replace_patterns(std::shared_ptr<const model::PatternSet> patterns) {
  const std::lock_guard lock(mutex_);
  masker_.replace_patterns(std::move(patterns), masked_);
  pass_on_locked();
}

gateway::v1::LogPosition StepLog::position() const {
  gateway::v1::LogPosition position;
  position.set_step(step_);
  position.set_offset(outbox_.offset(step_));
  return position;
}

// The outbox has a lock of its own below this one; it calls nobody.
void StepLog::pass_on_locked() {
  if (masked_.empty()) return;
  outbox_.append(step_, stamps_ ? stamps_->apply(masked_) : masked_);
  masked_.clear();
}

}  // namespace cirrus::agent
