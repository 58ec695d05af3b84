// SPDX-License-Identifier: MIT
// Boolean expressions: `only_if: $CIRRUS_BRANCH == 'main' && changesInclude('src/**')`.
//
//   expr    = and { "||" and }              cmp     = in { ("==" | "!=" | "=~" | "!=~") in }
//   and     = cmp { "&&" cmp }              in      = unary { "in" unary }
//   unary   = "!" unary | primary
//   primary = "true" | "false" | string | $NAME | ${NAME} | name "(" args ")" | "(" expr ")"
//
// All values are texts. Both sides of `&&` and `||` are always evaluated, so that a mistake on
// either shows. Source: reference CLI, boolean evaluator.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lang/conditions/pattern_cache.h"
#include "lang/expand/variables.h"

namespace cirrus::lang {

/// A function of the language; gets its arguments expanded.
using Function = std::function<Result<std::string>(const std::vector<std::string>& arguments)>;
using Functions = std::map<std::string, Function, std::less<>>;

/// What an expression can see; everything outlives the call.
struct ExpressionScope {
  const Variables& variables;
  const Functions& functions;
  PatternCache& patterns;
  const Limits& limits;
  Budget& budget;
};

/// The truth of `text`. Errors: InvalidArgument for everything that is no expression of the grammar
/// or whose value is neither true nor false; ResourceExhausted over a limit. Messages name the
/// column within the expression.
Result<bool> evaluate_condition(std::string_view text, const ExpressionScope& scope);

/// `1 t T TRUE true True` and `0 f F FALSE false False`; anything else is InvalidArgument.
Result<bool> truth_of(std::string_view text);

/// changesInclude and changesIncludeOnly over these files; the references must outlive the result.
Functions change_functions(const std::vector<std::string>& affected_files, PatternCache& patterns,
                           Budget& budget);

}  // namespace cirrus::lang
