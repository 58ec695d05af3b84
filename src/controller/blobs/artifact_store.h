// SPDX-License-Identifier: MIT
// Artifacts of tasks: named sets of files that people download.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "controller/blobs/artifact_list.h"
#include "controller/blobs/disk_watermark.h"
#include "controller/blobs/paths.h"
#include "os/fd.h"

namespace cirrus::controller::blobs {

/// Some of a task's files, by the names of their artifacts and their paths.
struct ArtifactPage {
  /// Ours: a page ends early when its paths are this long together.
  static constexpr std::size_t kMostPathBytes = 1U << 20U;

  std::vector<Artifact> artifacts;    ///< each with those of its files that are on this page
  std::optional<ArtifactPlace> next;  ///< what the next page is behind; absent: this is the last
};

/// Ours: what one artifact may hold.
struct ArtifactLimits {
  std::size_t files = 100'000;
  std::uint64_t bytes = 50ULL << 30U;
};

/// An artifact that is being written; nobody sees it before `commit`, and nothing is left without
/// it. Used from one thread at a time.
class ArtifactUpload {
 public:
  ArtifactUpload(ArtifactUpload&&) = default;
  ArtifactUpload& operator=(ArtifactUpload&&) = delete;
  ~ArtifactUpload();

  /// Bytes of a file. A path other than the last one begins that file, from nothing.
  /// Errors: InvalidArgument for a path that leaves the artifact or no file system holds,
  /// FailedPrecondition if a file is where a directory must be, ResourceExhausted.
  Status append(std::string_view path, std::string_view bytes);
  std::uint64_t size() const { return size_; }
  /// Durable and visible when it returns; replaces an older one of the same task and name.
  Status commit();

 private:
  friend class ArtifactStore;
  ArtifactUpload(Artifact artifact, ArtifactLimits limits, const DiskWatermark* disk,
                 std::atomic<std::uint64_t>* bytes_stored, std::filesystem::path place,
                 std::filesystem::path temporary)
      : artifact_(std::move(artifact)),
        limits_(limits),
        disk_(disk),
        bytes_stored_(bytes_stored),
        place_(std::move(place)),
        temporary_(std::move(temporary)) {}
  Status begin(const std::string& path);

  Artifact artifact_;
  ArtifactLimits limits_;
  const DiskWatermark* disk_;
  std::atomic<std::uint64_t>* bytes_stored_;  // of the store, which outlives its uploads
  std::filesystem::path place_;
  std::filesystem::path temporary_;  // empty once it is gone
  std::map<std::string, std::uint64_t, std::less<>> sizes_;
  std::filesystem::path made_;  // the directory of the last file
  std::string current_;
  os::Fd fd_;
  std::uint64_t size_ = 0;
};

/// All artifacts. Thread-safe: there is no state but the directories, and a figure.
class ArtifactStore {
 public:
  /// `disk` may refuse uploads and must outlive the store; null: it never does.
  explicit ArtifactStore(Paths paths, ArtifactLimits limits = {},
                         const DiskWatermark* disk = nullptr)
      : paths_(std::move(paths)), limits_(limits), disk_(disk) {}

  /// A path that stays inside: relative, without empty, `.` and `..` parts, control characters,
  /// backslashes or parts over 255 bytes; 4096 bytes in all, at most 64 parts.
  /// Errors: InvalidArgument.
  static Status check_path(std::string_view path);

  Result<ArtifactUpload> create(model::TaskId task, const std::string& name,
                                const std::string& type, const std::string& format);
  /// By name. A task without artifacts has an empty list.
  Result<std::vector<Artifact>> list(model::TaskId task) const;
  /// What is behind `after`: `most` files at most, where an artifact without files counts as one.
  /// An artifact that goes on is on the next page again. What cannot be read is left out. Memory:
  /// one page and `most` names, however much there is.
  Result<ArtifactPage> page(model::TaskId task, const ArtifactPlace& after, std::size_t most) const;
  struct File {
    os::Fd fd;
    std::uint64_t bytes = 0;
  };
  /// Never follows a link. Errors: NotFound, InvalidArgument.
  Result<File> open(model::TaskId task, std::string_view name, std::string_view path) const;
  /// Bytes of all artifacts stored since the start.
  std::uint64_t bytes_stored() const { return bytes_stored_; }

 private:
  struct Places {
    std::map<std::string, std::filesystem::path> by_name;
    bool more = false;  // there are names behind these
  };
  /// The first `most` artifacts whose names are not before `name`.
  Places places_from(model::TaskId task, const std::string& name, std::size_t most) const;

  const Paths paths_;
  const ArtifactLimits limits_;
  const DiskWatermark* const disk_;
  std::atomic<std::uint64_t> bytes_stored_{0};  // a figure; orders nothing
};

}  // namespace cirrus::controller::blobs
