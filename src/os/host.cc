// SPDX-License-Identifier: MIT
#include "os/host.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>

#include "base/strings.h"

namespace cirrus::os {

namespace {
std::filesystem::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value == '/' ? value : "";
}
std::filesystem::path home() {
  const std::filesystem::path path = from_environment("HOME");
  return path.empty() ? "/" : path;
}
}  // namespace

std::string host_name() {
  char buffer[256] = {};
  if (::gethostname(buffer, sizeof buffer - 1) != 0) return {};
  return buffer;
}

std::string os_name() {
  utsname facts{};
  ::uname(&facts);
  return to_lower(facts.sysname);
}

std::string arch_name() {
  utsname facts{};
  ::uname(&facts);
  const std::string machine = facts.machine;
  if (machine == "x86_64" || machine == "amd64") return "amd64";
  if (machine == "aarch64" || machine == "arm64") return "arm64";
  if (machine.size() == 4 && machine[0] == 'i' && machine.ends_with("86")) return "386";
  if (machine.starts_with("arm")) return "arm";
  return machine;
}

std::filesystem::path default_state_directory() {
  if (::geteuid() == 0) return "/var/lib/cirrus";
  const std::filesystem::path state = from_environment("XDG_STATE_HOME");
  return (state.empty() ? home() / ".local/state" : state) / "cirrus";
}

std::filesystem::path user_config_directory() {
  const std::filesystem::path config = from_environment("XDG_CONFIG_HOME");
  return (config.empty() ? home() / ".config" : config) / "cirrus";
}

std::filesystem::path default_runtime_directory() {
  if (::geteuid() == 0 && ::access("/run", W_OK) == 0) return "/run/cirrus";
  const std::filesystem::path runtime = from_environment("XDG_RUNTIME_DIR");
  if (!runtime.empty() && runtime.string().size() < 40) return runtime / "cirrus";
  return "/tmp/cirrus-" + std::to_string(::geteuid());
}

std::string find_program(std::string_view program, std::string_view path_variable) {
  for (const std::string& directory : split(path_variable, ':')) {
    if (directory.empty()) continue;
    const std::string candidate = directory + "/" + std::string(program);
    std::error_code ignored;
    if (::access(candidate.c_str(), X_OK) == 0 &&
        std::filesystem::is_regular_file(candidate, ignored)) {
      return candidate;
    }
  }
  return {};
}

std::string find_program(std::string_view program) {
  const char* path = std::getenv("PATH");
  return find_program(program, path == nullptr ? "/usr/bin:/bin" : path);
}

Result<std::filesystem::path> executable_path() {
  std::error_code failure;
  std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (failure) return errno_error(failure.value(), "cannot find our own executable");
  return path;
}

}  // namespace cirrus::os
