// SPDX-License-Identifier: MIT
#include "model/masker.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/secrets.h"
#include "model/testing/plain_mask.h"

namespace cirrus::model {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string mask(const std::vector<std::string>& patterns,
                 const std::vector<std::string_view>& parts) {
  Masker masker(std::make_shared<const PatternSet>(patterns));
  std::string out;
  for (const std::string_view part : parts) masker.feed(part, out);
  masker.finish(out);
  return out;
}

TEST(Masker, HidesOverlapsAsOneAndNeighboursAsTwo) {
  const std::string mark(kMaskText);
  const struct {
    const char* name;
    std::vector<std::string> patterns;
    std::string text;
    std::string wanted;
  } cases[] = {
      {"nothing to hide", {}, "plain", "plain"},
      {"one secret", {"secret"}, "a secret!", "a " + mark + "!"},
      {"whole text", {"secret"}, "secret", mark},
      {"prefix only", {"secret"}, "a secre", "a secre"},
      {"restart inside a prefix", {"aab"}, "aaab", "a" + mark},
      {"overlapping secrets", {"abcd", "cdef"}, "xabcdefx", "x" + mark + "x"},
      {"one inside the other", {"bc", "abcd"}, "xabcdx", "x" + mark + "x"},
      {"inner one alone", {"bc", "abcd"}, "xabcx", "xa" + mark + "x"},
      {"longer one", {"abcd", "abcdef"}, "abcdefg", mark + "g"},
      {"longer one that fails", {"abcd", "abcdef"}, "abcdeg", mark + "eg"},
      {"neighbours", {"abcd"}, "abcdabcd", mark + mark},
      {"a chain", {"abab"}, "abababab", mark},
      {"one byte", {"x"}, "axbx", "a" + mark + "b" + mark},
      // T06: what `grep --color` makes of it.
      {"colours inside", {"secret"}, "a sec\x1B[01;31m\x1B[Kre\x1B[mt!", "a " + mark + "!"},
      {"another sequence inside", {"secret"}, "sec\x1B(Bret", mark},
      {"colours around", {"secret"}, "\x1B[1msecret\x1B[0m", "\x1B[1m" + mark + "\x1B[0m"},
      {"colours, then something else", {"secret"}, "sec\x1B[1mond", "sec\x1B[1mond"},
      {"a sequence that is none", {"secret"}, "sec\x1B[1\nret", "sec\x1B[1\nret"},
      {"colours within colours",
       {"abc", "1mx"},
       "a\x1B[1m\x1B[0mx\x1B[1mxb",
       "a\x1B[1m\x1B[0mx\x1B[" + mark + "b"},
      {"a secret with an escape", {"a\x1B[1mb"}, "a\x1B[1mb", mark},
      {"bytes above 127", {"\xff\xfe"}, "a\xff\xfe\xff", "a" + mark + "\xff"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(testing::plain_mask(c.patterns, c.text), c.wanted);
    for (std::size_t cut = 0; cut <= c.text.size(); ++cut) {
      const std::string_view text = c.text;
      EXPECT_EQ(mask(c.patterns, {text.substr(0, cut), text.substr(cut)}), c.wanted) << cut;
    }
    std::vector<std::string_view> bytes;
    for (std::size_t at = 0; at < c.text.size(); ++at) {
      bytes.push_back(std::string_view(c.text).substr(at, 1));
    }
    EXPECT_EQ(mask(c.patterns, bytes), c.wanted);
  }
}

TEST(Masker, AgreesWithThePlainRuleOnRandomTexts) {
  std::mt19937 random(20260601);
  const auto word = [&random](std::size_t least, std::size_t most) {
    std::string text(least + random() % (most - least + 1), 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 3);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> patterns;
    for (unsigned n = random() % 4 + 1; n > 0; --n) patterns.push_back(word(1, 7));
    const std::string text = word(0, 60);
    std::vector<std::string_view> parts;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = std::min<std::size_t>(1 + random() % 12, text.size() - at);
      parts.push_back(std::string_view(text).substr(at, length));
      at += length;
    }
    ASSERT_EQ(mask(patterns, parts), testing::plain_mask(patterns, text))
        << text << " / " << ::testing::PrintToString(patterns);
  }
}

TEST(Masker, AgreesWithThePlainRuleOnRandomColours) {
  std::mt19937 random(20260602);
  const std::vector<std::string> pieces{"a",     "b",       "m",      "1", "\x1B",
                                        "\x1B[", "\x1B[1m", "\x1B(B", "["};
  const auto text_of = [&](std::size_t most) {
    std::string text;
    for (std::size_t n = random() % most + 1; n > 0; --n) text += pieces[random() % pieces.size()];
    return text;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> patterns;
    for (std::size_t n = random() % 3 + 1; n > 0; --n) patterns.push_back(text_of(4));
    const std::string text = text_of(25);
    std::vector<std::string_view> parts;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = std::min<std::size_t>(1 + random() % 9, text.size() - at);
      parts.push_back(std::string_view(text).substr(at, length));
      at += length;
    }
    ASSERT_EQ(mask(patterns, parts), testing::plain_mask(patterns, text))
        << ::testing::PrintToString(text) << " / " << ::testing::PrintToString(patterns);
  }
}

TEST(Masker, ASequenceWithoutAnEndHoldsNothingBackForLong) {
  Masker masker(std::make_shared<const PatternSet>(std::vector<std::string>{"secret"}));
  std::string out;
  masker.feed("sec\x1B[" + std::string(100'000, '1'), out);
  EXPECT_EQ(out.size(), 100'005U);
}

TEST(Masker, HoldsBackOnlyALivePrefix) {
  Masker masker(std::make_shared<const PatternSet>(std::vector<std::string>{"secret"}));
  std::string out;
  masker.feed("see sec", out);
  EXPECT_EQ(out, "see ");
  masker.feed("ond", out);
  EXPECT_EQ(out, "see second");
  masker.feed(" secre", out);
  masker.feed("t", out);
  EXPECT_EQ(out, "see second ");
  masker.feed(".", out);
  EXPECT_EQ(out, "see second " + std::string(kMaskText) + ".");
}

TEST(Masker, TakesNewPatternsInMidStream) {
  Masker masker(std::make_shared<const PatternSet>(std::vector<std::string>{"abcdef"}));
  std::string out;
  masker.feed("1 abcd", out);
  masker.replace_patterns(
      std::make_shared<const PatternSet>(std::vector<std::string>{"abcdef", "bcdX"}), out);
  masker.feed("X 2", out);
  masker.finish(out);
  EXPECT_EQ(out, "1 a" + std::string(kMaskText) + " 2");
}

TEST(Secrets, AreFoundInEveryForm) {
  // T06: base64 at three alignments, URL- and JSON-escaped, lines of their own.
  const std::string secret = "pa$$ \"w\"/ord\nsecond line!";
  Secrets secrets;
  EXPECT_TRUE(secrets.add(secret));
  const std::string printed[] = {
      secret,
      "second line!",
      "pa$$ \"w\"/ord\r\nsecond line!",
      "pa%24%24%20%22w%22%2Ford%0Asecond%20line%21",
      "pa%24%24+%22w%22%2ford%0asecond+line%21",
      "pa$$ \\\"w\\\"/ord\\nsecond line!",
      "pa\\$\\$\\ \\\"w\\\"/ord\\\nsecond\\ line\\!",
      "cGEkJCAidyIvb3JkCnNlY29uZCBsaW5lIQ==",      // the secret alone
      "eHBhJCQgInciL29yZApzZWNvbmQgbGluZSF6",      // x before, z after
      "eHhwYSQkICJ3Ii9vcmQKc2Vjb25kIGxpbmUhCg==",  // xx before, a newline after
  };
  for (const std::string& text : printed) {
    SCOPED_TRACE(text);
    Masker masker(secrets.patterns());
    std::string out;
    masker.feed("before " + text + " after", out);
    masker.finish(out);
    EXPECT_THAT(out, HasSubstr(std::string(kMaskText)));
    EXPECT_THAT(out, Not(HasSubstr("ond")));
    EXPECT_LE(out.size(), 16 + 4 * kMaskText.size());
  }
}

TEST(MaskerFor, HidesSecretsOverEveryBorder) {
  const std::string text = "x secret y topsecret z";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Masker masker = masker_for({"secret", "topsecret", ""});
    std::string out;
    masker.feed(text.substr(0, cut), out);
    masker.feed(text.substr(cut), out);
    masker.finish(out);
    EXPECT_EQ(out, "x HIDDEN-BY-CIRRUS-CI y HIDDEN-BY-CIRRUS-CI z") << cut;
  }
}

TEST(MaskerFor, WithoutSecretsHoldsNothingBack) {
  Masker masker = masker_for({});
  std::string out;
  masker.feed("abc", out);
  EXPECT_EQ(out, "abc");
}

TEST(Secrets, OfLessThanFourBytesAreLeftAndCounted) {
  Secrets secrets;
  EXPECT_FALSE(secrets.add("abc"));
  EXPECT_TRUE(secrets.has_short_ones());
  EXPECT_TRUE(secrets.patterns()->empty());
}

TEST(Secrets, AreNamedByTheirVariable) {
  for (const char* name : {"X_PASSWORD", "X_SECRET", "X_TOKEN", "X_ACCESS_KEY", "X_SECRET_KEY"}) {
    EXPECT_TRUE(is_secret_name(name)) << name;
  }
  EXPECT_FALSE(is_secret_name("TOKEN_X"));
  EXPECT_FALSE(is_secret_name("MY_KEY"));
}

}  // namespace
}  // namespace cirrus::model
