// SPDX-License-Identifier: MIT
#include "isolation/vm/tool_command.h"

#include <fcntl.h>

#include "base/strings.h"
#include "os/fd.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::isolation {
namespace {

constexpr std::size_t kMostOutput = 1U << 20U;

// A file each, because a pipe that somebody else keeps open would have to be waited for.
Result<std::string> take(const std::filesystem::path& path) {
  const os::Fd file = CIRRUS_TRY(os::open_file(path, O_RDONLY));
  std::string text(kMostOutput, '\0');
  const std::size_t got =
      CIRRUS_TRY(os::read_some(file.get(), std::span(text.data(), text.size())));
  text.resize(got);
  return text;
}

}  // namespace

std::string first_meaningful_line(const std::string& errors, const std::string& output) {
  for (const std::string& text : {errors, output}) {
    for (const std::string& line : split(text, '\n')) {
      const std::string trimmed(trim(line));
      if (!trimmed.empty()) return shorten(trimmed, 500);
    }
  }
  return {};
}

Result<std::string> run_tool(const Argv& argv, const os::Environment& environment,
                             const StopToken& stop, Monotonic deadline) {
  const os::TempDir directory = CIRRUS_TRY(os::TempDir::create("cirrus-vm"));
  const std::filesystem::path output_path = directory.path() / "out";
  const std::filesystem::path errors_path = directory.path() / "err";
  os::SpawnOptions options;
  {
    const os::Fd output = CIRRUS_TRY(os::open_file(output_path, O_WRONLY | O_CREAT | O_APPEND));
    const os::Fd errors = CIRRUS_TRY(os::open_file(errors_path, O_WRONLY | O_CREAT | O_APPEND));
    options.argv = argv;
    options.environment = environment;
    options.descriptors = {{1, output.get()}, {2, errors.get()}};
    Result<os::Process> process = os::Process::spawn(options);
    if (!process.ok()) {
      if (process.error().code() != Code::NotFound) return std::move(process).error();
      return error(Code::NotFound,
                   "'{0}' is not on PATH: install it on this worker, or let its pool have workers "
                   "with '{0}'",
                   argv.front());
    }
    const os::ExitStatus status =
        CIRRUS_TRY(process.value().wait(stop, deadline).note("running '{} {}'", argv[0], argv[1]));
    if (status.success()) return take(output_path);
    const std::string words =
        first_meaningful_line(take(errors_path).value_or(""), take(output_path).value_or(""));
    return error(Code::Internal, "'{} {}' failed with {}{}", argv[0], argv[1], status.describe(),
                 words.empty() ? std::string() : ": " + words);
  }
}

}  // namespace cirrus::isolation
