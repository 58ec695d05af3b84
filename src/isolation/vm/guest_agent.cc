// SPDX-License-Identifier: MIT
#include "isolation/vm/guest_agent.h"

#include <charconv>
#include <optional>

#include "base/digest.h"
#include "base/ids.h"
#include "base/strings.h"
#include "os/files.h"

namespace cirrus::isolation {
namespace {

constexpr std::size_t kLargestAgent = 512U << 20U;

/// `1.10.2` as numbers; what is no version sorts first.
std::vector<int> numbers_of(std::string_view version) {
  std::vector<int> numbers;
  for (const std::string& part : split(version, '.')) {
    int number = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), number);
    if (parsed.ec != std::errc() || parsed.ptr != part.data() + part.size()) return {};
    numbers.push_back(number);
  }
  return numbers;
}

std::optional<std::filesystem::path> newest_version(const std::filesystem::path& directory,
                                                    const std::string& suffix) {
  constexpr std::string_view kPrefix = "cirrus-";
  std::optional<std::filesystem::path> newest;
  std::vector<int> best;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(suffix) ||
        name.size() <= kPrefix.size() + suffix.size() || !entry.is_regular_file(failure)) {
      continue;
    }
    const std::vector<int> version = numbers_of(std::string_view(name).substr(
        kPrefix.size(), name.size() - kPrefix.size() - suffix.size()));
    if (version.empty() || version < best) continue;
    best = version;
    newest = entry.path();
  }
  return newest;
}

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

Result<AgentProgram> AgentPrograms::find(const GuestKind& kind) const {
  if (kind.os == own_kind.os && kind.arch == own_kind.arch) return AgentProgram{own, false};
  const std::string suffix = "-" + kind.os + "-" + kind.arch;
  std::vector<std::string> looked;
  std::error_code failure;
  for (const bool reference : {false, true}) {
    for (const std::filesystem::path& directory : directories) {
      const std::filesystem::path path =
          directory / ((reference ? "cirrus" : "cirrus-agent") + suffix);
      if (std::filesystem::is_regular_file(path, failure)) return AgentProgram{path, reference};
      looked.push_back(path.string());
    }
  }
  if (!reference_cache.empty()) {
    std::optional<std::filesystem::path> newest = newest_version(reference_cache, suffix);
    if (newest) return AgentProgram{*std::move(newest), true};
    looked.push_back((reference_cache / ("cirrus-<version>" + suffix)).string());
  }
  return error(Code::NotFound,
               "there is no agent for {}/{} on this worker: none of ours, and no reference CLI "
               "binary; put one at {}",
               kind.os, kind.arch, join(looked, " or "));
}

std::string has_digest(const std::string& file, const std::string& digest) {
  return fmt::format(
      "(d=$(sha256sum < {0} 2>/dev/null || shasum -a 256 < {0} 2>/dev/null); case \"$d\" in "
      "{1}*) exit 0;; '') exit {2};; *) exit 1;; esac)",
      file, digest, kNoDigestTool);
}

Result<std::string> install_agent(net::SshSession& session, const AgentProgram& program,
                                  const StopToken& stop, Monotonic deadline) {
  const std::string bytes = CIRRUS_TRY(os::read_file(program.path, kLargestAgent));
  const std::string directory = "/tmp/cirrus-" + random_hex(8);
  const net::SshCommandEnd made =
      CIRRUS_TRY(session.run("mkdir -m 700 " + directory, {}, stop, deadline));
  if (made.exit_code != 0) {
    return error(Code::FailedPrecondition, "the guest cannot make '{}': {}", directory,
                 shorten(std::string(trim(made.output)), 200));
  }
  const std::string target = directory + "/cirrus-agent";
  const std::string digest = sha256_hex(bytes);
  const net::SshCommandEnd there = CIRRUS_TRY(session.run(
      fmt::format("f=\"$HOME\"/.cache/cirrus/agents/{0}; test -x \"$f\" && {1} && ln -s \"$f\" {2}",
                  digest, has_digest("\"$f\"", digest), target),
      {}, stop, deadline));
  if (there.exit_code == 0) return directory;
  CIRRUS_TRY(
      session.upload(bytes, target, 0700, stop, deadline).note("putting the agent into the guest"));
  const net::SshCommandEnd whole =
      CIRRUS_TRY(session.run(has_digest(target, digest), {}, stop, deadline));
  // A guest without a tool for it is believed.
  if (whole.exit_code == 0 || whole.exit_code == kNoDigestTool) return directory;
  return error(Code::DataLoss, "the agent did not arrive whole in the guest");
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

std::string reference_start_script(const ReferenceStart& start) {
  std::string script = "#!/bin/sh\n";
  for (const auto& [name, value] : start.environment) {
    script += fmt::format("{}={}\nexport {}\n", name, net::shell_quoted(value), name);
  }
  // Source: reference worker, SSH bootstrap: the agent's words.
  script += fmt::format(
      "nohup {0}/cirrus-agent agent -api-endpoint http://127.0.0.1:{1} -server-token {2} "
      "-client-token {3} -task-id {4} < /dev/null > {0}/agent.log 2>&1 &\n"
      "echo $! > {0}/pid.new && mv {0}/pid.new {0}/pid\n",
      start.directory, start.port, net::shell_quoted(start.server_secret),
      net::shell_quoted(start.client_secret), net::shell_quoted(start.task_id));
  return script;
}

std::string reference_watch_command(const std::string& directory) {
  // Not every `sleep` knows fractions.
  return fmt::format(
      "pid=$(cat {}/pid) || exit 1; while kill -0 \"$pid\" 2>/dev/null; do "
      "sleep 0.1 2>/dev/null || sleep 1; done; exit 0",
      directory);
}

std::string reference_interrupt_command(const std::string& directory) {
  // Not SIGINT, which a shell that is nobody's terminal has what it starts ignore.
  return fmt::format("kill -TERM \"$(cat {}/pid)\"", directory);
}

}  // namespace cirrus::isolation
