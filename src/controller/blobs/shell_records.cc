// SPDX-License-Identifier: MIT
#include "controller/blobs/shell_records.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/fail_point.h"
#include "base/strings.h"
#include "controller/blobs/retention.h"
#include "os/files.h"

namespace cirrus::controller::blobs {

namespace {
constexpr std::size_t kLongestHeader = 512;

/// A record as it lies on the disk.
struct Opened {
  os::Fd fd;
  ShellRecords::Record facts;
  std::uint64_t header = 0;  ///< bytes before what the shell showed
};

/// The number in a file's name; nullopt for what is no recording.
std::optional<int> number_of(const std::string& name) {
  const std::string_view prefix = kShellRecordPrefix;
  if (!name.starts_with(prefix)) return std::nullopt;
  int number = 0;
  const char* const end = name.data() + name.size();
  const auto read = std::from_chars(name.data() + prefix.size(), end, number);
  if (read.ec != std::errc() || read.ptr != end || number < 1) return std::nullopt;
  return number;
}

std::vector<int> numbers_in(const std::filesystem::path& directory) {
  std::vector<int> numbers;
  std::error_code failure;  // a task without logs has no directory
  for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
    if (const auto number = number_of(entry.path().filename())) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<Opened> open_record(const std::filesystem::path& path, int number) {
  Opened record;
  record.facts.number = number;
  record.fd = CIRRUS_TRY(os::open_file(path, O_RDONLY | O_NOFOLLOW));
  struct stat facts {};
  if (::fstat(record.fd.get(), &facts) != 0) return errno_error(errno, "cannot read its size");
  std::string start(kLongestHeader, '\0');
  const ssize_t got = ::pread(record.fd.get(), start.data(), start.size(), 0);
  if (got < 0) return errno_error(errno, "cannot read its beginning");
  start.resize(static_cast<std::size_t>(got));
  const std::size_t space = start.find(' ');
  const std::size_t end = start.find('\n');
  if (space < end && end != std::string::npos) {
    record.facts.opened_at = start.substr(0, space);
    record.facts.opened_by = start.substr(space + 1, end - space - 1);
    record.header = end + 1;
  }
  record.facts.bytes = static_cast<std::uint64_t>(facts.st_size) - record.header;
  return record;
}
}  // namespace

Status ShellRecord::write(std::string_view bytes) {
  CIRRUS_TRY(fail_point("shells.write.before"));
  // At the offset and not at the end: as logs are written.
  CIRRUS_TRY(os::write_all_at(fd_.get(), bytes, size_));
  crash_point("shells.write.after");
  size_ += bytes.size();
  return {};
}

std::string ShellRecord::notice() const {
  return fmt::format("this shell is recorded: what it shows is kept with the logs of task {}\r\n",
                     task_);
}

Status ShellRecord::append(std::string_view bytes) {
  return write(bytes).note("shells in task {} are recorded, and this one ends because it cannot be",
                           task_);
}

void ShellRecord::discard() {
  ::unlink(path_.c_str());
}

Result<std::unique_ptr<ShellRecord>> ShellRecords::begin(model::TaskId task,
                                                         std::string_view opened_by,
                                                         WallTime opened_at) const {
  const auto start = [&]() -> Result<std::unique_ptr<ShellRecord>> {
    CIRRUS_TRY(os::make_directories(paths_.logs_of(task)));
    const std::vector<int> taken = numbers_in(paths_.logs_of(task));
    for (int number = taken.empty() ? 1 : taken.back() + 1; number <= kMost; ++number) {
      const std::filesystem::path path = paths_.shell_record(task, number);
      Result<os::Fd> fd = os::open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
      if (!fd.ok() && fd.error().code() == Code::AlreadyExists) continue;  // somebody was faster
      if (!fd.ok()) return fd.error();
      std::unique_ptr<ShellRecord> record(
          new ShellRecord(task, number, path, std::move(fd).value()));
      const Status written =
          record->write(fmt::format("{} {}\n", to_rfc3339(opened_at), opened_by));
      if (!written.ok()) record->discard();
      CIRRUS_TRY(written);
      return record;
    }
    return error(Code::ResourceExhausted, "{} recordings are as many as a task may have", kMost);
  };
  return start().note("shells in task {} are recorded, and this one cannot be", task);
}

Result<std::vector<ShellRecords::Record>> ShellRecords::list(model::TaskId task) const {
  std::vector<Record> records;
  for (const int number : numbers_in(paths_.logs_of(task))) {
    Result<Opened> one = open_record(paths_.shell_record(task, number), number);
    if (!one.ok() && one.error().code() == Code::NotFound) continue;  // it was just taken away
    records.push_back(CIRRUS_TRY(std::move(one).note("shell {} of task {}", number, task)).facts);
  }
  return records;
}

Result<std::string> ShellRecords::read(model::TaskId task, int number, std::uint64_t offset,
                                       std::size_t limit) const {
  Result<Opened> found = open_record(paths_.shell_record(task, number), number);
  if (!found.ok() && found.error().code() == Code::NotFound) {
    if (const auto note = expiry_note(paths_.logs_of(task))) {
      return error(Code::NotFound, "{}", trim(*note));
    }
    return error(Code::NotFound, "no shell {} of task {} was recorded", number, task);
  }
  const Opened record = CIRRUS_TRY(std::move(found).note("shell {} of task {}", number, task));
  if (offset >= record.facts.bytes) return std::string();
  std::string bytes(limit, '\0');
  const ssize_t got = ::pread(record.fd.get(), bytes.data(), bytes.size(),
                              static_cast<off_t>(record.header + offset));
  if (got < 0) return errno_error(errno, "cannot read shell {} of task {}", number, task);
  bytes.resize(static_cast<std::size_t>(got));
  return bytes;
}

}  // namespace cirrus::controller::blobs
