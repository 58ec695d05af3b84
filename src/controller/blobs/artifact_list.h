// SPDX-License-Identifier: MIT
// What an artifact holds, as its `list` on disk says it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "os/fd.h"

namespace cirrus::controller::blobs {

struct ArtifactFile {
  std::string path;  ///< relative, with '/'
  std::uint64_t bytes = 0;
};

struct Artifact {
  std::string name;
  std::string type;                 ///< a media type, or empty
  std::string format;               ///< of annotations, or empty
  std::vector<ArtifactFile> files;  ///< by path
};

/// Where a page of a task's files ends: with this file of this artifact. Without a path: with an
/// artifact that has no files; without a name: before the first.
struct ArtifactPlace {
  std::string name;
  std::string path;

  /// `6f7574-612f62`: both may be any bytes. Empty: the beginning. Errors: InvalidArgument.
  static Result<ArtifactPlace> parse(std::string_view text);
  std::string to_string() const;
};

/// A list is a version, then name, type and format (hex, because they are anybody's words), then a
/// line `<bytes> <path in hex>` for each file, by path.
std::string write_artifact_list(const Artifact& artifact);

/// Reads a list file by file: of a hundred thousand files only one block is in memory.
class ArtifactList {
 public:
  /// Of the list at `path`. Errors: NotFound, DataLoss if it is damaged; those of the disk.
  static Result<ArtifactList> open(const std::filesystem::path& path);
  /// Name, type and format; no files.
  const Artifact& head() const { return head_; }
  /// The next file; nullopt behind the last. Errors: DataLoss, those of the disk.
  Result<std::optional<ArtifactFile>> next();

 private:
  explicit ArtifactList(os::Fd fd) : fd_(std::move(fd)) {}
  Status read_head();
  Result<std::optional<std::string_view>> line();

  os::Fd fd_;
  Artifact head_;
  std::string block_;   // read, and not yet handed out from `at_` on
  std::size_t at_ = 0;  // where the next line begins
};

}  // namespace cirrus::controller::blobs
