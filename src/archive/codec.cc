// SPDX-License-Identifier: MIT
#include "archive/codec.h"

#include <zlib.h>

#include <algorithm>
#include <optional>

#include <zstd.h>

#include "archive/frames.h"
#include "model/archive_mark.h"

namespace cirrus::archive {
namespace {

// Ours: the largest window a reader makes room for; a frame of ours is 4 MiB.
constexpr int kWindowLog = 27;
constexpr std::string_view kGzip = "\x1f\x8b";
constexpr std::string_view kZstd = "\x28\xb5\x2f\xfd";
bool is_zstd(std::string_view head) {
  if (head.starts_with(kZstd)) return true;
  // Any skippable frame.
  return head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xf0U) == 0x50U &&
         head.substr(1, 3) == model::kArchiveMark.substr(1, 3);
}

}  // namespace

struct Compressor::State {
  explicit State(Sink to) : sink(std::move(to)) {}

  Status pass_on(std::string_view bytes) {
    if (size == 0 && !bytes.empty()) {
      size += model::kArchiveMark.size();
      CIRRUS_TRY(sink(model::kArchiveMark));
    }
    size += bytes.size();
    return sink(bytes);
  }
  /// Hands on what is done; waits for room, or for all of it.
  Status drain(bool all) {
    for (;;) {
      const std::optional<Result<std::string>> packed = frames->next(all || frames->is_full());
      if (!packed) return {};
      if (!packed->ok()) return packed->error();
      CIRRUS_TRY(pass_on(packed->value()));
    }
  }
  Status write(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t taken = std::min(bytes.size(), FrameCompressor::kFrame - frame.size());
      frame.append(bytes.substr(0, taken));
      bytes.remove_prefix(taken);
      if (frame.size() < FrameCompressor::kFrame) continue;
      if (!frames) frames = std::make_unique<FrameCompressor>();
      frames->submit(std::move(frame));
      CIRRUS_TRY(drain(false));
      frame = frames->buffer();
    }
    return {};
  }
  Status finish() {
    // What fits into one frame is not worth a thread; nothing at all is a frame, too.
    if (!frames) return pass_on(CIRRUS_TRY(compress_frame(frame)));
    if (!frame.empty()) frames->submit(std::move(frame));
    return drain(true);
  }

  Sink sink;
  std::string frame;
  std::unique_ptr<FrameCompressor> frames;  // from the second frame on
  std::uint64_t size = 0;
};

Compressor::Compressor(Sink sink) : state_(std::make_unique<State>(std::move(sink))) {}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

Status Compressor::write(std::string_view bytes) {
  return state_->write(bytes);
}

Status Compressor::finish() {
  return state_->finish();
}

std::uint64_t Compressor::size() const {
  return state_->size;
}

struct Decompressor::State {
  enum class Kind { Unknown, Zstd, Gzip, Plain };

  explicit State(Source from) : source(std::move(from)) {}
  ~State() {
    if (zstd != nullptr) ZSTD_freeDCtx(zstd);
    if (kind == Kind::Gzip) inflateEnd(&gzip);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// Sees to it that there is input unless the source has ended.
  Status fill() {
    if (at < input.size() || ended) return {};
    input = CIRRUS_TRY(source());
    at = 0;
    consumed += input.size();
    ended = input.empty();
    return {};
  }
  Status begin() {
    // Enough to tell the kinds apart, whatever pieces it comes in.
    std::string head;
    while (head.size() < model::kArchiveMark.size()) {
      const std::string more = CIRRUS_TRY(source());
      if (more.empty()) break;
      head += more;
    }
    consumed += head.size();
    if (head.empty()) return error(Code::DataLoss, "the archive is empty");
    input = std::move(head);
    ours = input.starts_with(model::kArchiveMark);
    if (is_zstd(input)) {
      kind = Kind::Zstd;
      zstd = ZSTD_createDCtx();
      ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, kWindowLog);
    } else if (input.starts_with(kGzip)) {
      kind = Kind::Gzip;
      inflateInit2(&gzip, 15 + 16);
    } else {
      kind = Kind::Plain;
    }
    return {};
  }
  /// Some bytes of what was compressed; 0 at the end.
  Result<std::size_t> some(std::span<char> buffer) {
    for (;;) {
      CIRRUS_TRY(fill());
      if (at == input.size() && !in_frame) return std::size_t{0};
      if (at == input.size() && kind == Kind::Gzip) return cut();
      std::size_t made = 0;
      switch (kind) {
        case Kind::Zstd: made = CIRRUS_TRY(from_zstd(buffer)); break;
        case Kind::Gzip: made = CIRRUS_TRY(from_gzip(buffer)); break;
        default:
          made = std::min(buffer.size(), input.size() - at);
          std::copy_n(input.data() + at, made, buffer.data());
          at += made;
      }
      if (made > 0) return made;
      if (at == input.size() && ended && in_frame) return cut();
    }
  }
  Result<std::size_t> from_zstd(std::span<char> buffer) {
    ZSTD_inBuffer in{input.data(), input.size(), at};
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    const std::size_t hint = ZSTD_decompressStream(zstd, &out, &in);
    if (ZSTD_isError(hint) != 0) {
      return error(Code::DataLoss, "the archive is damaged: {}", ZSTD_getErrorName(hint));
    }
    at = in.pos;
    in_frame = hint != 0;
    return out.pos;
  }
  Result<std::size_t> from_gzip(std::span<char> buffer) {
    gzip.next_in = reinterpret_cast<Bytef*>(input.data() + at);
    gzip.avail_in = static_cast<uInt>(input.size() - at);
    gzip.next_out = reinterpret_cast<Bytef*>(buffer.data());
    gzip.avail_out = static_cast<uInt>(buffer.size());
    in_frame = true;
    const int code = inflate(&gzip, Z_NO_FLUSH);
    at = input.size() - gzip.avail_in;
    if (code == Z_STREAM_END) {
      in_frame = false;
      inflateReset(&gzip);
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      return error(Code::DataLoss, "the archive is damaged: {}",
                   gzip.msg != nullptr ? gzip.msg : "no gzip stream");
    }
    return buffer.size() - gzip.avail_out;
  }
  static Error cut() { return error(Code::DataLoss, "the archive is cut off"); }

  Source source;
  Kind kind = Kind::Unknown;
  std::string input;
  std::size_t at = 0;
  bool ended = false;
  bool in_frame = false;
  bool ours = false;
  std::uint64_t consumed = 0;
  ZSTD_DCtx* zstd = nullptr;
  z_stream gzip{};
};

Decompressor::Decompressor(Source source) : state_(std::make_unique<State>(std::move(source))) {}
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

Result<std::size_t> Decompressor::read(std::span<char> buffer) {
  if (state_->kind == State::Kind::Unknown) CIRRUS_TRY(state_->begin());
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    const std::size_t made = CIRRUS_TRY(state_->some(buffer.subspan(filled)));
    if (made == 0) break;
    filled += made;
  }
  return filled;
}

bool Decompressor::is_ours() const {
  return state_->ours;
}

std::uint64_t Decompressor::consumed() const {
  return state_->consumed;
}

}  // namespace cirrus::archive
