// SPDX-License-Identifier: MIT
#include "gateway/spool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "gateway/task_paths.h"
#include "os/files.h"
#include "os/sparse.h"

namespace cirrus::gateway {
namespace {

constexpr std::string_view kLost = "(bytes lost with the controller's disk)\n";

}  // namespace

Result<Spool> Spool::open(const std::filesystem::path& directory, const std::string& step) {
  const std::filesystem::path path = directory / file_name_of_step(step);
  const std::filesystem::path name = path.string() + ".name";
  if (!std::filesystem::exists(name)) CIRRUS_TRY(os::write_file(name, step));
  os::Fd fd = CIRRUS_TRY(os::open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) {
    return errno_error(errno, "cannot read the size of '{}'", path.string());
  }
  return Spool(step, std::move(fd), static_cast<std::uint64_t>(info.st_size));
}

Status Spool::append(std::string_view bytes) {
  Status written = os::write_all_at(fd_.get(), bytes, size_);
  if (!written.ok()) {
    // Half of a chunk must not count after a restart. If even that fails, the next append starts
    // at the same offset and overwrites it.
    if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) {
      return errno_error(errno, "cannot take back a half-written chunk of '{}'", step_);
    }
    return std::move(written).note("spooling the log of '{}'", step_);
  }
  size_ += bytes.size();
  return {};
}

Result<std::string> Spool::read(std::uint64_t offset, std::size_t limit) const {
  std::string bytes(limit, '\0');
  for (;;) {
    const ssize_t got = ::pread(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "cannot read the spool of '{}'", step_);
    bytes.resize(static_cast<std::size_t>(got));
    for (std::size_t i = 0; i < bytes.size() && offset + i < discarded_; ++i) {
      bytes[i] = kLost[(offset + i) % kLost.size()];
    }
    return bytes;
  }
}

void Spool::discard_before(std::uint64_t offset) {
  constexpr std::uint64_t kUnit = 1U << 20U;
  const std::uint64_t end = offset / kUnit * kUnit;
  if (end <= discarded_) return;
  os::punch_hole(fd_.get(), discarded_, end - discarded_);
  discarded_ = end;
}

Result<std::vector<std::string>> spooled_steps(const std::filesystem::path& directory) {
  std::vector<std::string> steps;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
    if (entry.path().extension() != ".name") continue;
    steps.push_back(CIRRUS_TRY(os::read_file(entry.path(), 1U << 20U)));
  }
  if (failure && failure != std::errc::no_such_file_or_directory) {
    return error(Code::Internal, "cannot list '{}': {}", directory.string(), failure.message());
  }
  return steps;
}

}  // namespace cirrus::gateway
