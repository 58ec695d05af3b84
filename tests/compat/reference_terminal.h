// SPDX-License-Identifier: MIT
// The terminals of the program that stands in for a reference CLI binary as agent.
// Source: protocol §11, agent specification §20.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "cirrus_terminal.grpc.pb.h"

namespace cirrus::reference {

/// Offers a terminal from its making to its end: connects, and again after five seconds, for ever.
class Terminal {
 public:
  struct Reports {
    /// Both false: the server would not hear it, and the connection is given up.
    std::function<bool(const std::string& locator, const std::string& secret)> attached;
    std::function<bool()> started;
  };
  /// `address` as the instruction has it, cleartext only.
  Terminal(const std::string& address, Reports reports);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  bool was_connected() const { return connected_; }
  /// How often somebody typed or changed a window.
  int activity() const { return activity_; }

 private:
  void offer();
  void connect();
  void serve(const std::string& locator, const HostControlResponse::DataChannelRequest& order);

  const std::unique_ptr<HostService::Stub> stub_;
  const Reports reports_;
  const std::string secret_;
  std::atomic<bool> connected_ = false;
  std::atomic<int> activity_ = 0;
  std::atomic<bool> over_ = false;
  std::mutex mutex_;
  std::list<grpc::ClientContext*> calls_;  // guarded by mutex_: what the end has to cancel
  std::list<std::thread> shells_;          // of the offering thread
  std::thread offering_;
};

}  // namespace cirrus::reference
