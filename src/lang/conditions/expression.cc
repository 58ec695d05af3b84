// SPDX-License-Identifier: MIT
#include "lang/conditions/expression.h"

#include <cstring>

#include "base/strings.h"
#include "lang/conditions/lexer.h"

namespace cirrus::lang {
namespace {

constexpr int kMaxDepth = 100;  ///< Ours: nested parentheses, calls and negations.

std::string truth_text(bool value) {
  return value ? "true" : "false";
}

/// Parses and evaluates in one pass, which is possible because nothing is short-circuited.
class Evaluator {
 public:
  Evaluator(std::vector<Token> tokens, const ExpressionScope& scope)
      : tokens_(std::move(tokens)), scope_(scope) {}

  Result<bool> run() {
    const std::string value = CIRRUS_TRY(either());
    if (now().kind != TokenKind::End) return unexpected("an operator");
    return truth_of(value);
  }

 private:
  const Token& now() const { return tokens_[at_]; }
  bool at_operator(std::string_view op) const {
    return now().kind == TokenKind::Operator && now().text == op;
  }
  bool take_operator(std::string_view op) {
    if (!at_operator(op)) return false;
    ++at_;
    return true;
  }

  Error unexpected(std::string_view wanted) const {
    if (now().kind == TokenKind::End)
      return error(Code::InvalidArgument, "expected {} at the end", wanted);
    return error(Code::InvalidArgument, "expected {} at character {}, found '{}'", wanted,
                 now().column, shorten(now().text, 30));
  }

  Result<std::string> either() {
    std::string left = CIRRUS_TRY(both());
    while (take_operator("||")) {
      const std::string right = CIRRUS_TRY(both());
      const bool a = CIRRUS_TRY(truth_of(left));
      const bool b = CIRRUS_TRY(truth_of(right));
      left = truth_text(a || b);
    }
    return left;
  }

  Result<std::string> both() {
    std::string left = CIRRUS_TRY(comparison());
    while (take_operator("&&")) {
      const std::string right = CIRRUS_TRY(comparison());
      const bool a = CIRRUS_TRY(truth_of(left));
      const bool b = CIRRUS_TRY(truth_of(right));
      left = truth_text(a && b);
    }
    return left;
  }

  Result<std::string> comparison() {
    std::string left = CIRRUS_TRY(contained());
    for (;;) {
      if (take_operator("==")) {
        left = truth_text(left == CIRRUS_TRY(contained()));
      } else if (take_operator("!=")) {
        left = truth_text(left != CIRRUS_TRY(contained()));
      } else if (at_operator("=~") || at_operator("!=~")) {
        const bool wanted = at_operator("=~");
        ++at_;
        const std::string pattern = CIRRUS_TRY(contained());
        left =
            truth_text(CIRRUS_TRY(scope_.patterns.matches(left, pattern, scope_.budget)) == wanted);
      } else {
        return left;
      }
    }
  }

  Result<std::string> contained() {
    std::string left = CIRRUS_TRY(unary());
    while (now().kind == TokenKind::Identifier && now().text == "in") {
      ++at_;
      const std::string right = CIRRUS_TRY(unary());
      // memmem is linear; std::string::find is not.
      left = truth_text(::memmem(right.data(), right.size(), left.data(), left.size()) != nullptr);
    }
    return left;
  }

  Result<std::string> unary() {
    if (++depth_ > kMaxDepth)
      return error(Code::ResourceExhausted, "the condition is nested too deeply");
    Result<std::string> result = std::string();
    if (take_operator("!")) {
      const std::string value = CIRRUS_TRY(unary());
      result = truth_text(!CIRRUS_TRY(truth_of(value)));
    } else {
      result = CIRRUS_TRY(primary());
    }
    --depth_;
    return result;
  }

  Result<std::string> primary() {
    if (take_operator("(")) {
      std::string value = CIRRUS_TRY(either());
      if (!take_operator(")")) return unexpected("')'");
      return value;
    }
    const Token token = now();
    if (token.kind == TokenKind::Text || token.kind == TokenKind::Variable) {
      ++at_;
      return token.kind == TokenKind::Text ? Result<std::string>(token.text) : variable(token.text);
    }
    if (token.kind != TokenKind::Identifier) return unexpected("a value");
    ++at_;
    if (at_operator("(")) return call(token);
    if (token.text == "true" || token.text == "false") return token.text;
    --at_;
    return unexpected("a value such as 'text' or $NAME");
  }

  Result<std::string> variable(const std::string& name) {
    const auto found = scope_.variables.find(name);
    if (found == scope_.variables.end()) return std::string();
    return expand_text(found->second, scope_.variables, scope_.limits, scope_.budget);
  }

  Result<std::string> call(const Token& token) {
    const auto function = scope_.functions.find(token.text);
    if (function == scope_.functions.end()) {
      std::vector<std::string> names;
      for (const auto& [name, body] : scope_.functions) names.push_back(name);
      const std::string near = nearest_name(token.text, names);
      return error(Code::InvalidArgument, "unknown function '{}' at character {}{}", token.text,
                   token.column, near.empty() ? "" : fmt::format(", did you mean '{}'?", near));
    }
    take_operator("(");
    std::vector<std::string> arguments;
    while (!take_operator(")")) {
      if (!arguments.empty() && !take_operator(",")) return unexpected("',' or ')'");
      const std::string value = CIRRUS_TRY(either());
      arguments.push_back(
          CIRRUS_TRY(expand_text(value, scope_.variables, scope_.limits, scope_.budget)));
    }
    return function->second(arguments);
  }

  std::vector<Token> tokens_;
  const ExpressionScope& scope_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

Error no_patterns(std::string_view function) {
  return error(Code::InvalidArgument, "{} needs at least one pattern", function);
}

}  // namespace

Result<bool> truth_of(std::string_view text) {
  for (const std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == no) return false;
  }
  return error(Code::InvalidArgument, "'{}' is neither true nor false", shorten(text, 60));
}

Result<bool> evaluate_condition(std::string_view text, const ExpressionScope& scope) {
  return Evaluator(CIRRUS_TRY(tokenize(text)), scope).run();
}

Functions change_functions(const std::vector<std::string>& affected_files, PatternCache& patterns,
                           Budget& budget) {
  const auto matches_any = [&patterns, &budget](
                               const std::string& file,
                               const std::vector<std::string>& wanted) -> Result<bool> {
    bool any = false;
    // Every pattern is looked at, so that a malformed one is reported whatever the files are.
    for (const std::string& pattern : wanted)
      any = CIRRUS_TRY(patterns.matches_path(file, pattern, budget)) || any;
    return any;
  };
  const auto check_patterns = [matches_any](const std::vector<std::string>& wanted) -> Status {
    CIRRUS_TRY(matches_any("", wanted));
    return {};
  };
  Functions functions;
  functions["changesInclude"] = [&affected_files, matches_any, check_patterns](
                                    const std::vector<std::string>& wanted) -> Result<std::string> {
    if (wanted.empty()) return no_patterns("changesInclude");
    CIRRUS_TRY(check_patterns(wanted));
    for (const std::string& file : affected_files) {
      if (CIRRUS_TRY(matches_any(file, wanted))) return std::string("true");
    }
    return std::string("false");
  };
  functions["changesIncludeOnly"] =
      [&affected_files, matches_any,
       check_patterns](const std::vector<std::string>& wanted) -> Result<std::string> {
    if (wanted.empty()) return no_patterns("changesIncludeOnly");
    CIRRUS_TRY(check_patterns(wanted));
    for (const std::string& file : affected_files) {
      if (!CIRRUS_TRY(matches_any(file, wanted))) return std::string("false");
    }
    return truth_text(!affected_files.empty());
  };
  return functions;
}

}  // namespace cirrus::lang
