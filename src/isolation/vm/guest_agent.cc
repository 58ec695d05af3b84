// SPDX-License-Identifier: MIT
#include "isolation/vm/guest_agent.h"

#include "base/ids.h"
#include "base/strings.h"
#include "os/files.h"

namespace cirrus::isolation {
namespace {

constexpr std::size_t kLargestAgent = 512U << 20U;

}  // namespace

Result<GuestKind> guest_kind(net::SshSession& session, const StopToken& stop, Monotonic deadline) {
  const net::SshCommandEnd end = CIRRUS_TRY(session.run("uname -s -m", {}, stop, deadline));
  // A login shell's greeting may come before.
  std::vector<std::string> words;
  for (const std::string& line : split(end.output, '\n')) {
    if (!trim(line).empty()) words = split(std::string(trim(line)), ' ');
  }
  if (end.exit_code != 0 || words.size() != 2) {
    return error(Code::FailedPrecondition, "the guest does not say what it is: {}",
                 shorten(end.output, 200));
  }
  GuestKind kind{to_lower(words[0]), words[1]};
  if (kind.arch == "x86_64") kind.arch = "amd64";
  if (kind.arch == "aarch64") kind.arch = "arm64";
  return kind;
}

Result<std::filesystem::path> AgentPrograms::find(const GuestKind& kind) const {
  if (kind.os == own_kind.os && kind.arch == own_kind.arch) return own;
  std::vector<std::string> looked;
  for (const std::filesystem::path& directory : directories) {
    const std::filesystem::path path = directory / ("cirrus-agent-" + kind.os + "-" + kind.arch);
    std::error_code failure;
    if (std::filesystem::is_regular_file(path, failure)) return path;
    looked.push_back(path.string());
  }
  return error(Code::NotFound, "there is no agent for {}/{} on this worker; put one at {}{}",
               kind.os, kind.arch, join(looked, " or "),
               kind.os == "linux" ? "" : " (none is built for this system yet)");
}

Result<std::string> install_agent(net::SshSession& session, const std::filesystem::path& program,
                                  const StopToken& stop, Monotonic deadline) {
  const std::string bytes = CIRRUS_TRY(os::read_file(program, kLargestAgent));
  const std::string directory = "/tmp/cirrus-" + random_hex(8);
  const net::SshCommandEnd made =
      CIRRUS_TRY(session.run("mkdir -m 700 " + directory, {}, stop, deadline));
  if (made.exit_code != 0) {
    return error(Code::FailedPrecondition, "the guest cannot make '{}': {}", directory,
                 shorten(std::string(trim(made.output)), 200));
  }
  CIRRUS_TRY(session.upload(bytes, directory + "/cirrus-agent", 0700, stop, deadline)
                 .note("putting the agent into the guest"));
  return directory;
}

std::string agent_command(const std::string& directory, const std::string& verb,
                          const std::map<std::string, std::string>& variables) {
  std::string inner = "exec env";
  for (const auto& [name, value] : variables) {
    inner += " " + net::shell_quoted(name + "=" + value);
  }
  inner += " " + directory + "/cirrus-agent " + verb + " " + directory;
  return "exec \"${SHELL:-/bin/sh}\" -l -c " + net::shell_quoted(inner);
}

}  // namespace cirrus::isolation
