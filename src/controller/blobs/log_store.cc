// SPDX-License-Identifier: MIT
#include "controller/blobs/log_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/fail_point.h"
#include "base/ids.h"
#include "os/files.h"

namespace cirrus::controller::blobs {
namespace {

Status sync_bytes(int fd) {
  CIRRUS_TRY(fail_point("logs.sync.before"));
  if (::fdatasync(fd) != 0) return errno_error(errno, "the disk does not take a log");
  return {};
}

/// Its bytes, not its name. False: there is no such file.
Result<bool> sync_file(const std::filesystem::path& path) {
  const Result<os::Fd> fd = os::open_file(path, O_RDONLY | O_NOFOLLOW);
  if (!fd.ok() && fd.error().code() == Code::NotFound) return false;
  if (!fd.ok()) return fd.error();
  CIRRUS_TRY(sync_bytes(fd.value().get()));
  return true;
}

}  // namespace

LogFile::~LogFile() {
  LogStore::release(*store_.entries_, key_);
}

std::uint64_t LogFile::stored() const {
  return state_.with([](const State& state) { return state.size; });
}

Status LogFile::write(State& state, std::string_view bytes) {
  // At the offset and not at the end: a write cut short by a full disk is overwritten by the next.
  CIRRUS_TRY(fail_point("logs.write.before"));
  CIRRUS_TRY(os::write_all_at(state.fd.get(), bytes, state.size));
  crash_point("logs.write.after");
  state.size += bytes.size();
  store_.bytes_written_.fetch_add(bytes.size(), std::memory_order_relaxed);
  return {};
}

Result<std::uint64_t> LogFile::append(std::string_view bytes) {
  Result<std::uint64_t> total = state_.with([&](State& state) -> Result<std::uint64_t> {
    CIRRUS_TRY(write(state, bytes));
    return state.size;
  });
  if (total.ok() && !bytes.empty()) store_.notify(key_);
  return total;
}

Result<std::uint64_t> LogFile::append_at(std::uint64_t offset, std::string_view bytes) {
  Result<std::uint64_t> total = state_.with([&](State& state) -> Result<std::uint64_t> {
    if (offset > state.size) {
      return error(Code::FailedPrecondition, "log bytes {} to {} are missing", state.size, offset);
    }
    const std::uint64_t known = state.size - offset;
    if (known >= bytes.size()) return state.size;
    CIRRUS_TRY(write(state, bytes.substr(known)));
    return state.size;
  });
  if (total.ok()) store_.notify(key_);
  return total;
}

Result<std::uint64_t> LogFile::sync() {
  // Not under the lock: others write on meanwhile. The descriptor stays as long as this object.
  const auto [fd, size] =
      state_.with([](const State& state) { return std::pair(state.fd.get(), state.size); });
  CIRRUS_TRY(sync_bytes(fd));
  return size;
}

void LogFile::begin_sync() {
  state_.with([](const State& state) { os::begin_sync(state.fd.get()); });
}

LogReplacement::~LogReplacement() {
  if (fd_.valid()) ::unlink(temporary_.c_str());
}

Status LogReplacement::append(std::string_view bytes) {
  CIRRUS_TRY(os::write_all(fd_.get(), bytes));
  size_ += bytes.size();
  return {};
}

Status LogReplacement::commit() {
  CIRRUS_TRY(fail_point("logs.replace.before"));
  CIRRUS_TRY(sync_bytes(fd_.get()));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return errno_error(errno, "cannot put a saved log in place");
  }
  crash_point("logs.replace.after");
  fd_.reset();
  // Whoever writes on continues with the new file.
  store_->forget_file(key_);
  store_->notify(key_);
  return {};
}

std::string LogStore::key_of(model::TaskId task, std::string_view step) {
  return task.to_string() + "/" + std::string(step);
}

Result<std::shared_ptr<LogFile>> LogStore::open(model::TaskId task, std::string_view step) {
  const std::string key = key_of(task, step);
  std::shared_ptr<LogFile> file = entries_->with([&](auto& entries) {
    Entry& entry = entries[key];
    std::shared_ptr<LogFile> known = entry.file.lock();
    if (known) return known;
    known.reset(new LogFile(*this, key));
    entry.file = known;
    return known;
  });
  Status opened = file->state_.with([&](LogFile::State& state) -> Status {
    if (state.fd.valid()) return {};
    CIRRUS_TRY(os::make_directories(paths_.logs_of(task)));
    os::Fd fd = CIRRUS_TRY(os::open_file(paths_.log(task, step), O_RDWR | O_CREAT | O_NOFOLLOW));
    struct stat facts {};
    if (::fstat(fd.get(), &facts) != 0) return errno_error(errno, "cannot read a log's size");
    state.size = static_cast<std::uint64_t>(facts.st_size);
    state.fd = std::move(fd);
    return {};
  });
  CIRRUS_TRY(std::move(opened).note("opening the log of step '{:.80}' of task {}", step, task));
  return file;
}

Result<LogReplacement> LogStore::replace(model::TaskId task, std::string_view step) {
  CIRRUS_TRY(os::make_directories(paths_.logs_of(task)));
  CIRRUS_TRY(os::make_directories(paths_.temporary()));
  const std::filesystem::path temporary = paths_.temporary() / ("log-" + random_hex(8));
  os::Fd fd = CIRRUS_TRY(os::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
  return LogReplacement(*this, key_of(task, step), paths_.log(task, step), temporary,
                        std::move(fd));
}

Result<std::string> LogStore::read(model::TaskId task, std::string_view step, std::uint64_t offset,
                                   std::size_t limit) const {
  Result<os::Fd> fd = os::open_file(paths_.log(task, step), O_RDONLY | O_NOFOLLOW);
  if (!fd.ok()) {
    if (fd.error().code() != Code::NotFound) return fd.error();
    // Nothing was ever logged, or retention took it and left a note.
    fd = os::open_file(paths_.logs_of(task) / kExpiredMarker, O_RDONLY | O_NOFOLLOW);
    if (!fd.ok()) return std::string();
  }
  std::string bytes(limit, '\0');
  const ssize_t got =
      ::pread(fd.value().get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (got < 0) return errno_error(errno, "cannot read the log of task {}", task);
  bytes.resize(static_cast<std::size_t>(got));
  return bytes;
}

Result<std::uint64_t> LogStore::size(model::TaskId task, std::string_view step) const {
  struct stat facts {};
  if (::stat(paths_.log(task, step).c_str(), &facts) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::uint64_t{0};
    return errno_error(errno, "cannot read the size of a log of task {}", task);
  }
  return static_cast<std::uint64_t>(facts.st_size);
}

Status LogStore::sync(model::TaskId task, std::string_view step) const {
  const bool found = CIRRUS_TRY(sync_file(paths_.log(task, step)));
  return found ? os::sync_directory(paths_.logs_of(task)) : Status();
}

Status LogStore::sync(model::TaskId task) const {
  const std::filesystem::path directory = paths_.logs_of(task);
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
    CIRRUS_TRY(sync_file(entry.path()));
  }
  if (!failure) return os::sync_directory(directory);
  if (failure == std::errc::no_such_file_or_directory) return {};
  return error(Code::Internal, "cannot list the logs of task {}: {}", task, failure.message());
}

std::shared_ptr<void> LogStore::watch(model::TaskId task, std::string_view step, Watcher watcher) {
  auto shared = std::make_shared<Watcher>(std::move(watcher));
  const std::string key = key_of(task, step);
  entries_->with([&](auto& entries) { entries[key].watchers.push_back(shared); });
  void* const address = shared.get();
  return {address, [entries = entries_, key, shared = std::move(shared)](void*) mutable {
            shared.reset();
            release(*entries, key);
          }};
}

std::size_t LogStore::in_use() const {
  return entries_->with([](const auto& entries) { return entries.size(); });
}

void LogStore::release(Entries& entries, const std::string& key) {
  entries.with([&](auto& all) {
    const auto found = all.find(key);
    if (found == all.end() || !found->second.file.expired()) return;
    std::erase_if(found->second.watchers, [](const auto& watcher) { return watcher.expired(); });
    if (found->second.watchers.empty()) all.erase(found);
  });
}

void LogStore::notify(const std::string& key) {
  std::vector<std::shared_ptr<Watcher>> watchers;
  entries_->with([&](auto& entries) {
    const auto found = entries.find(key);
    if (found == entries.end()) return;
    auto& registered = found->second.watchers;
    std::erase_if(registered, [&](const std::weak_ptr<Watcher>& weak) {
      std::shared_ptr<Watcher> live = weak.lock();
      if (live) watchers.push_back(std::move(live));
      return weak.expired();
    });
  });
  for (const auto& watcher : watchers) (*watcher)();
}

void LogStore::forget_file(const std::string& key) {
  entries_->with([&](auto& entries) {
    const auto found = entries.find(key);
    if (found != entries.end()) found->second.file.reset();
  });
}

}  // namespace cirrus::controller::blobs
