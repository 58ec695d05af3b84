// SPDX-License-Identifier: MIT
#include "controller/blobs/artifact_list.h"

#include <fcntl.h>

#include <charconv>
#include <span>

namespace cirrus::controller::blobs {

namespace {

constexpr std::size_t kBlock = 64U << 10U;
/// Longer than any line of a list: twice the longest path, and a number.
constexpr std::size_t kMostLine = 16U << 10U;
constexpr std::string_view kVersion = "1";

Error damaged() {
  return error(Code::DataLoss, "its list is damaged");
}

std::string hex_of(std::string_view bytes) {
  std::string hex;
  hex.reserve(2 * bytes.size());
  constexpr char kDigits[] = "0123456789abcdef";
  for (const char c : bytes) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4U];
    hex += kDigits[static_cast<unsigned char>(c) & 15U];
  }
  return hex;
}

std::optional<std::string> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    unsigned byte = 0;
    const auto read = std::from_chars(hex.data() + at, hex.data() + at + 2, byte, 16);
    if (read.ec != std::errc() || read.ptr != hex.data() + at + 2) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

}  // namespace

Result<ArtifactPlace> ArtifactPlace::parse(std::string_view text) {
  if (text.empty()) return ArtifactPlace();
  const std::size_t dash = text.find('-');
  const std::optional<std::string> name = from_hex(text.substr(0, dash));
  const std::optional<std::string> path =
      dash == std::string_view::npos ? std::nullopt : from_hex(text.substr(dash + 1));
  if (!name || name->empty() || !path) {
    return error(Code::InvalidArgument, "'after' must be the 'next_after' of a page");
  }
  return ArtifactPlace{*name, *path};
}

std::string ArtifactPlace::to_string() const {
  return hex_of(name) + "-" + hex_of(path);
}

std::string write_artifact_list(const Artifact& artifact) {
  std::string text = fmt::format("{}\n{}\n{}\n{}\n", kVersion, hex_of(artifact.name),
                                 hex_of(artifact.type), hex_of(artifact.format));
  for (const ArtifactFile& file : artifact.files) {
    text += fmt::format("{} {}\n", file.bytes, hex_of(file.path));
  }
  return text;
}

Result<ArtifactList> ArtifactList::open(const std::filesystem::path& path) {
  ArtifactList list(CIRRUS_TRY(os::open_file(path, O_RDONLY)));
  CIRRUS_TRY(list.read_head());
  return list;
}

Status ArtifactList::read_head() {
  const std::optional<std::string_view> version = CIRRUS_TRY(line());
  if (version != kVersion) return damaged();
  for (std::string* const field : {&head_.name, &head_.type, &head_.format}) {
    const std::optional<std::string_view> written = CIRRUS_TRY(line());
    std::optional<std::string> text = written ? from_hex(*written) : std::nullopt;
    if (!text) return damaged();
    *field = std::move(*text);
  }
  return {};
}

Result<std::optional<ArtifactFile>> ArtifactList::next() {
  const std::optional<std::string_view> written = CIRRUS_TRY(line());
  if (!written) return std::optional<ArtifactFile>();
  ArtifactFile file;
  const char* const end = written->data() + written->size();
  const auto parsed = std::from_chars(written->data(), end, file.bytes);
  if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != ' ') return damaged();
  const auto used = static_cast<std::size_t>(parsed.ptr + 1 - written->data());
  std::optional<std::string> path = from_hex(written->substr(used));
  if (!path) return damaged();
  file.path = std::move(*path);
  return std::optional(std::move(file));
}

// What is returned is good until the next call. A last line without its end is a list cut off.
Result<std::optional<std::string_view>> ArtifactList::line() {
  for (;;) {
    const std::size_t end = block_.find('\n', at_);
    if (end != std::string::npos) {
      const std::string_view found = std::string_view(block_).substr(at_, end - at_);
      at_ = end + 1;
      return std::optional(found);
    }
    block_.erase(0, at_);
    at_ = 0;
    const std::size_t held = block_.size();
    if (held > kMostLine) return damaged();
    block_.resize(held + kBlock);
    const std::size_t got =
        CIRRUS_TRY(os::read_some(fd_.get(), std::span(block_.data() + held, kBlock)));
    block_.resize(held + got);
    if (got > 0) continue;
    if (held > 0) return damaged();
    return std::optional<std::string_view>();
  }
}

}  // namespace cirrus::controller::blobs
