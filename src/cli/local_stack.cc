// SPDX-License-Identifier: MIT
#include "cli/local_stack.h"

#include "cli/environment.h"
#include "cli/local_tasks.h"
#include "os/files.h"
#include "os/host.h"

namespace cirrus::cli {

namespace {
// Unpacked once for all runs of this user; where that cannot be, once for this one.
std::filesystem::path agents_directory(const std::filesystem::path& scratch) {
  const std::filesystem::path shared = os::default_state_directory() / "agents";
  return os::make_directories(shared, 0755).ok() ? shared : scratch / "agents";
}
}  // namespace

Result<std::unique_ptr<LocalStack>> LocalStack::start(const std::filesystem::path& scratch,
                                                      int slots) {
  std::unique_ptr<LocalStack> stack(new LocalStack());
  CIRRUS_TRY(stack->begin(scratch, slots));
  return stack;
}

Status LocalStack::begin(const std::filesystem::path& scratch, int slots) {
  controller::ControllerOptions options;
  options.data_dir = scratch / "controller";
  options.rpc_address = "127.0.0.1:0";
  options.http_address = "127.0.0.1:0";
  options.in_memory = true;
  controller_ = CIRRUS_TRY(controller::Controller::start(options, system_clock()));
  api_ = CIRRUS_TRY(ApiClient::create(
      ApiFlags{controller_->http_url(), controller_->admin_token_file().string()}));
  worker::Flags flags;
  flags.name = "local";
  flags.token = CIRRUS_TRY(read_secret_file(controller_->registration_token_file().string()));
  flags.endpoint = controller_->rpc_endpoint();
  flags.resources[kLocalSlot] = slots;
  worker::Settings settings = CIRRUS_TRY(worker::make_settings(flags, "", "", "local"));
  settings.git_mirror_without_isolation = false;  // a mirror would go with the run
  worker_ = CIRRUS_TRY(
      WorkerStack::start(std::move(settings), scratch / "worker", agents_directory(scratch)));
  return {};
}

LocalStack::~LocalStack() {
  if (worker_) {
    worker_->worker().cancel_all();
    (void)worker_->worker().wait();
  }
  worker_.reset();
  if (controller_) controller_->request_stop();
}

}  // namespace cirrus::cli
