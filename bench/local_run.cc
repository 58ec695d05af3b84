// SPDX-License-Identifier: MIT
// `cirrus run` from its start to the first line of the first script, in a small repository: what
// somebody waits who runs a build on their own machine.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/clock.h"
#include "os/fd.h"
#include "os/files.h"
#include "os/host.h"
#include "os/process.h"
#include "os/temp_dir.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

constexpr int kRuns = 15;

Status git(const std::filesystem::path& directory, std::vector<std::string> arguments) {
  os::SpawnOptions options;
  options.argv = {"git", "-c", "user.name=b", "-c", "user.email=b@localhost"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.working_directory = directory;
  const os::CommandOutput output = CIRRUS_TRY(
      os::run_command(options, {}, StopToken(), system_clock().now() + std::chrono::minutes(1)));
  if (output.status.success()) return {};
  return error(Code::FailedPrecondition, "git: {}", output.errors);
}

/// Milliseconds until `marker` was printed; the whole run in `whole`.
Result<double> run_once(const std::filesystem::path& directory, std::vector<std::string> more,
                        double& whole) {
  const std::filesystem::path program =
      CIRRUS_TRY(os::executable_path()).parent_path().parent_path() / "cirrus";
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return errno_error(errno, "cannot make a pipe");
  const os::Fd reading(pipe[0]);
  os::Fd writing(pipe[1]);
  os::SpawnOptions options;
  options.argv = {program.string(), "run", "--output", "simple"};
  options.argv.insert(options.argv.end(), more.begin(), more.end());
  options.working_directory = directory;
  options.descriptors = {{1, writing.get()}, {2, 2}};
  const Monotonic start = system_clock().now();
  os::Process process = CIRRUS_TRY(os::Process::spawn(options));
  writing.reset();
  const auto since = [&] {
    return std::chrono::duration<double, std::milli>(system_clock().now() - start).count();
  };
  std::string text;
  double first = 0;
  char buffer[4096];
  for (;;) {
    const ssize_t got = ::read(reading.get(), buffer, sizeof buffer);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
    if (first == 0 && text.find("\nthe-first-line\n") != std::string::npos) first = since();
  }
  const os::ExitStatus status =
      CIRRUS_TRY(process.wait(StopToken(), system_clock().now() + std::chrono::seconds(30)));
  whole = since();
  if (first == 0 || !status.success()) {
    return error(Code::Internal, "the run failed:\n{}", text);
  }
  return first;
}

Status measure() {
  const os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("cirrus-bench-run"));
  const std::filesystem::path project = scratch.path() / "project";
  CIRRUS_TRY(os::make_directories(project / "src"));
  for (int i = 0; i < 100; ++i) {
    CIRRUS_TRY(os::write_file(project / "src" / fmt::format("{}.c", i),
                              fmt::format("int f{}(void) {{ return {}; }}\n", i, i)));
  }
  CIRRUS_TRY(os::write_file(project / ".cirrus.yml",
                            "task:\n  name: main\n  persistent_worker: {}\n"
                            "  main_script: echo the-first-line\n"));
  CIRRUS_TRY(git(project, {"init", "-q", "-b", "main"}));
  CIRRUS_TRY(git(project, {"add", "-A"}));
  CIRRUS_TRY(git(project, {"commit", "-q", "-m", "first"}));
  for (const bool dirty : {false, true}) {
    std::vector<double> first;
    std::vector<double> whole;
    for (int i = 0; i <= kRuns; ++i) {
      double all = 0;
      const double line = CIRRUS_TRY(run_once(
          project, dirty ? std::vector<std::string>{"--dirty"} : std::vector<std::string>{}, all));
      if (i == 0) continue;  // unpacks the agent
      first.push_back(line);
      whole.push_back(all);
    }
    const std::string kind = dirty ? "_dirty" : "";
    print_figure("local_run_first_line" + kind + "_p50", quantile(first, 0.5), "ms", first.size());
    print_figure("local_run_first_line" + kind + "_p90", quantile(first, 0.9), "ms", first.size());
    print_figure("local_run_whole" + kind + "_p50", quantile(whole, 0.5), "ms", whole.size());
  }
  return {};
}

}  // namespace
}  // namespace cirrus::bench

int main() {
  const cirrus::Status measured = cirrus::bench::measure();
  return measured.ok() ? 0 : cirrus::bench::give_up(measured.error());
}
