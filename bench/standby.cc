// SPDX-License-Identifier: MIT
// hit_p50, miss_p50, none_p50: from submitting a task to its first output line being durable in the
// controller and seen by a reader there: a VM stands by for it, a VM has to be made and booted for
// it, or it runs without isolation. The VM is the stand-in of the end-to-end tests: a real SSH
// server in namespaces of its own, so booting costs next to nothing and a miss is a lower bound.
//
//   standby [--full]
//
// Needs root, for the namespaces.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/clock.h"
#include "os/files.h"
#include "os/temp_dir.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

int free_port() {
  const os::Fd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return 0;
  (void)::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

std::string isolation(int port, const std::string& indent) {
  return indent + "vetu:\n" + indent + "  image: guest-" + std::to_string(port) + "\n" + indent +
         "  user: admin\n" + indent + "  password: admin\n" + indent +
         "  port: " + std::to_string(port) + "\n";
}

std::string config(const std::string& isolation) {
  return "task:\n  name: t\n  persistent_worker:\n    isolation:\n" + isolation +
         "  script: echo first\n";
}

/// Waits until as many instances have come to stand by as this says.
Status wait_for_standby(const Stack& stack, std::size_t count) {
  const Monotonic deadline = system_clock().now() + std::chrono::seconds(30);
  for (;;) {
    const std::string log = CIRRUS_TRY(os::read_file(stack.scratch() / "worker.log"));
    std::size_t ready = 0;
    for (std::size_t at = log.find("standby instance ready"); at != std::string::npos;
         at = log.find("standby instance ready", at + 1)) {
      ++ready;
    }
    if (ready >= count) return {};
    if (system_clock().now() > deadline) return error(Code::DeadlineExceeded, "no VM stands by");
    (void)wait_for(StopToken(), std::chrono::milliseconds(20));
  }
}

Status measure(const std::string& name, std::size_t count,
               const std::function<Result<double>(std::size_t)>& sample) {
  std::vector<double> samples;
  for (std::size_t i = 0; i < count + 1; ++i) {
    const double value = CIRRUS_TRY(sample(i).note("{}", name));
    if (i > 0) samples.push_back(value);  // the first warms everything up
  }
  print_figure(name, quantile(samples, 0.5), "ms", count);
  return {};
}

Status run(bool full) {
  if (::geteuid() != 0) return error(Code::PermissionDenied, "the stand-in VMs need root");
  const os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("bench-standby"));
  const std::filesystem::path stand_in =
      std::filesystem::path(CIRRUS_SOURCE_DIR) / "tests/e2e/vm/stand_in.py";
  std::filesystem::create_symlink(stand_in, scratch.path() / "vetu");
  // For the worker, which inherits it.
  const char* path = std::getenv("PATH");
  ::setenv("PATH",
           (scratch.path().string() + ":" + (path == nullptr ? "" : path) + ":/usr/sbin").c_str(),
           1);
  ::setenv("CIRRUS_VM_HOME", (scratch.path() / "vms").c_str(), 1);
  const std::size_t count = full ? 40 : 8;
  const int port = free_port();
  {
    const Stack stack = CIRRUS_TRY(Stack::start("slot=1"));
    CIRRUS_TRY(measure("none_p50", count, [&](std::size_t) {
      return stack.millis_to_first_line(config("      none: {}\n"));
    }));
    CIRRUS_TRY(measure("miss_p50", count, [&](std::size_t) {
      return stack.millis_to_first_line(config(isolation(port, "      ")));
    }));
  }
  const Stack stack =
      CIRRUS_TRY(Stack::start("slot=1", "standby:\n  isolation:\n" + isolation(port, "    ")));
  return measure("hit_p50", count, [&](std::size_t i) -> Result<double> {
    CIRRUS_TRY(wait_for_standby(stack, i + 1));
    return stack.millis_to_first_line(config(isolation(port, "      ")));
  });
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  const cirrus::Status done = cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
  return done.ok() ? 0 : cirrus::bench::give_up(done.error());
}
