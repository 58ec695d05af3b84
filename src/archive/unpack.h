// SPDX-License-Identifier: MIT
// An archive into a directory, whatever is in the archive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "archive/codec.h"
#include "base/stop.h"

namespace cirrus::archive {

/// Ours: what one archive may unpack to.
struct UnpackLimits {
  std::uint64_t entries = 4'000'000;
  std::uint64_t bytes = 200ULL << 30U;
  /// Bytes per compressed byte, once there are more than `ratio_from`.
  std::uint64_t ratio = 1000;
  std::uint64_t ratio_from = 1ULL << 30U;
  /// Directories below one another.
  std::size_t depth = 256;
};

struct UnpackTotals {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t compressed_bytes = 0;
  std::vector<std::string> left_out;  ///< neither file, directory nor link; the first few
  std::uint64_t left_out_count = 0;
};

/// Called with the name (relative to the directory) and the contents of each file, in pieces; an
/// empty piece ends a file. May be null.
using Witness = std::function<void(const std::string& name, std::string_view piece)>;

/// Unpacks into `directory`, which is made if it does not exist. Everything is first unpacked
/// beside what is there and moved into place when the archive was read to its end: a damaged one
/// changes nothing. Files that exist are replaced, others stay; links that exist stay.
///
/// Nothing outside of the directory is ever written: names with `..` are refused, a leading `/` is
/// dropped, and no link is followed, neither of the archive nor of the directory. Files get their
/// mode and the present time, directories 0755 (source: reference agent, archive format).
///
/// Errors: DataLoss for a damaged archive; InvalidArgument for names that lead outside and for
/// hard links to anything but a file unpacked before; ResourceExhausted over a limit or when the
/// disk is full; FailedPrecondition where a link or a file stands in a directory's place.
Result<UnpackTotals> unpack(const Source& source, const std::filesystem::path& directory,
                            const UnpackLimits& limits, const StopToken& stop,
                            const Witness& witness = {});

}  // namespace cirrus::archive
