// SPDX-License-Identifier: MIT
// Session: one upstream and the session token that is good there now.
#pragma once

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
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    token_ = Secret();
  }

 private:
  std::unique_ptr<rpc::Upstream> upstream_;
  mutable std::mutex mutex_;
  Secret token_;          // guarded by mutex_
  rpc::Features server_;  // guarded by mutex_
};

}  // namespace cirrus::worker
