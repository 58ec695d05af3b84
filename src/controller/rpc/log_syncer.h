// SPDX-License-Identifier: MIT
// Log bytes on the disk before what they lead to is believed.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "base/work_pool.h"
#include "controller/blobs/log_store.h"
#include "controller/core/core.h"

namespace cirrus::controller::rpc {

/// Which logs a report comes after.
struct ReportedLogs {
  core::TaskCredential task;
  /// By step: how many bytes the sender believes to be stored here. A report from a peer that does
  /// not count bytes has 0 for the steps it ends.
  std::map<std::string, std::uint64_t> steps;
  /// What has to be on the disk before the report is believed: nothing if it ends nothing, the logs
  /// of `steps`, or, where nothing of the task comes after it, those of all steps.
  enum class Wait { ForNothing, ForSteps, ForAll } wait = Wait::ForNothing;

  /// What a call's metadata says, and nothing else.
  static ReportedLogs of(const grpc::CallbackServerContext& context);
};

/// Threads of its own for what waits for the disk, so that nothing else waits behind it.
/// Thread-safe. Its arguments must outlive it; the server must have ended its calls before.
class LogSyncer {
 public:
  LogSyncer(core::Core& core, blobs::LogStore& logs);

  /// Calls `then`, on any thread, once these logs survive a power cut. Otherwise ends the call:
  /// UNAVAILABLE if the disk does not take them, DATA_LOSS if bytes are missing (the machine lost
  /// its power after they were acknowledged), unless the task has ended. Whoever reports keeps the
  /// report, and after DATA_LOSS sends the bytes again before it.
  void after_sync(ReportedLogs logs, grpc::ServerUnaryReactor* reactor, std::function<void()> then);
  /// False: too much waits already, or it is ending.
  [[nodiscard]] bool run(std::function<void()> job);

 private:
  void unless_counted(const ReportedLogs& logs, const std::string& step,
                      grpc::ServerUnaryReactor* reactor, const std::function<void()>& then);

  core::Core& core_;       // constant after construction
  blobs::LogStore& logs_;  // constant after construction
  WorkPool pool_;
};

}  // namespace cirrus::controller::rpc
