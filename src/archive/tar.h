// SPDX-License-Identifier: MIT
// Tar: entries in, entries out. POSIX pax and GNU long names are read, pax is written.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "archive/codec.h"
#include "base/result.h"

namespace cirrus::archive {

struct TarEntry {
  enum class Kind { File, Directory, Symlink, HardLink, Other };
  std::string name;  ///< as written in the archive
  Kind kind = Kind::File;
  unsigned mode = 0644;  ///< permission bits
  std::uint64_t size = 0;
  std::string target;  ///< of links
  std::int64_t modified_seconds = 0;
};

/// Writes entries in order: `begin`, then exactly `size` bytes through `write` for a file.
class TarWriter {
 public:
  explicit TarWriter(Sink sink) : sink_(std::move(sink)) {}
  Status begin(const TarEntry& entry);
  /// Errors: OutOfRange for more bytes than the entry has; the sink's.
  Status write(std::string_view bytes);
  /// The bytes of the present entry that were not written yet.
  std::uint64_t missing() const { return left_; }
  /// Ends the archive. Errors: FailedPrecondition if bytes are missing.
  Status finish();

 private:
  Status pad();
  Sink sink_;
  std::uint64_t left_ = 0;
  std::uint64_t padding_ = 0;
};

/// Reads entries in order. The contents of an entry that is not read are skipped.
class TarReader {
 public:
  using Read = std::function<Result<std::size_t>(std::span<char> buffer)>;
  /// `read` fills its buffer and returns less only at the end.
  explicit TarReader(Read read) : read_(std::move(read)) {}

  /// Absent: the end of the archive. Errors: DataLoss for what is no tar archive or ends inside an
  /// entry; InvalidArgument for names with a NUL or longer than a path may be; those of `read`.
  Result<std::optional<TarEntry>> next();
  /// Whether the end that next() came to is one that its writer made.
  bool is_closed() const { return closed_; }
  /// Bytes of the present entry; 0 at its end.
  Result<std::size_t> read(std::span<char> buffer);

 private:
  struct Overrides;
  Result<bool> read_block(std::span<char> block);
  Result<std::string> read_text(std::uint64_t size);
  Status skip(std::uint64_t count);
  Status skip_rest();

  Read read_;
  std::uint64_t left_ = 0;
  std::uint64_t padding_ = 0;
  bool closed_ = false;
};

}  // namespace cirrus::archive
