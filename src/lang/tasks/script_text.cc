// SPDX-License-Identifier: MIT
#include "lang/tasks/script_text.h"

#include "base/strings.h"
#include "lang/tasks/scope.h"

namespace cirrus::lang {
namespace {

void append_lines(std::string_view text, std::vector<std::string>& lines) {
  for (std::string& line : split(text, '\n')) lines.push_back(std::move(line));
}

/// Little-endian UTF-16; bytes that are no UTF-8 become U+FFFD.
std::string utf16_of(std::string_view text) {
  std::string result;
  const auto unit = [&result](unsigned value) {
    result += static_cast<char>(value & 0xFF);
    result += static_cast<char>(value >> 8);
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const std::size_t length = first < 0x80         ? 1
                               : (first >> 5) == 6  ? 2
                               : (first >> 4) == 14 ? 3
                               : (first >> 3) == 30 ? 4
                                                    : 0;
    unsigned value = length == 1 ? first : length == 0 ? 0xFFFD : first & (0xFFu >> (length + 1));
    std::size_t used = 1;
    for (; used < length && at + used < text.size() &&
           (static_cast<unsigned char>(text[at + used]) & 0xC0) == 0x80;
         ++used) {
      value = (value << 6) | (static_cast<unsigned char>(text[at + used]) & 0x3Fu);
    }
    if (length > 1 && used < length) value = 0xFFFD;
    at += used;
    if (value < 0x10000) {
      unit(value);
    } else {
      unit(0xD800 + ((value - 0x10000) >> 10));
      unit(0xDC00 + ((value - 0x10000) & 0x3FF));
    }
  }
  return result;
}

std::string base64_of(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    unsigned group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      group = (group << 8) | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      result += i <= count ? kDigits[(group >> (18 - 6 * i)) & 63] : '=';
    }
  }
  return result;
}

Located<void> append_map(const Node& item, std::vector<std::string>& lines) {
  if (const Node* power_shell = item.child("ps")) {
    if (!power_shell->is_scalar()) return wrong_kind(*power_shell, "a text");
    lines.push_back("powershell.exe -OutputFormat Text -NoLogo -EncodedCommand " +
                    base64_of(utf16_of(power_shell->text)));
    return {};
  }
  for (const Node* entry : item.children) {
    if (!entry->is_scalar()) {
      ConfigError failure = error_at(*entry, "a script line cannot be a map");
      failure.hint = "put the line in quotes";
      return failure;
    }
    lines.push_back(fmt::format("{}: {}", entry->name, entry->text));
  }
  return {};
}

}  // namespace

Located<std::vector<std::string>> parse_script(const Node& field) {
  std::vector<std::string> lines;
  if (field.is_scalar()) {
    append_lines(field.text, lines);
    return lines;
  }
  if (field.is_map()) {
    ConfigError failure = error_at(
        field,
        fmt::format("script '{}' must be a text or a list of texts, found a map", field.name));
    failure.hint = "write `- ` before each line, and quote lines that contain `: `";
    return failure;
  }
  for (const Node* item : field.children) {
    if (item->is_scalar()) append_lines(item->text, lines);
    if (item->is_map()) CIRRUS_TRY(append_map(*item, lines));
  }
  return lines;
}

}  // namespace cirrus::lang
