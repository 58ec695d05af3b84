// SPDX-License-Identifier: MIT
// Trees of files into an archive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "archive/codec.h"
#include "base/stop.h"

namespace cirrus::archive {

/// What became part of an archive, and what did not.
struct PackTotals {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;            ///< of files, before compression
  std::vector<std::string> left_out;  ///< neither file, directory nor link; the first few
  std::uint64_t left_out_count = 0;
  std::vector<std::string> changing;  ///< became shorter while they were read; the first few
};

/// Writes `roots` (files or directories below `base`, with all that is in them, in lexical order)
/// as a tar archive to `sink`. Names are relative to `base`; a root that is `base` itself gives its
/// contents. Absolute links into `base` are made relative, links are never followed. What cannot
/// be read ends it with an error that names it; sockets, pipes and devices are left out.
/// Source: reference agent, archive format.
Result<PackTotals> pack(const std::filesystem::path& base,
                        const std::vector<std::filesystem::path>& roots, const Sink& sink,
                        const StopToken& stop);

}  // namespace cirrus::archive
