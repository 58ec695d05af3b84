// SPDX-License-Identifier: MIT
#include "archive/tar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstring>
#include <utility>

namespace cirrus::archive {
namespace {

constexpr std::size_t kBlock = 512;
// Ours: room for extended headers, many times what paths need.
constexpr std::uint64_t kMostText = 1U << 20U;
constexpr std::uint64_t kLargestPlain = 077777777777;  // eleven octal digits

/// Where a field lies in a header block.
struct Field {
  std::size_t at;
  std::size_t size;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kOwner{108, 8};
constexpr Field kGroup{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kTime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr Field kType{156, 1};
constexpr Field kTarget{157, 100};
constexpr Field kMagic{257, 8};
constexpr Field kPrefix{345, 155};

using Block = std::array<char, kBlock>;

std::uint64_t padding_of(std::uint64_t size) {
  return (kBlock - size % kBlock) % kBlock;
}

std::string text_of(const Block& block, Field field) {
  const char* begin = block.data() + field.at;
  return {begin, ::strnlen(begin, field.size)};
}

/// Octal digits, or the base-256 form for what they cannot hold.
Result<std::uint64_t> number_of(const Block& block, Field field) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(block.data() + field.at);
  std::uint64_t value = 0;
  if ((bytes[0] & 0x80U) != 0) {
    for (std::size_t i = 0; i < field.size; ++i) {
      const unsigned char byte = i == 0 ? bytes[i] & 0x7fU : bytes[i];
      if (value > (std::uint64_t{1} << 55U)) {
        return error(Code::DataLoss, "the archive is damaged: a number is out of range");
      }
      value = value << 8U | byte;
    }
    return value;
  }
  bool any = false;
  for (std::size_t i = 0; i < field.size; ++i) {
    const unsigned char byte = bytes[i];
    if (byte == ' ' && !any) continue;
    if (byte == '\0' || byte == ' ') break;
    if (byte < '0' || byte > '7') {
      return error(Code::DataLoss, "the archive is damaged: a number is not one");
    }
    any = true;
    value = value << 3U | (byte - static_cast<unsigned>('0'));
  }
  return value;
}

unsigned checksum_of(const Block& block) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const bool own = i >= kChecksum.at && i < kChecksum.at + kChecksum.size;
    sum += own ? static_cast<unsigned>(' ') : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

void put_number(Block& block, Field field, std::uint64_t value) {
  const std::string digits = fmt::format("{:0{}o}", value, field.size - 1);
  std::memcpy(block.data() + field.at, digits.data(), std::min(digits.size(), field.size - 1));
}

void put_text(Block& block, Field field, std::string_view text) {
  std::memcpy(block.data() + field.at, text.data(), std::min(text.size(), field.size));
}

char type_of(TarEntry::Kind kind) {
  switch (kind) {
    case TarEntry::Kind::Directory: return '5';
    case TarEntry::Kind::Symlink: return '2';
    case TarEntry::Kind::HardLink: return '1';
    default: return '0';
  }
}

TarEntry::Kind kind_of(char type, std::string_view name) {
  switch (type) {
    // A pre-POSIX archive has no type for directories.
    case '\0':
    case '0':
    case '7': return name.ends_with('/') ? TarEntry::Kind::Directory : TarEntry::Kind::File;
    case '1': return TarEntry::Kind::HardLink;
    case '2': return TarEntry::Kind::Symlink;
    case '5': return TarEntry::Kind::Directory;
    default: return TarEntry::Kind::Other;
  }
}

Block header_of(const TarEntry& entry, char type) {
  Block block{};
  put_text(block, kName, entry.name);
  put_number(block, kMode, entry.mode & 07777U);
  put_number(block, kOwner, 0);
  put_number(block, kGroup, 0);
  put_number(block, kSize, std::min(entry.size, kLargestPlain));
  put_number(block, kTime,
             static_cast<std::uint64_t>(std::clamp<std::int64_t>(
                 entry.modified_seconds, 0, static_cast<std::int64_t>(kLargestPlain))));
  block[kType.at] = type;
  put_text(block, kTarget, entry.target);
  put_text(block, kMagic, std::string_view("ustar\00000", 8));
  put_number(block, {kChecksum.at, 7}, checksum_of(block));
  block[kChecksum.at + 7] = ' ';
  return block;
}

/// `LENGTH key=value\n`, where LENGTH counts its own digits.
std::string pax_record(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) {
    length = std::to_string(length).size() + rest;
  }
  return fmt::format("{} {}={}\n", length, key, value);
}

std::string_view as_text(const Block& block) {
  return {block.data(), block.size()};
}

Status check_text(std::string_view what, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    return error(Code::InvalidArgument, "the archive has a {} with a NUL in it", what);
  }
  if (text.size() >= PATH_MAX) {
    return error(Code::InvalidArgument, "the archive has a {} of {} bytes", what, text.size());
  }
  return {};
}

}  // namespace

Status TarWriter::begin(const TarEntry& entry) {
  CIRRUS_TRY(pad());
  std::string records;
  if (entry.name.size() > kName.size) records += pax_record("path", entry.name);
  if (entry.target.size() > kTarget.size) records += pax_record("linkpath", entry.target);
  if (entry.size > kLargestPlain) records += pax_record("size", std::to_string(entry.size));
  if (!records.empty()) {
    TarEntry extended;
    extended.name = "pax";
    extended.size = records.size();
    CIRRUS_TRY(sink_(as_text(header_of(extended, 'x'))));
    records.append(padding_of(records.size()), '\0');
    CIRRUS_TRY(sink_(records));
  }
  left_ = entry.kind == TarEntry::Kind::File ? entry.size : 0;
  padding_ = padding_of(left_);
  TarEntry plain = entry;
  plain.size = left_;
  return sink_(as_text(header_of(plain, type_of(entry.kind))));
}

Status TarWriter::write(std::string_view bytes) {
  if (bytes.size() > left_) {
    return error(Code::OutOfRange, "an entry has more bytes than it announced");
  }
  left_ -= bytes.size();
  return sink_(bytes);
}

Status TarWriter::pad() {
  if (left_ != 0) return error(Code::FailedPrecondition, "an entry misses {} bytes", left_);
  const Block zeros{};
  return sink_(as_text(zeros).substr(0, std::exchange(padding_, 0)));
}

Status TarWriter::finish() {
  CIRRUS_TRY(pad());
  return sink_(std::string(2 * kBlock, '\0'));
}

/// What extended headers say about the next entry.
struct TarReader::Overrides {
  std::optional<std::string> name;
  std::optional<std::string> target;
  std::optional<std::uint64_t> size;

  Status add(std::string_view records) {
    while (!records.empty()) {
      std::size_t length = 0;
      const auto parsed = std::from_chars(records.data(), records.data() + records.size(), length);
      const auto digits = static_cast<std::size_t>(parsed.ptr - records.data());
      if (parsed.ec != std::errc() || length <= digits + 1 || length > records.size() ||
          records[digits] != ' ' || records[length - 1] != '\n') {
        return error(Code::DataLoss, "the archive is damaged: an extended header is no list");
      }
      const std::string_view record = records.substr(digits + 1, length - digits - 2);
      records.remove_prefix(length);
      const std::size_t equals = record.find('=');
      if (equals == std::string_view::npos) continue;
      const std::string_view key = record.substr(0, equals);
      const std::string_view value = record.substr(equals + 1);
      if (key == "path") name = std::string(value);
      if (key == "linkpath") target = std::string(value);
      if (key == "size") {
        std::uint64_t number = 0;
        const auto end = value.data() + value.size();
        const auto read = std::from_chars(value.data(), end, number);
        if (read.ec != std::errc() || read.ptr != end) {
          return error(Code::DataLoss, "the archive is damaged: a size is no number");
        }
        size = number;
      }
    }
    return {};
  }
};

// True: a whole block. False: nothing at all was left.
Result<bool> TarReader::read_block(std::span<char> block) {
  const std::size_t got = CIRRUS_TRY(read_(block));
  if (got == 0) return false;
  if (got < block.size()) return error(Code::DataLoss, "the archive is cut off");
  return true;
}

Result<std::string> TarReader::read_text(std::uint64_t size) {
  if (size > kMostText) {
    return error(Code::InvalidArgument, "the archive has an extended header of {} bytes", size);
  }
  std::string text(size + padding_of(size), '\0');
  const std::size_t got = CIRRUS_TRY(read_(std::span(text.data(), text.size())));
  if (got < text.size()) return error(Code::DataLoss, "the archive is cut off");
  text.resize(size);
  return text;
}

Status TarReader::skip(std::uint64_t count) {
  std::array<char, 64 * 1024> waste{};
  while (count > 0) {
    const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(count, waste.size()));
    const std::size_t got = CIRRUS_TRY(read_(std::span(waste.data(), part)));
    if (got < part) return error(Code::DataLoss, "the archive is cut off");
    count -= part;
  }
  return {};
}

Status TarReader::skip_rest() {
  return skip(std::exchange(left_, 0) + std::exchange(padding_, 0));
}

Result<std::optional<TarEntry>> TarReader::next() {
  CIRRUS_TRY(skip_rest());
  Overrides overrides;
  Block block;
  for (;;) {
    // An archive without the closing blocks ends as well.
    if (!CIRRUS_TRY(read_block(block))) return std::optional<TarEntry>();
    if (std::all_of(block.begin(), block.end(), [](char byte) { return byte == '\0'; })) {
      closed_ = true;
      return std::optional<TarEntry>();
    }
    const Result<std::uint64_t> checksum = number_of(block, kChecksum);
    if (!checksum.ok() || checksum.value() != checksum_of(block)) {
      return error(Code::DataLoss, "this is no tar archive, or it is damaged");
    }
    TarEntry entry;
    entry.size = CIRRUS_TRY(number_of(block, kSize));
    const char type = block[kType.at];
    if (type == 'x') {
      CIRRUS_TRY(overrides.add(CIRRUS_TRY(read_text(entry.size))));
      continue;
    }
    if (type == 'g') {
      (void)CIRRUS_TRY(read_text(entry.size));
      continue;
    }
    if (type == 'L' || type == 'K') {
      std::string text = CIRRUS_TRY(read_text(entry.size));
      text.resize(::strnlen(text.data(), text.size()));
      (type == 'L' ? overrides.name : overrides.target) = std::move(text);
      continue;
    }
    entry.name = text_of(block, kName);
    // GNU's own format keeps other things where POSIX has the prefix.
    if (text_of(block, {kMagic.at, 6}) == "ustar") {
      const std::string prefix = text_of(block, kPrefix);
      if (!prefix.empty()) entry.name = prefix + "/" + entry.name;
    }
    entry.target = text_of(block, kTarget);
    entry.mode = static_cast<unsigned>(CIRRUS_TRY(number_of(block, kMode)) & 07777U);
    entry.modified_seconds =
        static_cast<std::int64_t>(CIRRUS_TRY(number_of(block, kTime)) & INT64_MAX);
    if (overrides.name) entry.name = *overrides.name;
    if (overrides.target) entry.target = *overrides.target;
    if (overrides.size) entry.size = *overrides.size;
    CIRRUS_TRY(check_text("name", entry.name));
    CIRRUS_TRY(check_text("link target", entry.target));
    entry.kind = kind_of(type, entry.name);
    // Links and directories have no contents, whatever their size says; of kinds unknown here the
    // contents are passed over.
    const bool has_contents =
        entry.kind == TarEntry::Kind::File || entry.kind == TarEntry::Kind::Other;
    if (!has_contents) entry.size = 0;
    if (entry.size > INT64_MAX - kBlock) {
      return error(Code::DataLoss, "the archive is damaged: an entry is impossibly large");
    }
    left_ = entry.size;
    padding_ = padding_of(entry.size);
    return std::optional(std::move(entry));
  }
}

Result<std::size_t> TarReader::read(std::span<char> buffer) {
  const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(left_, buffer.size()));
  if (part == 0) return std::size_t{0};
  const std::size_t got = CIRRUS_TRY(read_(buffer.first(part)));
  if (got < part) return error(Code::DataLoss, "the archive is cut off");
  left_ -= part;
  return part;
}

}  // namespace cirrus::archive
