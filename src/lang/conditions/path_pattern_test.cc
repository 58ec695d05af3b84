// SPDX-License-Identifier: MIT
#include "lang/conditions/path_pattern.h"

#include <gtest/gtest.h>

#include "lang/conditions/pattern_cache.h"

namespace cirrus::lang {
namespace {

Result<bool> matches(const char* pattern, const char* path) {
  const Limits limits;
  Budget budget(limits);
  PatternCache cache;
  return cache.matches_path(path, pattern, budget);
}

TEST(PathPattern, MatchesWholePaths) {
  const struct {
    const char* pattern;
    const char* path;
    bool match;
  } cases[] = {
      {"*.go", "main.go", true},
      {"*.go", "a/main.go", false},
      {"**.go", "main.go", true},
      {"**.go", "a/b/main.go", true},
      {"**/*.go", "main.go", false},
      {"**/*.go", "a/b/main.go", true},
      {"src/**", "src/a/b", true},
      {"src/**", "src", false},
      {"?.c", "a.c", true},
      {"?", "/", false},
      {"[abc].c", "b.c", true},
      {"[a-c]", "d", false},
      {"[!a]", "b", true},
      {"[!a]", "/", false},
      {"[-x]", "-", true},
      {"[^a]", "^", true},
      {"[^a]", "b", false},
      {"*.{c,h}", "a.h", true},
      {"*.{c,h}", "a.cc", false},
      {"a,b", "a,b", true},
      {"a}", "a}", true},
      {"\\*", "*", true},
      {"\\*", "x", false},
      {"a.b", "axb", false},
      {"A", "a", false},
      {"ä*", "äb", true},
      {"?", "ä", true},
      {"[ä-ö]", "ö", true},
      {"(x)+", "(x)+", true},
      {"", "", true},
      {"{a,}b", "b", true},
      {"a\nb", "a\nb", true},
      {"**", "a\nb/c", true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.pattern) + " on " + c.path);
    const Result<bool> match = matches(c.pattern, c.path);
    ASSERT_TRUE(match.ok()) << match.error().to_string();
    EXPECT_EQ(match.value(), c.match);
  }
}

TEST(PathPattern, RefusesMalformedPatterns) {
  for (const char* pattern :
       {"[", "[a", "[]", "[!]", "{a", "{a,{b}}", "[c-a]", "[a-]", "[/]", "[a/b]", "\\", "[\\"}) {
    SCOPED_TRACE(pattern);
    const Result<bool> match = matches(pattern, "x");
    ASSERT_FALSE(match.ok());
    EXPECT_NE(match.error().message().find("bad path pattern"), std::string::npos);
  }
}

}  // namespace
}  // namespace cirrus::lang
