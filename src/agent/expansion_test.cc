// SPDX-License-Identifier: MIT
#include "agent/expansion.h"

#include <gtest/gtest.h>

#include "agent/env_file.h"
#include "agent/environment.h"
#include "agent/shell.h"
#include "agent/time_stamps.h"

namespace cirrus::agent {
namespace {

TEST(Expansion, FollowsTheReferenceInEveryCorner) {
  const Variables set = {{"A", "one"}, {"EMPTY", ""}, {"N_1", "two"}};
  const struct {
    const char* text;
    const char* wanted;
  } cases[] = {
      {"$A", "one"},
      {"${A}", "one"},
      {"x${A}y$A.z",
       "xoney"
       "one.z"},
      {"$N_1", "two"},
      {"%A%", "one"},
      {"100%", "100%"},
      {"%A", "%A"},
      {"%%", "%%"},
      {"a % b % c", "a % b % c"},
      {"$UNSET", ""},
      {"${UNSET:default}", "default"},
      {"${UNSET:-x}", "-x"},
      {"${UNSET:a:b}", "a:b"},
      {"${EMPTY:default}", ""},
      {"pa$$word", "paword"},
      {"x$1y", "xy"},
      {"$@$#$*$!$?$-", ""},
      {"$(date)", "$(date)"},
      {"$\"x\"", "$\"x\""},
      {"$/x", "$/x"},
      {"end$", "end$"},
      {"${}", ""},
      {"a${}b", "ab"},
      {"a${A", "aA"},
      {"\\$A", "\\one"},
  };
  for (const auto& c : cases) {
    const std::string result = expand(c.text, [&set](std::string_view name) {
      const auto found = set.find(name);
      return found == set.end() ? std::nullopt : std::optional(found->second);
    });
    EXPECT_EQ(result, c.wanted) << c.text;
  }
}

TEST(Expansion, ResolvesChainsAndLeavesSelfReferencesAlone) {  // rows 9 and 10
  TaskEnvironment environment({{"PATH", "/bin"}, {"HOME", "/root"}}, {});
  environment.merge({{"A", "${B:latest}"},
                     {"C1", "$C2"},
                     {"C2", "$C3"},
                     {"C3", "$C4"},
                     {"C4", "$C5"},
                     {"C5", "end"},
                     {"FOO", "Contains $FOO"},
                     {"PATH", "/x:$PATH"},
                     {"HOME", "/foo"},
                     {"X", "$HOME/bar"}});
  EXPECT_EQ(environment.get("A"), "latest");
  EXPECT_EQ(environment.get("C1"), "end");
  EXPECT_EQ(environment.get("FOO"), "Contains $FOO");
  EXPECT_EQ(environment.get("PATH"), "/x:/bin");
  EXPECT_EQ(environment.get("X"), "/root/bar");
  EXPECT_EQ(environment.expand_text("$HOME"), "/foo");
  environment.merge({{"B", "foo"}, {"D", "%B%"}});
  EXPECT_EQ(environment.get("A"), "latest");  // was expanded already
  EXPECT_EQ(environment.get("D"), "foo");
}

TEST(Expansion, LeavesSecretsAsTheyAre) {
  TaskEnvironment environment({{"abc", "SHOULD NOT APPEAR"}}, {"pa$abc%x%"});
  environment.merge({{"DB_PASSWORD", "pa$abc%x%"}, {"URL", "db://u:$DB_PASSWORD@h"}});
  EXPECT_EQ(environment.get("DB_PASSWORD"), "pa$abc%x%");
  EXPECT_EQ(environment.get("URL"), "db://u:pa$abc%x%@h");
  environment.merge({{"OTHER", "1"}});
  EXPECT_EQ(environment.for_process().at("URL"), "db://u:pa$abc%x%@h");
}

TEST(Expansion, SetsTheShellOnlyWhereTheProcessHasOne) {
  TaskEnvironment with({{"SHELL", "/bin/zsh"}}, {});
  with.merge({{"CIRRUS_SHELL", "/bin/sh"}});
  EXPECT_EQ(with.for_process().at("SHELL"), "/bin/sh");
  TaskEnvironment without({}, {});
  without.merge({{"CIRRUS_SHELL", "/bin/sh"}});
  EXPECT_FALSE(without.for_process().contains("SHELL"));
}

TEST(EnvFile, KeepsGoodLinesAndNamesBadOnes) {  // row 11
  const EnvFile file = parse_env_file(
      "A=B\nA==B\r\n\n# a comment\nnonsense\nM<<END\nline 1\nline 2\nEND\nE=\nlast=no newline");
  EXPECT_EQ(file.variables,
            (Variables{{"A", "=B"}, {"M", "line 1\nline 2"}, {"E", ""}, {"last", "no newline"}}));
  ASSERT_EQ(file.problems.size(), 1U);
  EXPECT_NE(file.problems[0].find("line 5"), std::string::npos);
  EXPECT_EQ(parse_env_file("M<<END\nx\n").problems.size(), 1U);
  EXPECT_EQ(parse_env_file("A=x<<y\n").variables.at("A"), "x<<y");
}

TEST(EnvFile, NamesNotEveryLineOfAFileThatIsNone) {
  std::string text;
  for (int n = 0; n < 1000; ++n) text += "prose\n";
  const EnvFile file = parse_env_file(text + "A=B\n");
  ASSERT_EQ(file.problems.size(), 21U);
  EXPECT_EQ(file.problems.back(), "980 more lines of CIRRUS_ENV cannot be used either");
  EXPECT_EQ(file.variables.at("A"), "B");
}

TEST(Shell, SplitsWordsLikeTheReference) {
  const struct {
    const char* text;
    std::vector<std::string> words;
  } cases[] = {
      {"bash -c 'echo x y'", {"bash", "-c", "echo x y"}},
      {"  a\tb  ", {"a", "b"}},
      {"a\"b c\"d", {"ab cd"}},
      {"a\\ b", {"a b"}},
      {"'a\\'b'", {"a'b"}},
      {"'' \"\"", {"", ""}},
  };
  for (const auto& c : cases) {
    const auto words = split_words(c.text);
    ASSERT_TRUE(words.ok()) << c.text;
    EXPECT_EQ(words.value(), c.words) << c.text;
  }
  EXPECT_FALSE(split_words("'open").ok());
  EXPECT_FALSE(split_words("end\\").ok());
}

TEST(TimeStamps, StandBeforeEachLineAndNowhereElse) {  // row 13
  ManualClock clock;
  TimeStamps stamps(clock);
  const std::string text = stamps.apply("\r\nfirst\r\n");
  const std::string prefix = text.substr(0, 15);
  EXPECT_EQ(text, prefix + "\r\n" + prefix + "first\r\n");
  EXPECT_EQ(prefix.front(), '[');
  EXPECT_EQ(prefix.substr(13), "] ");
  EXPECT_EQ(stamps.apply("x"), prefix + "x");
  EXPECT_EQ(stamps.apply("y\n"), "y\n");
}

}  // namespace
}  // namespace cirrus::agent
