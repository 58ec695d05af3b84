// SPDX-License-Identifier: MIT
// Compression as caches use it: zstd out; zstd, gzip or neither in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus::archive {

/// Takes bytes; an error ends whatever produced them.
using Sink = std::function<Status(std::string_view bytes)>;
/// The next bytes; empty at the end.
using Source = std::function<Result<std::string>()>;

/// zstd level 3 on several threads (design, compression: 7 times gzip's speed, and smaller), a
/// frame for every 4 MiB. The stream begins with model::kArchiveMark. The sink is called by the
/// caller's thread.
class Compressor {
 public:
  explicit Compressor(Sink sink);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  /// Errors: the sink's.
  Status write(std::string_view bytes);
  /// Ends the stream. Nothing may be written after it.
  Status finish();
  /// Bytes handed to the sink so far.
  std::uint64_t size() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads what a Compressor wrote, gzip (also several members, as parallel writers make them) and
/// plain bytes, told apart by how they begin.
class Decompressor {
 public:
  explicit Decompressor(Source source);
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  /// Fills `buffer` as far as it goes; less than its size only at the end.
  /// Errors: DataLoss for a damaged or cut stream; the source's.
  Result<std::size_t> read(std::span<char> buffer);
  /// Whether it began with model::kArchiveMark, once some of it was read.
  bool is_ours() const;
  /// Compressed bytes taken from the source so far.
  std::uint64_t consumed() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cirrus::archive
