// SPDX-License-Identifier: MIT
// polls, bytes_per_poll, cpu: idle workers of ours, each with a held poll, against one controller.
// The clients live in child processes (this program again, with `client`).
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include "base/log.h"
#include "base/strings.h"
#include "cirrus_workers.grpc.pb.h"
#include "controller/controller.h"
#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"

using namespace cirrus;  // NOLINT(google-build-using-namespace): a program of one file
namespace api = org::cirruslabs::ci::services::cirruscigrpc;

namespace {
/// One worker: polls again as soon as it is answered.
class Poller {
 public:
  Poller(std::shared_ptr<grpc::Channel> channel, std::string token, std::string name,
         std::atomic<int>& answered)
      : stub_(api::CirrusWorkersService::NewStub(std::move(channel))),
        token_(std::move(token)),
        name_(std::move(name)),
        answered_(answered) {
    (*request_.mutable_worker_info()->mutable_labels())["name"] = name_;
  }
  void poll() {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->AddMetadata("registration-token", token_);
    context_->AddMetadata("session-token", "");
    context_->AddMetadata("worker-name", name_);
    context_->AddMetadata("cirrus-features", "hold");
    stub_->async()->Poll(context_.get(), &request_, &response_, [this](const grpc::Status& status) {
      if (!status.ok()) return;
      ++answered_;
      poll();
    });
  }

 private:
  const std::unique_ptr<api::CirrusWorkersService::Stub> stub_;
  const std::string token_;
  const std::string name_;
  std::atomic<int>& answered_;
  std::unique_ptr<grpc::ClientContext> context_;
  api::PollRequest request_;
  api::PollResponse response_;
};

/// `client ENDPOINT TOKEN FIRST COUNT`: polls until standard input ends.
int run_client(char** arguments) {
  std::atomic<int> answered{0};
  std::vector<std::unique_ptr<Poller>> pollers;
  const int first = std::atoi(arguments[2]);
  for (int i = first; i < first + std::atoi(arguments[3]); ++i) {
    grpc::ChannelArguments options;
    options.SetInt("grpc.use_local_subchannel_pool", 1);  // a connection each
    options.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    pollers.push_back(std::make_unique<Poller>(
        grpc::CreateCustomChannel(arguments[0], grpc::InsecureChannelCredentials(), options),
        arguments[1], fmt::format("w{}", i), answered));
    pollers.back()->poll();
  }
  char byte = 0;
  while (::read(0, &byte, 1) > 0) {
  }
  std::_Exit(0);
}

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0;
  std::int64_t resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int connected_workers(controller::Controller& controller) {
  // One file per connection, as seen from the listener's side: cheap, and no API in between.
  int count = 0;
  static_cast<void>(controller);
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}
}  // namespace

int main(int argc, char** argv) {
  if (argc == 6 && std::string(argv[1]) == "client") return run_client(argv + 2);
  const bool full = argc > 1 && std::string(argv[1]) == "--full";
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  int wanted = full ? 10'000 : 2'000;
  wanted = std::min<int>(wanted, static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20)) - 300);

  set_log_level(LogLevel::Error);
  os::TempDir directory = os::TempDir::create("bench-poll-idle").value();
  controller::ControllerOptions options;
  options.data_dir = directory.path();
  options.rpc_address = "127.0.0.1:0";
  options.http_address = "127.0.0.1:0";
  auto controller = controller::Controller::start(options, system_clock()).value();
  const std::string token(trim(os::read_file(controller->registration_token_file()).value()));
  const int fds_before = connected_workers(*controller);
  const std::int64_t memory_before = resident_bytes();

  const StopSource never;
  std::vector<os::Process> clients;
  std::vector<os::Pipe> pipes;
  constexpr int kPerClient = 2500;
  for (int first = 0; first < wanted; first += kPerClient) {
    pipes.push_back(os::make_pipe().value());
    os::SpawnOptions spawn;
    spawn.argv = {"/proc/self/exe",
                  "client",
                  controller->rpc_endpoint().substr(7),
                  token,
                  std::to_string(first),
                  std::to_string(std::min(kPerClient, wanted - first))};
    spawn.argv[0] = std::filesystem::read_symlink("/proc/self/exe").string();
    spawn.descriptors = {{0, pipes.back().read_end.get()}, {2, 2}};
    clients.push_back(os::Process::spawn(spawn).value());
  }
  const Monotonic deadline = system_clock().now() + std::chrono::seconds(full ? 120 : 30);
  while (connected_workers(*controller) - fds_before < wanted && system_clock().now() < deadline) {
    wait_for(never.get_token(), std::chrono::milliseconds(200));
  }
  wait_for(never.get_token(), std::chrono::seconds(3));
  const int held = connected_workers(*controller) - fds_before;
  const double cpu_before = cpu_seconds();
  const Monotonic from = system_clock().now();
  wait_for(never.get_token(), std::chrono::seconds(full ? 30 : 10));
  const double cores = (cpu_seconds() - cpu_before) /
                       std::chrono::duration<double>(system_clock().now() - from).count();
  const auto per_poll = held > 0 ? (resident_bytes() - memory_before) / held : 0;
  fmt::print("{{\"name\":\"polls\",\"value\":{},\"unit\":\"n\",\"n\":{}}}\n", held, held);
  fmt::print("{{\"name\":\"bytes_per_poll\",\"value\":{},\"unit\":\"B\",\"n\":{}}}\n", per_poll,
             held);
  fmt::print("{{\"name\":\"cpu\",\"value\":{:.3f},\"unit\":\"cores\",\"n\":{}}}\n", cores, held);
  std::fflush(stdout);
  pipes.clear();
  clients.clear();
  return 0;
}
