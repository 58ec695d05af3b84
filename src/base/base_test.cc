// SPDX-License-Identifier: MIT
#include <thread>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/stop.h"
#include "base/strings.h"
#include "base/utf8.h"

namespace cirrus {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return error(Code::InvalidArgument, "{} is odd", number);
  return number / 2;
}

Result<int> quarter(int number) {
  const int once = CIRRUS_TRY(half(number).note("halving {}", number));
  return half(once).note("halving {} again", once);
}

TEST(Result, CarriesTheValueOrTheStoryOfTheFailure) {
  EXPECT_EQ(quarter(12).value(), 3);
  const Result<int> failed = quarter(6);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code(), Code::InvalidArgument);
  EXPECT_EQ(failed.error().to_string(), "halving 3 again: 3 is odd");
}

TEST(Result, NamesTheCodeOfASystemCallsErrno) {
  EXPECT_EQ(code_of_errno(ENOENT), Code::NotFound);
  EXPECT_EQ(code_of_errno(ENOSPC), Code::ResourceExhausted);
  EXPECT_EQ(errno_error(EACCES, "cannot open '{}'", "x").message(),
            "cannot open 'x': Permission denied");
}

TEST(Secret, NeverPrintsItsText) {
  const Secret secret("hunter2");
  EXPECT_EQ(fmt::format("{}", secret), "<redacted>");
  EXPECT_TRUE(secret.matches("hunter2"));
  EXPECT_FALSE(secret.matches("hunter3"));
  EXPECT_FALSE(secret.matches("hunter22"));
}

TEST(Ids, AreLongEnoughAndDiffer) {
  EXPECT_EQ(random_hex(16).size(), 32U);
  EXPECT_NE(random_hex(16), random_hex(16));
  EXPECT_EQ(random_uuid().size(), 36U);
  EXPECT_EQ(random_uuid()[14], '4');
}

TEST(Clock, FormatsTimesBeforeAndAfter1970) {
  EXPECT_EQ(to_rfc3339(from_unix_millis(0)), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(to_rfc3339(from_unix_millis(1234567890123)), "2009-02-13T23:31:30.123Z");
  EXPECT_EQ(to_rfc3339(from_unix_millis(-1)), "1969-12-31T23:59:59.999Z");
}

TEST(Clock, ManualMovesOnlyWhenTold) {
  ManualClock clock;
  const Monotonic before = clock.now();
  EXPECT_EQ(clock.now(), before);
  clock.advance(std::chrono::seconds(3));
  EXPECT_EQ(clock.now() - before, std::chrono::seconds(3));
}

TEST(Stop, EndsAWaitAtOnce) {
  StopSource source;
  Thread stopper([&] { source.request_stop(); });
  EXPECT_FALSE(wait_for(source.get_token(), std::chrono::hours(1)));
}

TEST(Guarded, WakesAWaiterOnUpdate) {
  Guarded<int> number(0);
  Thread writer([&] { number.update([](int& n) { n = 7; }); });
  const int seen = number.wait(
      StopToken(), [](const int& n) { return n == 7; }, [](int& n, bool) { return n; });
  EXPECT_EQ(seen, 7);
}

TEST(Log, QuotesValuesThatWouldSplitOrForgeALine) {
  std::string written;
  set_log_sink([&](LogLevel, std::string_view line) { written = std::string(line); });
  log_info("task ended", {{"task", 12}, {"reason", "bad\nexit=\"1\""}});
  set_log_sink(nullptr);
  EXPECT_NE(written.find("info    task ended task=12 reason=\"bad\\nexit=\\\"1\\\"\""),
            std::string::npos)
      << written;
}

TEST(Log, ReadsEveryLevelNameOfTheReference) {
  for (const char* name : {"panic", "fatal", "error", "warning", "info", "debug", "trace"}) {
    EXPECT_TRUE(parse_log_level(name).ok()) << name;
  }
  EXPECT_EQ(parse_log_level("WARN").value(), LogLevel::Warning);
  EXPECT_FALSE(parse_log_level("loud").ok());
}

TEST(Strings, SplitJoinTrimShorten) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(split("", ','), (std::vector<std::string>{""}));
  EXPECT_EQ(join({"a", "b"}, ", "), "a, b");
  EXPECT_EQ(trim(" \t x y \n"), "x y");
  EXPECT_EQ(shorten("h\xC3\xA9llo wor", 7), "h\xC3\xA9l...");
}

TEST(Utf8, IsToldFromOtherBytes) {
  const struct {
    const char* text;
    const char* wanted;
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80", "h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"},
      {"caf\xE9", "caf\xEF\xBF\xBD"},
      {"\xC3", "\xEF\xBF\xBD"},                                  // cut short
      {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},                  // over-long
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},  // half of a surrogate pair
      {"\xF4\x90\x80\x80x",
       "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDx"},  // beyond U+10FFFF
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(as_utf8(c.text), c.wanted);
    EXPECT_EQ(is_utf8(c.text), std::string_view(c.text) == c.wanted);
  }
}

TEST(Strings, FindsTheNameThatWasMeant) {
  const std::vector<std::string> names{"token", "labels", "resources"};
  EXPECT_EQ(nearest_name("lables", names), "labels");
  EXPECT_EQ(nearest_name("tokn", names), "token");
  EXPECT_EQ(nearest_name("entirely_else", names), "");
}

}  // namespace
}  // namespace cirrus
