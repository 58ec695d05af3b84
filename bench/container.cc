// SPDX-License-Identifier: MIT
// cold_p50, present_p50, warm_p50: from submitting a task with isolation `container` to its first
// output byte being durable in the controller and seen by a reader there: the image must be pulled
// from a registry on loopback, is there already, or a container of it stands by. run_p50: the
// engine's own command running the same echo, in the same run.
//
//   container [--full] [docker|podman]
//
// Needs root. A cold start is measured with Podman only: the throwaway Docker lives in a network of
// its own, where no registry is.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>

#include "base/clock.h"
#include "os/files.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

constexpr char kImage[] = "cirrus.test/busybox:1";

std::string config(const std::string& image) {
  return "task:\n  name: t\n  persistent_worker:\n    isolation:\n      container: {image: '" +
         image + "', cpu: 1, memory: 1G}\n  script: echo first\n";
}

double millis_since(Monotonic start) {
  return std::chrono::duration<double, std::milli>(system_clock().now() - start).count();
}

std::uint16_t free_port() {
  const os::Fd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return 0;
  (void)::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

Result<os::Process> spawn_logged(std::vector<std::string> argv, const std::filesystem::path& log) {
  const os::Fd output = CIRRUS_TRY(os::open_file(log, O_WRONLY | O_CREAT | O_APPEND));
  os::SpawnOptions options;
  options.argv = std::move(argv);
  options.descriptors = {{1, output.get()}, {2, output.get()}};
  options.kill_grace = std::chrono::seconds(20);
  return os::Process::spawn(options);
}

/// A throwaway engine that ends with this object.
class Engine {
 public:
  static Result<Engine> start(const std::string& kind) {
    os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("cirrus-bench-engine"));
    os::Process process = CIRRUS_TRY(
        spawn_logged({CIRRUS_SOURCE_DIR "/tests/engines/run_engine", kind, scratch.path().string()},
                     scratch.path() / "log-of-run"));
    const Monotonic deadline = system_clock().now() + std::chrono::seconds(30);
    while (!std::filesystem::exists(scratch.path() / "ready")) {
      if (process.try_wait() || system_clock().now() > deadline) {
        return error(Code::Unavailable, "no {}: {}", kind,
                     os::read_file(scratch.path() / "log-of-run").value_or(""));
      }
      (void)wait_for(StopToken(), std::chrono::milliseconds(20));
    }
    return Engine(kind, std::move(scratch), std::move(process));
  }

  std::string socket() const { return (scratch_.path() / "engine.sock").string(); }
  const std::filesystem::path& directory() const { return scratch_.path(); }

  Status call(const std::string& method, const std::string& path) const {
    net::HttpRequest request;
    request.method = method;
    request.url = "http://engine/v1.41" + path;
    request.unix_socket = socket();
    // Any words do for a registry that asks for none.
    request.headers = {{"X-Registry-Auth", "e30="}};
    const net::HttpResponse answer = CIRRUS_TRY(net::HttpClient().send(request));
    if (answer.status < 300 && answer.body.find("errorDetail") == std::string::npos) return {};
    return error(Code::Internal, "{} answered {}: {}", path, answer.status, answer.body);
  }

  /// The engine's own command, from its start to its end.
  Result<double> run_by_hand() const {
    os::SpawnOptions options;
    options.argv = kind_ == "docker"
                       ? std::vector<std::string>{"docker", "-H", "unix://" + socket(), "run"}
                       : std::vector<std::string>{"podman", "--url", "unix://" + socket(), "run"};
    for (const char* word : {"--rm", kImage, "/bin/echo", "first"}) options.argv.emplace_back(word);
    const Monotonic start = system_clock().now();
    const os::CommandOutput output = CIRRUS_TRY(
        os::run_command(options, "", StopToken(), system_clock().now() + std::chrono::seconds(30)));
    if (output.output.find("first") == std::string::npos) {
      return error(Code::Internal, "{} run: {}", kind_, output.errors);
    }
    return millis_since(start);
  }

 private:
  Engine(std::string kind, os::TempDir scratch, os::Process process)
      : kind_(std::move(kind)), scratch_(std::move(scratch)), process_(std::move(process)) {}
  std::string kind_;
  os::TempDir scratch_;
  os::Process process_;
};

Result<double> one(const Stack& stack, const std::string& image) {
  return stack.millis_to_first_line(config(image));
}

Status measure(const std::string& name, std::size_t count,
               const std::function<Result<double>()>& sample) {
  std::vector<double> samples;
  for (std::size_t i = 0; i < count + 1; ++i) {
    const double value = CIRRUS_TRY(sample().note("{}", name));
    if (i > 0) samples.push_back(value);  // the first warms everything up
  }
  print_figure(name, quantile(samples, 0.5), "ms", count);
  return {};
}

Status measure_cold(const Engine& engine, const Stack& stack, std::size_t count) {
  const std::string port = std::to_string(free_port());
  CIRRUS_TRY(os::write_file(engine.directory() / "registry.yml",
                            "version: 0.1\nhttp: {addr: '127.0.0.1:" + port +
                                "'}\nstorage: {filesystem: {rootdirectory: " +
                                (engine.directory() / "registry").string() + "}}\n"));
  const os::Process registry = CIRRUS_TRY(
      spawn_logged({"docker-registry", "serve", (engine.directory() / "registry.yml").string()},
                   engine.directory() / "registry.log"));
  (void)wait_for(StopToken(), std::chrono::seconds(1));
  const std::string name = "127.0.0.1:" + port + "/b";
  CIRRUS_TRY(engine.call(
      "POST", "/images/" + net::percent_encode(kImage) + "/tag?repo=" + name + "&tag=1"));
  CIRRUS_TRY(engine.call("POST", "/images/" + name + "/push?tag=1"));
  return measure("cold_p50", count, [&]() -> Result<double> {
    CIRRUS_TRY(engine.call("DELETE", "/images/" + name + ":1?force=1"));
    return one(stack, name + ":1");
  });
}

Status run(bool full, const std::string& kind) {
  const Engine engine = CIRRUS_TRY(Engine::start(kind));
  // For the worker, which inherits it.
  ::setenv("CIRRUS_CONTAINER_BACKEND", kind.c_str(), 1);
  ::setenv("DOCKER_HOST", ("unix://" + engine.socket()).c_str(), 1);
  ::setenv("CONTAINER_HOST", ("unix://" + engine.socket()).c_str(), 1);
  const std::size_t count = full ? 50 : 10;
  CIRRUS_TRY(measure("run_p50", count, [&] { return engine.run_by_hand(); }));
  {
    const Stack stack = CIRRUS_TRY(Stack::start("slot=16"));
    CIRRUS_TRY(measure("present_p50", count, [&] { return one(stack, kImage); }));
    if (kind == "podman") CIRRUS_TRY(measure_cold(engine, stack, count));
  }
  const Stack stack = CIRRUS_TRY(
      Stack::start("slot=16", "standby:\n  - isolation:\n      container: {image: '" +
                                  std::string(kImage) + "', cpu: 1, memory: 1G}\n    count: 2\n"));
  return measure("warm_p50", count, [&]() -> Result<double> {
    // Until the next ones stand by: this measures a hit.
    (void)wait_for(StopToken(), std::chrono::milliseconds(1500));
    return one(stack, kImage);
  });
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  bool full = false;
  std::string kind = "podman";
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--full") == 0) {
      full = true;
    } else {
      kind = argv[i];
    }
  }
  const cirrus::Status done = cirrus::bench::run(full, kind);
  return done.ok() ? 0 : cirrus::bench::give_up(done.error());
}
