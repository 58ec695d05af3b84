// SPDX-License-Identifier: MIT
// A controller and a worker for one build, inside this process.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/result.h"
#include "cli/api_client.h"
#include "cli/worker_stack.h"
#include "controller/controller.h"

namespace cirrus::cli {

/// Everything lives below `scratch` and ends with this object. Listens on loopback only.
class LocalStack {
 public:
  /// `slots`: tasks at once. Serves when it returns. Errors: as Controller::start and
  /// WorkerStack::start.
  static Result<std::unique_ptr<LocalStack>> start(const std::filesystem::path& scratch, int slots);
  ~LocalStack();

  controller::Controller& controller() { return *controller_; }
  const ApiClient& api() const { return *api_; }
  /// Stops what runs. Safe from any thread.
  void cancel() { worker_->worker().cancel_all(); }

 private:
  LocalStack() = default;
  Status begin(const std::filesystem::path& scratch, int slots);

  std::unique_ptr<controller::Controller> controller_;
  std::unique_ptr<WorkerStack> worker_;
  std::optional<ApiClient> api_;
};

}  // namespace cirrus::cli
