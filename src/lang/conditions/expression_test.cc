// SPDX-License-Identifier: MIT
#include "lang/conditions/expression.h"

#include <gtest/gtest.h>

namespace cirrus::lang {
namespace {

struct Evaluator {
  Limits limits;
  Budget budget{limits};
  PatternCache patterns;
  Variables variables = {{"A", "x"},        {"T", "true"},     {"F", "false"},
                         {"NESTED", "$A!"}, {"CIRRUS_PR", ""}, {"LINES", "one\ntwo"},
                         {"N", "1"},        {"BRANCH", "Main"}};
  std::vector<std::string> files = {"src/a.cc", "docs/index.md"};

  Result<bool> operator()(std::string_view text) {
    const Functions functions = change_functions(files, patterns, budget);
    return evaluate_condition(text, {variables, functions, patterns, limits, budget});
  }
};

TEST(Expression, FollowsPrecedenceAndTruthRules) {
  const struct {
    const char* text;
    bool value;
  } cases[] = {
      {"true || false && false", true},
      {"(true || false) && false", false},
      {"!false", true},
      {"!!true", true},
      {"!$T == 'false'", true},  // `!` binds to the next value only
      {"'a' in 'cat' == 'true'", true},
      {"$A == 'x'", true},
      {"${A} == \"x\"", true},
      {"$UNSET == ''", true},
      {"$NESTED == 'x!'", true},
      {"'$A' == 'x'", false},  // literals are not expanded
      {"\"'x'\" == 'x'", true},
      {"'\\d+' == '\\d+'", true},
      {"$N", true},
      {"'T'", true},
      {"'F' || 't'", true},
      {"$BRANCH == 'main'", false},
      {"$BRANCH =~ 'main'", true},
      {"$LINES =~ 'one.two'", true},
      {"'abc' =~ 'a|xx'", true},  // no group around the pattern
      {"'xxa' =~ 'b|a'", true},
      {"'xa' =~ 'a|b'", false},
      {"'abc' !=~ 'abc'", false},
      {"true // a comment", true},
      {"true /* || false */ && true", true},
      {"true\n  && true\n", true},
      {"changesInclude('**.md')", true},
      {"changesInclude('*.md')", false},
      {"changesInclude('src/*', 'x')", true},
      {"changesIncludeOnly('src/**', 'docs/**')", true},
      {"changesIncludeOnly('src/**')", false},
      {"changesInclude('src/$FILE')", false},
      {"'x' in 'axb' && !('y' in 'axb')", true},
      {"'it\\'s' == 'it\\'s'", true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const Result<bool> value = Evaluator()(c.text);
    ASSERT_TRUE(value.ok()) << value.error().to_string();
    EXPECT_EQ(value.value(), c.value);
  }
}

TEST(Expression, ExpandsFunctionArguments) {
  Evaluator run;
  run.variables["DIR"] = "docs";
  EXPECT_TRUE(run("changesInclude('$DIR/*')").value());
  EXPECT_TRUE(run("changesInclude($DIR)").ok());
}

TEST(Expression, IncludeOnlyIsFalseWithoutFiles) {
  Evaluator run;
  run.files.clear();
  EXPECT_FALSE(run("changesIncludeOnly('**')").value());
  EXPECT_FALSE(run("changesInclude('**')").value());
}

TEST(Expression, ReportsWhatIsNoExpression) {
  const struct {
    const char* text;
    const char* part;
  } cases[] = {
      {"", "expected a value at the end"},
      {"true &&", "expected a value at the end"},
      {"true true", "expected an operator at character 6, found 'true'"},
      {"'maybe'", "'maybe' is neither true nor false"},
      {"$A", "'x' is neither true nor false"},
      {"true || 'x'", "'x' is neither true nor false"},  // no short circuit
      {"false && $CIRRUS_PR", "'' is neither true nor false"},
      {"(true", "expected ')' at the end"},
      {"'open", "text without a closing quote at character 1"},
      {"'a\nb' == ''", "text without a closing quote"},
      {"${A == 'x'", "'${A' without '}'"},
      {"$ == ''", "'$' without a variable name"},
      {"5 == '5'", "unexpected '5"},
      {"`x`", "unexpected"},
      {"maybe", "expected a value such as 'text' or $NAME"},
      {"in 'x'", "expected a value such as"},
      {"'a' =~ '('", "bad pattern '('"},
      {"'a' !=~ '('", "bad pattern '('"},
      {"'a' =~ '(?=x)'", "bad pattern"},
      {"changesInclude()", "changesInclude needs at least one pattern"},
      {"changesIncludeOnly()", "changesIncludeOnly needs at least one pattern"},
      {"changesInclude('[')", "bad path pattern '['"},
      {"changesIncludes('x')", "did you mean 'changesInclude'?"},
      {"changesInclude('a' 'b')", "expected ',' or ')'"},
      {"true /* open", "comment without an end"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const Result<bool> value = Evaluator()(c.text);
    ASSERT_FALSE(value.ok());
    EXPECT_NE(value.error().message().find(c.part), std::string::npos) << value.error().message();
  }
}

TEST(Expression, NestingAndPatternsAreBounded) {
  const std::string deep(5'000, '(');
  EXPECT_EQ(Evaluator()(deep + "true").error().code(), Code::ResourceExhausted);
  EXPECT_EQ(Evaluator()(std::string(5'000, '!') + "true").error().code(), Code::ResourceExhausted);
  EXPECT_FALSE(Evaluator()("'a' =~ '((a{1000}){1000}){1000}'").ok());
  EXPECT_FALSE(Evaluator()("'a' =~ '(\\\\pL{500}){20}'").ok());
}

}  // namespace
}  // namespace cirrus::lang
