// SPDX-License-Identifier: MIT
#include "isolation/vm/console.h"

#include <fcntl.h>
#include <unistd.h>

#include <vector>

#include "base/log.h"
#include "base/strings.h"
#include "os/fd.h"
#include "os/files.h"

namespace cirrus::isolation {
namespace {

// Ours: how late a line may be, and how much of it is shown.
constexpr std::chrono::milliseconds kLook{200};
constexpr std::size_t kLongestLine = 1000;

}  // namespace

Console::Console(std::filesystem::path file, std::string vm, bool from_now)
    : file_(std::move(file)),
      vm_(std::move(vm)),
      from_now_(from_now),
      thread_([this](const StopToken& stop) { run(stop); }) {}

void Console::run(const StopToken& stop) {
  const Result<os::Fd> file = os::open_file(file_, O_RDONLY | O_NOFOLLOW);
  if (!file.ok()) {
    log_warning("console not followed", {{"vm", vm_}, {"error", file.error()}});
    return;
  }
  if (from_now_) (void)::lseek(file.value().get(), 0, SEEK_END);
  std::vector<char> buffer(16 * 1024);
  std::string line;
  const auto say = [this, &line] {
    const std::string_view words = trim(line);
    if (!words.empty()) log_info("console", {{"vm", vm_}, {"line", shorten(words, kLongestLine)}});
    line.clear();
  };
  for (bool last = false; !last;) {
    // What came before the stop is still said.
    last = !wait_for(stop, kLook);
    for (;;) {
      const Result<std::size_t> got = os::read_some(file.value().get(), buffer);
      if (!got.ok() || got.value() == 0) break;
      for (const char letter : std::string_view(buffer.data(), got.value())) {
        if (letter == '\n') {
          say();
        } else if (line.size() <= kLongestLine) {
          line += letter;
        }
      }
    }
  }
  say();
}

}  // namespace cirrus::isolation
