// SPDX-License-Identifier: MIT
#include "lang/conditions/lexer.h"

#include "base/strings.h"

namespace cirrus::lang {
namespace {

constexpr std::size_t kMaxTokens = 20'000;  ///< Ours; the longest public condition has 200.

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name_char(char c) {
  return is_name_start(c) || (c >= '0' && c <= '9');
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<std::vector<Token>> run() {
    std::vector<Token> tokens;
    for (;;) {
      CIRRUS_TRY(skip_blanks());
      tokens.push_back(CIRRUS_TRY(next()));
      if (tokens.back().kind == TokenKind::End) return tokens;
      if (tokens.size() > kMaxTokens)
        return error(Code::ResourceExhausted, "the condition is too long");
    }
  }

 private:
  bool starts_with(std::string_view prefix) const { return text_.substr(at_).starts_with(prefix); }

  Status skip_blanks() {
    for (;;) {
      while (at_ < text_.size() &&
             std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
        ++at_;
      if (starts_with("//")) {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (starts_with("/*")) {
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) return failure("comment without an end");
        at_ = end + 2;
      } else {
        return {};
      }
    }
  }

  Error failure(std::string_view what) const {
    return error(Code::InvalidArgument, "{} at character {}", what, at_ + 1);
  }

  std::string name() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_name_char(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<Token> next() {
    Token token;
    token.column = at_ + 1;
    if (at_ == text_.size()) return token;
    const char c = text_[at_];
    if (c == '\'' || c == '"') return literal();
    if (c == '$') return variable();
    if (is_name_start(c)) {
      token.kind = TokenKind::Identifier;
      token.text = name();
      return token;
    }
    // The longest operator first.
    for (const std::string_view op : {"!=~", "||", "&&", "==", "!=", "=~", "!", "(", ")", ","}) {
      if (!starts_with(op)) continue;
      at_ += op.size();
      token.kind = TokenKind::Operator;
      token.text = op;
      return token;
    }
    return failure(fmt::format("unexpected '{}'", shorten(text_.substr(at_), 12)));
  }

  Result<Token> variable() {
    Token token{TokenKind::Variable, {}, at_ + 1};
    ++at_;
    const bool braces = starts_with("{");
    if (braces) ++at_;
    if (at_ == text_.size() || !is_name_start(text_[at_]))
      return failure("'$' without a variable name");
    token.text = name();
    if (braces) {
      if (!starts_with("}")) return failure(fmt::format("'${{{}' without '}}'", token.text));
      ++at_;
    }
    return token;
  }

  Result<Token> literal() {
    Token token{TokenKind::Text, {}, at_ + 1};
    const char quote = text_[at_];
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') {
      end += text_[end] == '\\' && end + 1 < text_.size() ? 2 : 1;
    }
    if (end >= text_.size() || text_[end] != quote) return failure("text without a closing quote");
    std::string_view content = text_.substr(at_ + 1, end - at_ - 1);
    while (content.size() >= 2 && (content.front() == '\'' || content.front() == '"') &&
           content.front() == content.back()) {
      content = content.substr(1, content.size() - 2);
    }
    token.text = content;
    at_ = end + 1;
    return token;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view text) {
  return Lexer(text).run();
}

}  // namespace cirrus::lang
