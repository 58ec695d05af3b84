// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "lang/expand/units.h"
#include "lang/expand/variables.h"

namespace cirrus::lang {
namespace {

Result<std::string> expanded(std::string_view text, const Variables& variables,
                             const Limits& limits = {}) {
  Budget budget(limits);
  return expand_text(text, variables, limits, budget);
}

TEST(Variables, ReplaceAllThreeFormsWithoutWordBoundaries) {
  const Variables variables = {
      {"FOO", "1"}, {"FOO_BAR", "2"}, {"CHAIN", "${FOO}%FOO_BAR%"}, {"EMPTY", ""}};
  const struct {
    const char* text;
    const char* result;
  } cases[] = {
      {"$FOO", "1"},
      {"$FOOBAR", "1BAR"},
      {"$FOO_BAR", "2"},
      {"${FOO_BAR}", "2"},
      {"%FOO%", "1"},
      {"$CHAIN", "12"},
      {"$UNKNOWN ${UNKNOWN} %UNKNOWN%", "$UNKNOWN ${UNKNOWN} %UNKNOWN%"},
      {"100% of $", "100% of $"},
      {"\\$FOO", "\\1"},
      {"[$EMPTY]", "[]"},
      {"$$FOO", "$1"},
      {"", ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(expanded(c.text, variables).value(), c.result);
  }
}

TEST(Variables, SelfReferencesGrowForTenRounds) {
  EXPECT_EQ(expanded("$A", {{"A", "x$A"}}).value(), "xxxxxxxxxx$A");
  EXPECT_EQ(expanded("$A", {{"A", "$A"}}).value(), "$A");
}

TEST(Variables, GrowthIsBounded) {
  const Variables doubling = {{"A", "$A$A$A$A$A$A$A$A"}};
  const Result<std::string> result = expanded("$A", doubling);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), Code::ResourceExhausted);
  Variables many;
  for (int i = 0; i < 20'000; ++i) many["V" + std::to_string(i)] = "$V";
  std::string references;
  for (int i = 0; i < 100'000; ++i) references += "$V";
  EXPECT_EQ(expanded(references, many).error().code(), Code::ResourceExhausted);
}

TEST(Units, MemoryAndTime) {
  const struct {
    const char* text;
    int megabytes;  ///< -1: an error
  } memory[] = {{"4", 4096},        {"99", 101376},   {"100", 100},  {"512Mb", 512}, {"512M", 512},
                {"512mi", 512},     {"4G", 4096},     {"4gb", 4096}, {"4Gi", 4096},  {"4 G", -1},
                {"4.5G", -1},       {"4T", -1},       {"", -1},      {"-1", -1},     {"G", -1},
                {"4294967296", -1}, {"4194304G", -1}, {"0", 0}};
  for (const auto& c : memory) {
    SCOPED_TRACE(c.text);
    const Result<std::uint32_t> value = parse_megabytes(c.text);
    EXPECT_EQ(value.ok() ? static_cast<int>(value.value()) : -1, c.megabytes);
  }
  const struct {
    const char* text;
    int seconds;
  } times[] = {{"1", 60},    {"1m", 60}, {"1H", 3600}, {"30S", 30}, {"1d", -1},
               {"1.5h", -1}, {"", -1},   {"h", -1},    {" 1m", -1}, {"1193047h", -1}};
  for (const auto& c : times) {
    SCOPED_TRACE(c.text);
    const Result<std::uint32_t> value = parse_seconds(c.text);
    EXPECT_EQ(value.ok() ? static_cast<int>(value.value()) : -1, c.seconds);
  }
}

TEST(Units, Numbers) {
  EXPECT_EQ(parse_decimal("0.5").value(), 0.5);
  EXPECT_EQ(parse_decimal("+2").value(), 2);
  EXPECT_EQ(parse_decimal("1e3").value(), 1000);
  for (const char* text : {"", "x", "1x", "inf", "nan", "1e999", " 1"})
    EXPECT_FALSE(parse_decimal(text).ok()) << text;
  EXPECT_EQ(parse_integer("65535", 0, 65535).value(), 65535);
  for (const char* text : {"", "65536", "-1", "1.0", "0x1", "+-1"}) {
    EXPECT_FALSE(parse_integer(text, 0, 65535).ok()) << text;
  }
}

}  // namespace
}  // namespace cirrus::lang
