// SPDX-License-Identifier: MIT
// One worst case per limit, generated at that limit: each ends in its own error within a second
// of processor time and 256 MB. The second is checked in optimised builds; others get a margin.
#include "lang/limits.h"

#include <sys/resource.h>

#include <ctime>

#include <gtest/gtest.h>

#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::evaluated;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kInstrumented = true;
constexpr double kSeconds = 60;
#else
constexpr bool kInstrumented = false;
// Finds what is quadratic, on any machine. The goal, a second in a release build, is a matter for
// measurements: the time of each case is printed and recorded as a property of this test.
constexpr double kSeconds = 15;
#endif

double processor_seconds() {
  return static_cast<double>(std::clock()) / static_cast<double>(CLOCKS_PER_SEC);
}

std::string repeat(std::string_view text, std::size_t times) {
  std::string result;
  for (std::size_t i = 0; i < times; ++i) result += text;
  return result;
}

/// Nine alias levels of nine: a small text for 9^9 values.
std::string billion_laughs() {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    text += fmt::format("a{0}: &a{0} [{1}]\n", i, repeat(fmt::format("*a{}, ", i - 1), 9));
  }
  return text;
}

std::string matrix_product() {
  std::string text = "task:\n  container: {image: a}\n";
  for (int i = 0; i < 12; ++i)
    text += fmt::format("  m{}: {{matrix: {{a: 1, a: 2, a: 3, a: 4}}}}\n", i);
  return text;
}

std::string numbered(std::string_view format, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += fmt::format(fmt::runtime(format), i);
  return text;
}

struct WorstCase {
  const char* name;
  std::string text;
  const char* message;  ///< part of the error; empty: it must evaluate
};

std::vector<WorstCase> worst_cases() {
  const std::string box = "container: {image: a}\n";
  const std::string large(900'000, 'x');
  return {
      {"size", "# " + std::string(1 << 20, 'x'), "larger than 1048576 bytes"},
      {"depth", "a: " + repeat("[", 500'000), "nested deeper than 100 levels"},
      {"block depth", repeat("- ", 500'000), "nested deeper than 100 levels"},
      {"open braces", repeat("{a: ", 200'000), "nested deeper than 100 levels"},
      {"nodes", "a: [" + repeat("x,", 320'000) + "]", "more than 300000 nodes"},
      {"aliases", billion_laughs(), "aliases make this file larger than 300000 values"},
      {"merges",
       "a: &a {" + numbered("k{}: 1,", 5'000) + "}\n" + numbered("t{}: {{<<: *a}}\n", 2'000),
       "aliases make this file larger than 300000 values"},
      {"matrix product", matrix_product(),
       "this matrix makes the configuration larger than 300000 values"},
      {"tasks", box + repeat("task: {}\n", 4'001), "more than 4000 tasks"},
      {"tasks at the limit", box + repeat("task: {}\n", 4'000), ""},
      {"output", box + "env: {A: " + large + "}\n" + repeat("task: {}\n", 4'000),
       "configuration are larger than"},
      {"inherited settings",
       box + "env: {" + numbered("K{}: 1, ", 30'000) + "}\n" +
           repeat("task: {env: {A: 1}}\n", 4'000),
       "configuration are larger than"},
      {"expansion growth", box + "env: {A: $A$A$A$A$A$A$A$A$A$A}\ntask: {name: $A}\n",
       "makes the text larger than"},
      {"expansion work",
       box + "env: {" + numbered("V{}: 1, ", 40'000) + "}\ntask: {name: '" + repeat("$V", 100'000) +
           "'}\n",
       "takes too much work"},
      {"many expansions",
       box + "env: {A: " + std::string(500'000, '$') + "}\n" + repeat("task: {name: $A}\n", 4'000),
       "takes too much work"},
      {"pattern size", box + "task: {only_if: \"'a' =~ '" + std::string(100'000, 'a') + "'\"}",
       "too long"},
      {"pattern program", box + "task: {only_if: \"'a' =~ '((a{1000}){1000})'\"}", "bad pattern"},
      {"pattern work",
       box + "env: {A: " + large + "}\n" +
           repeat("task: {only_if: \"$A =~ '(x?){500}y|(x+x+)+y'\"}\n", 1'000),
       "takes too much work"},
      {"contained text",
       box + "env: {A: " + std::string(300'000, 'a') + ", B: " + std::string(200'000, 'a') +
           "b}\n" + repeat("task: {skip: $B in $A}\n", 50),
       ""},
      {"condition length", box + "task: {skip: \"" + repeat("!", 900'000) + "true\"}",
       "the condition is too long"},
      {"condition depth", box + "task: {skip: \"" + repeat("(", 10'000) + "true\"}",
       "nested too deeply"},
      {"long condition", box + "task: {skip: \"" + repeat("true && ", 9'000) + "true\"}", ""},
      {"dependencies",
       box + repeat("a_task: {}\n", 1'999) +
           repeat("b_task: {depends_on: [a, a, a, a, a, a, a, a, a, a]}\n", 2'000),
       "configuration are larger than"},
      {"differing conditions",
       box + repeat("a_task: {only_if: true}\n", 2'000) +
           repeat("b_task: {depends_on: a}\n", 2'000),
       "configuration are larger than"},
      {"duplicate keys", box + "task:\n  env: {" + repeat("A: 1, ", 100'000) + "}\n", ""},
      {"anchors", numbered("a{0}: &x{0} 1\n", 40'000), ""},
      {"long line", box + "task: {script: \"" + std::string(1'000'000, 'y') + "\"}", ""},
  };
}

TEST(Limits, EveryWorstCaseIsCheapAndHasItsError) {
  for (const WorstCase& c : worst_cases()) {
    SCOPED_TRACE(c.name);
    const double begin = processor_seconds();
    const Outcome outcome = evaluated(c.text);
    const double seconds = processor_seconds() - begin;
    RecordProperty(c.name, fmt::format("{:.3f}", seconds));
    if (seconds > 0.3) fmt::print("{}: {:.3f} s\n", c.name, seconds);
    EXPECT_LT(seconds, kSeconds);
    if (*c.message == '\0') {
      EXPECT_FALSE(outcome.error) << render(*outcome.error).substr(0, 500);
      continue;
    }
    ASSERT_TRUE(outcome.error);
    EXPECT_NE(outcome.error->message.find(c.message), std::string::npos)
        << outcome.error->message.substr(0, 300);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print("peak memory {} MB\n", usage.ru_maxrss / 1024);
  EXPECT_TRUE(kInstrumented || usage.ru_maxrss < 256 * 1024);
}

}  // namespace
}  // namespace cirrus::lang
