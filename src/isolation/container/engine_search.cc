// SPDX-License-Identifier: MIT
#include "isolation/container/engine_search.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "isolation/container/engine_api.h"
#include "os/files.h"

namespace cirrus::isolation {

namespace {

constexpr std::string_view kUnixScheme = "unix://";
constexpr auto kServiceStart = std::chrono::seconds(20);

std::string variable(const os::Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

std::string without_scheme(const std::string& address) {
  return address.starts_with(kUnixScheme) ? address.substr(kUnixScheme.size()) : address;
}

/// An address on another host, as a sentence; empty if it is none.
Status check_local(const char* name, const std::string& address) {
  if (address.empty() || address.starts_with(kUnixScheme) || address.starts_with('/')) return {};
  return error(Code::FailedPrecondition,
               "{} is '{}': containers there cannot reach this worker's socket; use an engine of "
               "this machine (unix://...), or run the worker on that machine",
               name, address);
}

std::string own_kernel() {
  utsname names{};
  return ::uname(&names) == 0 ? names.release : "";
}

}  // namespace

std::optional<EngineChoice::Kind> engine_kind(std::string_view name) {
  if (name.empty() || name == "auto") return EngineChoice::Kind::Auto;
  if (name == "docker") return EngineChoice::Kind::Docker;
  if (name == "podman") return EngineChoice::Kind::Podman;
  return std::nullopt;
}

std::vector<std::string> docker_sockets(const os::Environment& environment) {
  const std::string named = variable(environment, "DOCKER_HOST");
  if (!named.empty()) return {without_scheme(named)};
  std::vector<std::string> sockets = {"/var/run/docker.sock"};
  const std::string runtime = variable(environment, "XDG_RUNTIME_DIR");
  if (!runtime.empty()) sockets.push_back(runtime + "/docker.sock");
  return sockets;
}

std::vector<std::string> podman_sockets(const os::Environment& environment, bool root) {
  const std::string named = variable(environment, "CONTAINER_HOST");
  if (!named.empty()) return {without_scheme(named)};
  if (root) return {"/run/podman/podman.sock"};
  const std::string runtime = variable(environment, "XDG_RUNTIME_DIR");
  if (runtime.empty()) return {};
  return {runtime + "/podman/podman.sock"};
}

bool engine_is_likely(const EngineChoice& choice) {
  std::vector<std::string> sockets;
  if (!choice.socket.empty()) sockets = {choice.socket};
  if (choice.socket.empty() && choice.kind != EngineChoice::Kind::Podman) {
    sockets = docker_sockets(choice.environment);
  }
  if (choice.socket.empty() && choice.kind != EngineChoice::Kind::Docker) {
    for (std::string& socket : podman_sockets(choice.environment, ::geteuid() == 0)) {
      sockets.push_back(std::move(socket));
    }
    std::string_view rest;
    const auto path = choice.environment.find("PATH");
    if (path != choice.environment.end()) rest = path->second;
    while (!rest.empty()) {
      const std::size_t colon = std::min(rest.find(':'), rest.size());
      sockets.push_back(std::string(rest.substr(0, colon)) + "/podman");
      rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
  }
  return std::any_of(sockets.begin(), sockets.end(),
                     [](const std::string& socket) { return ::access(socket.c_str(), F_OK) == 0; });
}

EngineSearch::~EngineSearch() {
  if (service_) service_->terminate(std::chrono::seconds(1));
}

Result<EngineSearch::Found> EngineSearch::get(const StopToken& stop) {
  const std::lock_guard lock(mutex_);
  if (found_ && !(service_ && service_->try_wait())) return *found_;
  found_.reset();
  std::vector<std::string> tried;
  const auto attempt = [&](const std::string& socket) -> Result<Found> {
    Result<Found> found = connect(socket, stop);
    if (!found.ok()) tried.push_back(fmt::format("{} ({})", socket, found.error().message()));
    return found;
  };
  // What is out of the question is said at once; what does not answer is passed over.
  const auto usable = [](const Result<Found>& found) {
    return found.ok() || found.error().code() == Code::FailedPrecondition ||
           found.error().code() == Code::Cancelled;
  };
  const auto keep = [&](Result<Found> found) {
    if (found.ok()) {
      found_ = found.value();
      log_info("container engine found", {{"engine", found_->info.name}});
    }
    return found;
  };
  if (!choice_.socket.empty()) {
    CIRRUS_TRY(check_local("the engine's socket", choice_.socket));
    Result<Found> found = attempt(without_scheme(choice_.socket));
    if (usable(found)) return keep(std::move(found));
  } else {
    if (choice_.kind != EngineChoice::Kind::Podman) {
      CIRRUS_TRY(check_local("DOCKER_HOST", variable(choice_.environment, "DOCKER_HOST")));
      for (const std::string& socket : docker_sockets(choice_.environment)) {
        Result<Found> found = attempt(socket);
        if (usable(found)) return keep(std::move(found));
      }
    }
    if (choice_.kind != EngineChoice::Kind::Docker) {
      CIRRUS_TRY(check_local("CONTAINER_HOST", variable(choice_.environment, "CONTAINER_HOST")));
      for (const std::string& socket : podman_sockets(choice_.environment, ::geteuid() == 0)) {
        Result<Found> found = attempt(socket);
        if (usable(found)) return keep(std::move(found));
      }
      const Result<std::string> started = start_podman(stop);
      if (started.ok()) {
        Result<Found> found = attempt(started.value());
        if (usable(found)) return keep(std::move(found));
      } else {
        tried.push_back(started.error().to_string());
      }
    }
  }
  return error(Code::Unavailable,
               "no container engine answers: install docker.io or podman, or name a socket with "
               "DOCKER_HOST; tried {}",
               join(tried, "; "));
}

Result<EngineSearch::Found> EngineSearch::connect(const std::string& socket,
                                                  const StopToken& stop) {
  std::error_code ignored;
  if (!std::filesystem::exists(socket, ignored)) {
    return error(Code::Unavailable, "there is no such socket");
  }
  Found found;
  found.engine = CIRRUS_TRY(connect_engine(socket, stop));
  found.info = CIRRUS_TRY(found.engine->info(stop));
  const std::string kernel = own_kernel();
  if (!found.info.kernel_version.empty() && found.info.kernel_version != kernel) {
    return error(Code::FailedPrecondition,
                 "the engine on '{}' runs containers in a machine of its own ({}, kernel {}; here "
                 "it is {}), where this worker's socket cannot be mounted: run the worker inside "
                 "that machine, or use an engine of this one",
                 socket, found.info.operating_system, found.info.kernel_version, kernel);
  }
  return found;
}

Result<std::string> EngineSearch::start_podman(const StopToken& stop) {
  const std::filesystem::path socket = choice_.run_directory / "podman.sock";
  // The service of a worker that was killed may still be there.
  if (connect(socket.string(), stop).ok()) return socket.string();
  CIRRUS_TRY(os::make_directories(choice_.run_directory, 0700));
  const std::filesystem::path log = choice_.run_directory / "podman.log";
  const os::Fd output =
      CIRRUS_TRY(os::open_file(log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  os::SpawnOptions options;
  options.argv = {"podman", "system", "service", "--time=600", "unix://" + socket.string()};
  options.environment = choice_.environment;
  // The engine's monitors leave files where it was started.
  options.working_directory = choice_.run_directory;
  options.descriptors = {{1, output.get()}, {2, output.get()}};
  options.kill_grace = std::chrono::seconds(1);
  Result<os::Process> started = os::Process::spawn(options);
  if (!started.ok()) return error(Code::Unavailable, "there is no podman on PATH");
  service_.emplace(std::move(started).value());
  const Monotonic deadline = system_clock().now() + kServiceStart;
  while (!connect(socket.string(), stop).ok()) {
    const std::optional<os::ExitStatus> ended = service_->try_wait();
    if (ended || system_clock().now() > deadline || stop.stop_requested()) {
      const std::string said = os::read_file(log, 1U << 20U).ok()
                                   ? os::read_file(log, 1U << 20U).value()
                                   : std::string();
      service_.reset();
      return error(Code::Unavailable, "'podman system service' {}: {}",
                   ended ? "ended (" + ended->describe() + ")" : "does not answer",
                   shorten(trim(said), 300));
    }
    wait_for(stop, std::chrono::milliseconds(20));
  }
  return socket.string();
}

}  // namespace cirrus::isolation
