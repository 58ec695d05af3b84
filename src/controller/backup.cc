// SPDX-License-Identifier: MIT
#include "controller/backup.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <limits>
#include <set>

#include "base/ids.h"
#include "controller/blobs/artifact_store.h"
#include "controller/blobs/paths.h"
#include "controller/secrets/secret_box.h"
#include "controller/store/sqlite_backup.h"
#include "controller/store/sqlite_store.h"
#include "os/fd.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller {

namespace {
constexpr std::size_t kPiece = 1U << 20U;

/// Copies one file up to the length it has now. A file that has gone meanwhile is no error: it was
/// removed on purpose.
Status copy_file(const std::filesystem::path& from, const std::filesystem::path& to,
                 BackupReport& report) {
  Result<os::Fd> source = os::open_file(from, O_RDONLY | O_NOFOLLOW);
  if (!source.ok()) return source.error().code() == Code::NotFound ? Status() : source.error();
  struct ::stat status {};
  if (::fstat(source.value().get(), &status) != 0)
    return errno_error(errno, "looking at '{}'", from.string());
  const os::Fd target =
      CIRRUS_TRY(os::open_file(to, O_WRONLY | O_CREAT | O_EXCL, status.st_mode & 0777U));
  std::string buffer(kPiece, '\0');
  for (std::uint64_t left = static_cast<std::uint64_t>(status.st_size); left > 0;) {
    const std::size_t got = CIRRUS_TRY(os::read_some(source.value().get(), buffer));
    if (got == 0) break;
    const std::size_t take = static_cast<std::size_t>(std::min<std::uint64_t>(got, left));
    CIRRUS_TRY(os::write_all(target.get(), std::string_view(buffer).substr(0, take))
                   .note("writing '{}'", to.string()));
    left -= take;
    report.bytes += take;
  }
  ++report.files;
  return {};
}

Status copy_tree(const std::filesystem::path& from, const std::filesystem::path& to,
                 BackupReport& report, const StopToken& stop) {
  if (stop.stop_requested()) return error(Code::Cancelled, "interrupted");
  std::error_code failure;
  if (!std::filesystem::is_directory(from, failure)) return {};
  CIRRUS_TRY(os::make_directories(to));
  for (const auto& entry : std::filesystem::directory_iterator(from, failure)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_symlink(failure)) continue;  // we make none
    if (entry.is_directory(failure)) {
      CIRRUS_TRY(copy_tree(entry.path(), to / name, report, stop));
    } else if (entry.is_regular_file(failure)) {
      CIRRUS_TRY(copy_file(entry.path(), to / name, report));
    }
  }
  if (failure && failure != std::errc::no_such_file_or_directory) {
    return error(Code::Unavailable, "reading '{}': {}", from.string(), failure.message());
  }
  return {};
}

Status fill(const BackupOptions& options, const blobs::Paths& from, const blobs::Paths& to,
            BackupReport& report, const StopToken& stop) {
  CIRRUS_TRY(os::make_directories(to.data()));
  CIRRUS_TRY(store::copy_sqlite_store(from.database(), to.database()));
  ++report.files;
  std::error_code ignored;
  report.bytes += std::filesystem::file_size(to.database(), ignored);
  CIRRUS_TRY(copy_file(from.master_key(), to.master_key(), report));
  CIRRUS_TRY(copy_file(from.admin_token(), to.admin_token(), report));
  CIRRUS_TRY(copy_file(from.registration_token(), to.registration_token(), report));
  CIRRUS_TRY(copy_tree(from.logs(), to.logs(), report, stop));
  CIRRUS_TRY(copy_tree(from.artifacts(), to.artifacts(), report, stop));
  CIRRUS_TRY(copy_tree(from.repositories(), to.repositories(), report, stop));
  if (options.with_caches) CIRRUS_TRY(copy_tree(from.caches(), to.caches(), report, stop));
  return {};
}

/// Folders named after tasks that the store does not know.
Status look_for_strangers(const std::filesystem::path& folder, const char* what, store::Store& rows,
                          const std::set<model::TaskId>& unswept, std::uint64_t& count,
                          CheckReport& report) {
  std::error_code failure;
  if (!std::filesystem::is_directory(folder, failure)) return {};
  for (const auto& entry : std::filesystem::directory_iterator(folder, failure)) {
    const Result<model::TaskId> id = model::TaskId::parse(entry.path().filename().string());
    ++count;
    if (id.ok() && CIRRUS_TRY(rows.build_of(id.value()))) continue;
    if (id.ok() && unswept.contains(id.value())) continue;  // about to be removed with its build
    report.faults.push_back(
        fmt::format("{} of a task the store does not know: {}", what, entry.path().string()));
  }
  return {};
}
}  // namespace

Result<BackupReport> back_up(const BackupOptions& options, const StopToken& stop) {
  std::error_code failure;
  if (std::filesystem::exists(options.target, failure)) {
    return error(Code::AlreadyExists, "'{}' is there already: name a new directory",
                 options.target.string());
  }
  std::filesystem::path partial = options.target.lexically_normal();
  if (!partial.has_filename()) partial = partial.parent_path();
  partial += ".partial-" + random_hex(4);
  BackupReport report;
  Status done = fill(options, blobs::Paths(options.data_dir), blobs::Paths(partial), report, stop);
  if (done.ok()) {
    std::filesystem::rename(partial, options.target, failure);
    if (failure) done = error(Code::Unavailable, "naming the back-up: {}", failure.message());
  }
  if (!done.ok()) {
    (void)os::remove_tree(partial);
    return std::move(done).note("backing '{}' up", options.data_dir.string()).error();
  }
  return report;
}

Result<CheckReport> check(const std::filesystem::path& data_dir, const StopToken& stop) {
  const blobs::Paths paths(data_dir);
  std::error_code failure;
  if (!std::filesystem::exists(paths.database(), failure)) {
    return error(Code::NotFound, "'{}' is no controller's data directory: it has no controller.db",
                 data_dir.string());
  }
  CheckReport report;
  report.faults = CIRRUS_TRY(store::check_sqlite_store(paths.database()));
  if (!report.faults.empty()) return report;  // what the rows say means nothing then
  if (!std::filesystem::exists(paths.master_key(), failure)) {
    report.faults.push_back("master-key is missing: values encrypted so far cannot be opened");
  } else if (const auto key = secrets::SecretBox::open(paths.master_key()); !key.ok()) {
    report.faults.push_back(key.error().to_string());
  }
  // On a copy, because opening a store may change it (an older schema, a log to be taken in).
  const os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("cirrus-check"));
  CIRRUS_TRY(store::copy_sqlite_store(paths.database(), scratch.path() / "rows.db"));
  const std::unique_ptr<store::Store> rows = CIRRUS_TRY(
      store::open_sqlite_store(scratch.path() / "rows.db", store::Durability::ProcessCrash));
  for (std::int64_t before = 0;;) {
    const std::vector<model::BuildId> ids = CIRRUS_TRY(rows->list_builds(before, 500));
    for (const model::BuildId id : ids) {
      if (stop.stop_requested()) return error(Code::Cancelled, "interrupted");
      ++report.builds;
      const auto read = rows->read_build(id);
      if (!read.ok())
        report.faults.push_back(fmt::format("build {}: {}", id, read.error().to_string()));
    }
    if (ids.empty()) break;
    before = ids.back().value;
  }
  std::set<model::TaskId> unswept;
  for (const store::RemovedBuildRecord& build :
       CIRRUS_TRY(rows->list_unswept({}, std::numeric_limits<int>::max()))) {
    unswept.insert(build.tasks.begin(), build.tasks.end());
  }
  CIRRUS_TRY(look_for_strangers(paths.logs(), "logs", *rows, unswept, report.logs, report));
  CIRRUS_TRY(
      look_for_strangers(paths.artifacts(), "artifacts", *rows, unswept, report.artifacts, report));
  blobs::ArtifactStore artifacts(paths);
  for (const auto& entry : std::filesystem::directory_iterator(paths.artifacts(), failure)) {
    const Result<model::TaskId> id = model::TaskId::parse(entry.path().filename().string());
    if (!id.ok()) continue;
    const auto listed = artifacts.list(id.value());
    if (!listed.ok()) report.faults.push_back(listed.error().to_string());
  }
  return report;
}

}  // namespace cirrus::controller
