// SPDX-License-Identifier: MIT
#include "model/secrets.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"

namespace cirrus::model {
namespace {

// Ours: longer values (whole key rings) are searched for by their lines.
constexpr std::size_t kLongestWhole = 64 * 1024;

constexpr std::string_view kStandardAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrlAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 without padding; what is left of the last byte is filled with zero bits.
std::string base64(std::string_view bytes, std::string_view alphabet) {
  std::string text;
  unsigned buffer = 0;
  unsigned bits = 0;
  for (const char c : bytes) {
    buffer = (buffer << 8U) | static_cast<unsigned char>(c);
    for (bits += 8; bits >= 6; bits -= 6) text += alphabet[(buffer >> (bits - 6)) & 63U];
  }
  if (bits > 0) text += alphabet[(buffer << (6 - bits)) & 63U];
  return text;
}

void add_base64(std::string_view secret, std::string_view alphabet, std::set<std::string>& forms) {
  // All there is: what `printf %s "$SECRET" | base64` prints.
  forms.insert(base64(secret, alphabet));
  for (std::size_t before = 0; before < 3; ++before) {
    // Only the digits that no neighbour's bits reach.
    const std::string shifted = base64(std::string(before, '\0') + std::string(secret), alphabet);
    const std::size_t first = (before * 8 + 5) / 6;
    const std::size_t last = (before + secret.size()) * 8 / 6;
    forms.insert(shifted.substr(first, last - first));
  }
}

std::string url_escaped(std::string_view secret, bool plus, bool lower) {
  constexpr std::string_view kUpperDigits = "0123456789ABCDEF";
  constexpr std::string_view kLowerDigits = "0123456789abcdef";
  const std::string_view digits = lower ? kLowerDigits : kUpperDigits;
  std::string text;
  for (const char c : secret) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      text += c;
    } else if (plus && c == ' ') {
      text += '+';
    } else {
      text += {'%', digits[byte >> 4U], digits[byte & 15U]};
    }
  }
  return text;
}

std::string json_escaped(std::string_view secret, bool slashes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : secret) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"': text += "\\\""; break;
      case '\\': text += "\\\\"; break;
      case '\n': text += "\\n"; break;
      case '\r': text += "\\r"; break;
      case '\t': text += "\\t"; break;
      case '\b': text += "\\b"; break;
      case '\f': text += "\\f"; break;
      case '/': text += slashes ? "\\/" : "/"; break;
      default:
        if (byte < 0x20) {
          text += std::string("\\u00") + kDigits[byte >> 4U] + kDigits[byte & 15U];
        } else {
          text += c;
        }
    }
  }
  return text;
}

/// As it stands inside single quotes, and with each special byte behind a backslash.
std::vector<std::string> shell_escaped(std::string_view secret) {
  std::string quoted;
  std::string slashed;
  for (const char c : secret) {
    quoted += c == '\'' ? "'\\''" : std::string(1, c);
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       byte >= 0x80 ||
                       std::string_view("_-./:=@%+,").find(c) != std::string_view::npos;
    if (!plain) slashed += '\\';
    slashed += c;
  }
  return {quoted, slashed};
}

void add_lines(std::string_view secret, std::set<std::string>& forms) {
  if (secret.find('\n') == std::string_view::npos) return;
  for (const std::string& line : split(secret, '\n')) forms.insert(std::string(trim(line)));
}

}  // namespace

std::vector<std::string> secret_forms(std::string_view secret) {
  std::set<std::string> forms;
  add_lines(secret, forms);
  // `echo "$KEY"` prints a secret without the newline its file ended with.
  const std::string_view core = secret.substr(0, secret.find_last_not_of("\r\n") + 1);
  if (secret.size() <= kLongestWhole) {
    for (const std::string_view form : {secret, core}) {
      if (form.size() < kShortestSecret) continue;
      forms.insert(std::string(form));
      for (const bool variant : {false, true}) {
        forms.insert(url_escaped(form, variant, false));
        forms.insert(url_escaped(form, variant, true));
        forms.insert(json_escaped(form, variant));
      }
      for (std::string& text : shell_escaped(form)) forms.insert(std::move(text));
      add_base64(form, kStandardAlphabet, forms);
      add_base64(form, kUrlAlphabet, forms);
    }
  }
  std::vector<std::string> result;
  for (const std::string& form : forms) {
    if (form.size() >= kShortestSecret) result.push_back(form);
  }
  return result;
}

bool is_secret_name(std::string_view name) {
  constexpr std::array<std::string_view, 5> kSuffixes = {"_PASSWORD", "_SECRET", "_TOKEN",
                                                         "_ACCESS_KEY", "_SECRET_KEY"};
  return std::any_of(kSuffixes.begin(), kSuffixes.end(),
                     [name](std::string_view suffix) { return name.ends_with(suffix); });
}

bool Secrets::add(std::string_view value) {
  if (value.empty()) return false;
  if (value.size() < kShortestSecret) {
    has_short_ones_ = true;
    return false;
  }
  if (!values_.emplace(value).second) return false;
  built_ = nullptr;
  return true;
}

bool Secrets::add_named(const std::map<std::string, std::string, std::less<>>& variables) {
  bool added = false;
  for (const auto& [name, value] : variables) {
    if (is_secret_name(name) && add(value)) added = true;
  }
  return added;
}

std::shared_ptr<const PatternSet> Secrets::patterns() {
  if (built_ == nullptr) {
    std::vector<std::string> forms;
    for (const std::string& value : values_) {
      std::vector<std::string> some = secret_forms(value);
      std::move(some.begin(), some.end(), std::back_inserter(forms));
    }
    built_ = std::make_shared<const PatternSet>(forms);
  }
  return built_;
}

Masker masker_for(const std::vector<std::string>& secrets) {
  Secrets all;
  for (const std::string& secret : secrets) all.add(secret);
  return Masker(all.patterns());
}

}  // namespace cirrus::model
