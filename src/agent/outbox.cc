// SPDX-License-Identifier: MIT
#include "agent/outbox.h"

#include <algorithm>
#include <utility>

namespace cirrus::agent {

using gateway::v1::AgentMessage;
using gateway::v1::GatewayMessage;
using gateway::v1::LogPosition;

bool Outbox::Entry::acknowledged(const Outbox& outbox) const {
  if (is_event) return event.sequence() <= outbox.acknowledged_sequence_;
  const auto found = outbox.steps_.find(step);
  return found != outbox.steps_.end() && offset + data.size() <= found->second.acknowledged;
}

bool Outbox::wait_for_room(const StopToken& stop) {
  std::unique_lock lock(mutex_);
  return changed_.wait(lock, stop, [this] { return abandoned_ || unacknowledged_bytes_ < limit_; });
}

bool Outbox::is_full() const {
  const std::lock_guard lock(mutex_);
  return !abandoned_ && unacknowledged_bytes_ >= limit_;
}

void Outbox::append(const std::string& step, std::string_view bytes) {
  if (bytes.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_) return;
    StepLog& log = steps_[step];
    unacknowledged_bytes_ += bytes.size();
    while (!bytes.empty()) {
      const bool joins = cursor_ < entries_.size() && !entries_.back().is_event &&
                         entries_.back().step == step && entries_.back().data.size() < kMaxChunk;
      if (!joins) {
        Entry entry;
        entry.step = step;
        entry.offset = log.appended;
        entries_.push_back(std::move(entry));
      }
      Entry& last = entries_.back();
      const std::size_t part = std::min(bytes.size(), kMaxChunk - last.data.size());
      last.data.append(bytes.substr(0, part));
      log.appended += part;
      bytes.remove_prefix(part);
    }
  }
  changed_.notify_all();
}

std::uint64_t Outbox::offset(const std::string& step) const {
  const std::lock_guard lock(mutex_);
  const auto found = steps_.find(step);
  return found == steps_.end() ? 0 : found->second.appended;
}

void Outbox::begin_at(const std::string& step, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  steps_[step] = {.appended = offset, .acknowledged = offset};
}

void Outbox::post(AgentMessage::Event event) {
  {
    const std::lock_guard lock(mutex_);
    event.set_sequence(++last_sequence_);
    Entry entry;
    entry.is_event = true;
    entry.event = std::move(event);
    entries_.push_back(std::move(entry));
  }
  changed_.notify_all();
}

void Outbox::resume(const GatewayMessage::Welcome& welcome) {
  {
    const std::lock_guard lock(mutex_);
    for (const LogPosition& stored : welcome.stored()) {
      acknowledge_log_locked(stored.step(), stored.offset());
    }
    acknowledged_sequence_ =
        std::max(acknowledged_sequence_, std::min(welcome.acknowledged_sequence(), last_sequence_));
    cursor_ = 0;
    drop_acknowledged_locked();
  }
  changed_.notify_all();
}

bool Outbox::next(const StopToken& stop, AgentMessage& message) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!changed_.wait(lock, stop, [this] { return cursor_ < entries_.size(); })) return false;
    const Entry& entry = entries_[cursor_++];
    if (entry.acknowledged(*this)) continue;
    if (entry.is_event) {
      *message.mutable_event() = entry.event;
      return true;
    }
    // After a reconnect the gateway may hold the head of a chunk already.
    const auto found = steps_.find(entry.step);
    const std::uint64_t from = std::max(entry.offset, found->second.acknowledged);
    AgentMessage::Log* log = message.mutable_log();
    log->set_step(entry.step);
    log->set_offset(from);
    log->set_data(entry.data.data() + (from - entry.offset),
                  entry.data.size() - static_cast<std::size_t>(from - entry.offset));
    return true;
  }
}

void Outbox::acknowledge_log(const std::string& step, std::uint64_t offset) {
  {
    const std::lock_guard lock(mutex_);
    acknowledge_log_locked(step, offset);
    drop_acknowledged_locked();
  }
  changed_.notify_all();
}

void Outbox::acknowledge_events(std::uint64_t sequence) {
  {
    const std::lock_guard lock(mutex_);
    acknowledged_sequence_ = std::max(acknowledged_sequence_, std::min(sequence, last_sequence_));
    drop_acknowledged_locked();
  }
  changed_.notify_all();
}

void Outbox::abandon() {
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
  }
  changed_.notify_all();
}

bool Outbox::abandoned() const {
  const std::lock_guard lock(mutex_);
  return abandoned_;
}

bool Outbox::wait_until_empty(Monotonic deadline) {
  std::unique_lock lock(mutex_);
  (void)changed_.wait_until(lock, deadline, [this] { return abandoned_ || entries_.empty(); });
  return entries_.empty() && !abandoned_;
}

void Outbox::acknowledge_log_locked(const std::string& step, std::uint64_t offset) {
  const auto found = steps_.find(step);
  if (found == steps_.end()) return;
  StepLog& log = found->second;
  // A gateway that claims more than there is gets no credit for it.
  const std::uint64_t reached = std::min(offset, log.appended);
  if (reached <= log.acknowledged) return;
  unacknowledged_bytes_ -= static_cast<std::size_t>(reached - log.acknowledged);
  log.acknowledged = reached;
}

void Outbox::drop_acknowledged_locked() {
  // Only what was sent can go: the chunk at the cursor may still be growing.
  while (!entries_.empty() && entries_.front().acknowledged(*this)) {
    entries_.pop_front();
    if (cursor_ > 0) --cursor_;
  }
}

}  // namespace cirrus::agent
