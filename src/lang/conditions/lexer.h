// SPDX-License-Identifier: MIT
// Tokens of a boolean expression.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::lang {

enum class TokenKind { End, Identifier, Variable, Text, Operator };

struct Token {
  TokenKind kind = TokenKind::End;
  std::string text;        ///< a name, the content of a literal, or the operator itself
  std::size_t column = 1;  ///< 1-based, within the expression
};

/// All tokens, the last one being End. Comments (`//`, `/* */`) and white space vanish; quote pairs
/// around a literal's content are peeled (`"'x'"` is x), backslashes stay.
/// Errors: InvalidArgument with the column. Ours: an open literal or `${` is an error.
Result<std::vector<Token>> tokenize(std::string_view text);

}  // namespace cirrus::lang
