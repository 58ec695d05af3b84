// SPDX-License-Identifier: MIT
// Errors as people see them.
#include "base/strings.h"
#include "lang/evaluate.h"

namespace cirrus::lang {
namespace {

constexpr std::size_t kMaxExcerpt = 160;  ///< Ours: bytes of a source line that are shown.

/// Bytes of the first `characters` characters of a line.
std::size_t byte_offset(std::string_view line, std::size_t characters) {
  std::size_t at = 0;
  while (at < line.size() && characters > 0) {
    ++at;
    while (at < line.size() && (static_cast<unsigned char>(line[at]) & 0xC0) == 0x80) ++at;
    --characters;
  }
  return at;
}

}  // namespace

void add_excerpt(ConfigError& failure, std::string_view text) {
  if (failure.line == 0 || failure.column == 0) return;
  std::size_t begin = 0;
  for (std::size_t line = 1; line < failure.line; ++line) {
    begin = text.find('\n', begin);
    if (begin == std::string_view::npos) return;
    ++begin;
  }
  std::string_view line = text.substr(begin, text.find_first_of("\r\n", begin) - begin);
  if (line.empty()) return;
  const std::size_t caret = byte_offset(line, failure.column - 1);
  if (caret > kMaxExcerpt) return;
  // Tabs are kept before the caret, so that both lines shift alike.
  std::string below;
  std::size_t at = 0;
  while (at < caret) {
    below += line[at] == '\t' ? '\t' : ' ';
    at += std::max<std::size_t>(1, byte_offset(line.substr(at), 1));
  }
  failure.excerpt = shorten(line, kMaxExcerpt) + "\n" + below + "^";
}

std::string render(const ConfigError& failure) {
  std::string result = failure.path;
  if (failure.line > 0) result += fmt::format(":{}:{}", failure.line, failure.column);
  result += ": " + failure.message;
  if (!failure.excerpt.empty()) {
    for (const std::string& line : split(failure.excerpt, '\n')) result += "\n  " + line;
  }
  if (!failure.hint.empty()) result += "\nhint: " + failure.hint;
  return result;
}

pb::Issue issue_of(const ConfigError& failure) {
  pb::Issue issue;
  issue.set_level(pb::Issue::ERROR);
  issue.set_message(failure.message);
  if (!failure.hint.empty()) issue.set_raw_details(failure.hint);
  issue.set_path(failure.path);
  issue.set_line(failure.line);
  issue.set_column(failure.column);
  return issue;
}

}  // namespace cirrus::lang
