// SPDX-License-Identifier: MIT
// A callback stream whose messages come from other threads, one after another.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include <grpcpp/support/status.h>

namespace cirrus::rpc {

/// The writing half of the stream `Self`, which derives from it and puts itself into the mailbox.
/// `Stream` is the library's reactor.
/// It owns itself from the call's start to OnDone; what others hold of it is its Mailbox, which
/// outlives it. Finish is called with the mailbox's lock held: the lock is not the reactor's, and
/// OnDone, which takes it first of all, cannot delete the reactor under its caller.
template <typename Self, typename Stream, typename Message>
class QueuedReactor : public Stream {
 public:
  struct Mailbox {
    std::mutex mutex;
    Self* reactor = nullptr;  // guarded by mutex; null once the stream is done

    /// Calls `body` with the reactor, if it is there still.
    template <typename Body>
    void use(Body&& body) {
      const std::lock_guard lock(mutex);
      if (reactor != nullptr) std::forward<Body>(body)(*reactor);
    }
  };
  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }

  // All of these with the mailbox's lock held.
  void send(Message message) {
    if (finished_) return;
    outbox_.push_back(std::move(message));
    write_next();
  }
  void finish(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    on_finish();
    this->Finish(status);
  }
  bool finished() const { return finished_; }
  std::size_t queued() const { return outbox_.size(); }

  void OnWriteDone(bool ok) final {
    const std::shared_ptr<Mailbox> box = mailbox_;  // Finish may end this object
    const std::lock_guard lock(box->mutex);
    writing_ = false;
    outbox_.pop_front();
    if (ok) return write_next();
    finish(grpc::Status::CANCELLED);
  }
  void OnCancel() final {
    const std::shared_ptr<Mailbox> box = mailbox_;
    const std::lock_guard lock(box->mutex);
    finish(grpc::Status::CANCELLED);
  }
  void OnDone() final {
    {
      const std::lock_guard lock(mailbox_->mutex);
      mailbox_->reactor = nullptr;
    }
    on_gone();
    delete this;
  }

 private:
  /// Before the stream ends; with the lock held.
  virtual void on_finish() {}
  /// The stream has ended and nobody has the reactor any more.
  virtual void on_gone() {}

  void write_next() {
    if (writing_ || finished_ || outbox_.empty()) return;
    writing_ = true;
    this->StartWrite(&outbox_.front());
  }

  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  // Guarded by the mailbox's mutex:
  std::deque<Message> outbox_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace cirrus::rpc
