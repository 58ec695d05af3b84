// SPDX-License-Identifier: MIT
#include "lang/conditions/path_pattern.h"

#include <re2/re2.h>

#include "base/strings.h"

namespace cirrus::lang {
namespace {

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) CIRRUS_TRY(step());
    if (in_group_) return malformed("'{' without '}'");
    return "(?s)" + regex_;
  }

 private:
  Error malformed(std::string_view why) const {
    return error(Code::InvalidArgument, "bad path pattern '{}': {}", shorten(pattern_, 80), why);
  }

  /// The character (all bytes of it) at the current place; moves past it.
  std::string_view take() {
    std::size_t length = 1;
    while (at_ + length < pattern_.size() &&
           (static_cast<unsigned char>(pattern_[at_ + length]) & 0xC0) == 0x80) {
      ++length;
    }
    at_ += length;
    return pattern_.substr(at_ - length, length);
  }

  static std::string quoted(std::string_view text) {
    return re2::RE2::QuoteMeta(re2::StringPiece(text.data(), text.size()));
  }

  Status step() {
    const char c = pattern_[at_];
    if (c == '*') {
      ++at_;
      if (at_ < pattern_.size() && pattern_[at_] == '*') {
        while (at_ < pattern_.size() && pattern_[at_] == '*') ++at_;
        regex_ += ".*";
      } else {
        regex_ += "[^/]*";
      }
    } else if (c == '?') {
      ++at_;
      regex_ += "[^/]";
    } else if (c == '[') {
      return char_class();
    } else if (c == '{') {
      if (in_group_) return malformed("groups cannot be nested");
      in_group_ = true;
      ++at_;
      regex_ += "(?:";
    } else if (c == '}' && in_group_) {
      in_group_ = false;
      ++at_;
      regex_ += ')';
    } else if (c == ',' && in_group_) {
      ++at_;
      regex_ += '|';
    } else if (c == '\\') {
      if (++at_ == pattern_.size()) return malformed("it ends in a backslash");
      regex_ += quoted(take());
    } else {
      regex_ += quoted(take());
    }
    return {};
  }

  Result<std::string_view> class_member() {
    if (pattern_[at_] == '\\' && ++at_ == pattern_.size()) return malformed("'[' without ']'");
    if (pattern_[at_] == '/') return malformed("'/' inside '[...]'");
    return take();
  }

  Status char_class() {
    ++at_;
    std::string result = "[";
    if (at_ < pattern_.size() && pattern_[at_] == '!') {
      ++at_;
      result = "[^/";
    }
    bool empty = true;
    while (at_ < pattern_.size() && pattern_[at_] != ']') {
      const std::string_view low = CIRRUS_TRY(class_member());
      result += quoted(low);
      empty = false;
      if (low == "-" || at_ >= pattern_.size() || pattern_[at_] != '-') continue;
      ++at_;
      if (at_ >= pattern_.size() || pattern_[at_] == ']')
        return malformed("a range without an end");
      const std::string_view high = CIRRUS_TRY(class_member());
      // UTF-8 sorts by bytes as it does by characters.
      if (high < low) return malformed("a range that runs backwards");
      result += '-' + quoted(high);
    }
    if (at_ >= pattern_.size()) return malformed("'[' without ']'");
    if (empty) return malformed("'[]' matches nothing");
    ++at_;
    regex_ += result + ']';
    return {};
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_group_ = false;
  std::string regex_;
};

}  // namespace

Result<std::string> path_pattern_regex(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace cirrus::lang
