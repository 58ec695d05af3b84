// SPDX-License-Identifier: MIT
// Session: one upstream and the session token that is good there now.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "base/secret.h"
#include "rpc/upstream.h"

namespace cirrus::worker {

/// Shared by the poll loop, which renews the token, and the tasks, which report with it.
/// Thread-safe.
class Session {
 public:
  explicit Session(std::unique_ptr<rpc::Upstream> upstream) : upstream_(std::move(upstream)) {}
  rpc::Upstream& upstream() { return *upstream_; }
  const std::string& endpoint() const { return upstream_->endpoint(); }

  Secret token() const {
    const std::lock_guard lock(mutex_);
    return token_;
  }
  rpc::Features server() const {
    const std::lock_guard lock(mutex_);
    return server_;
  }
  void renew(Secret token, rpc::Features server) {
    const std::lock_guard lock(mutex_);
    token_ = std::move(token);
    server_ = std::move(server);
    ++generation_;
    doubted_ = false;
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    token_ = Secret();
  }
  /// Grows with every registration.
  std::uint64_t generation() const {
    const std::lock_guard lock(mutex_);
    return generation_;
  }
  /// A report was refused for its session: the poll loop is to register again, now.
  void doubt() {
    const std::lock_guard lock(mutex_);
    doubted_ = true;
    // Under the lock, so that a loop which takes its callback back is not called any more. The
    // loop's own lock comes after this one.
    if (on_doubt_) on_doubt_();
  }
  void on_doubt(std::function<void()> call) {
    const std::lock_guard lock(mutex_);
    on_doubt_ = std::move(call);
  }
  bool doubted() const {
    const std::lock_guard lock(mutex_);
    return doubted_;
  }

 private:
  std::unique_ptr<rpc::Upstream> upstream_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  Secret token_;
  rpc::Features server_;
  std::uint64_t generation_ = 0;
  bool doubted_ = false;
  std::function<void()> on_doubt_;
};

}  // namespace cirrus::worker
