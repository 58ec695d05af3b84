// SPDX-License-Identifier: MIT
#include "controller/http/json_fields.h"

#include <gtest/gtest.h>

namespace cirrus::controller::http {

namespace {
std::string nested(int levels) {
  std::string text = "{\"a\":";
  for (int i = 1; i < levels; ++i) text += '[';
  for (int i = 1; i < levels; ++i) text += ']';
  return levels == 1 ? "{\"a\":1}" : text + "}";
}
}  // namespace

TEST(JsonFields, ABodyIsAnObjectAndNotTooDeep) {
  const struct {
    const char* name;
    std::string text;
    const char* refusal;  ///< empty: it is taken
  } cases[] = {
      {"nothing", "", ""},
      {"an object", "{\"a\":{\"b\":[1]}}", ""},
      {"as deep as allowed", nested(kDeepestBody), ""},
      {"one deeper", nested(kDeepestBody + 1), "nested deeper than 32 levels"},
      {"brackets alone", std::string(1'000'000, '['), "nested deeper than 32 levels"},
      {"brackets in a string are text", "{\"a\":\"" + std::string(1000, '[') + "\"}", ""},
      {"so they are after an escaped quote", "{\"a\":\"\\\"" + std::string(1000, '{') + "\"}", ""},
      {"but not after a string that ends in a backslash",
       "{\"a\":\"\\\\\"," + std::string(1000, '[') + "}", "nested deeper"},
      {"many beside each other",
       "{\"a\":[" +
           [] {
             std::string many;
             for (int i = 0; i < 1000; ++i) many += "[],{},";
             return many + "[]]}";
           }(),
       ""},
      {"a list", "[1]", "not a JSON object"},
      {"closing brackets", std::string(1000, ']'), "not a JSON object"},
      {"half an object", "{\"a\":", "not a JSON object"},
      {"not UTF-8", "{\"a\":\"\xff\"}", "not a JSON object"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Result<nlohmann::json> read = json_object(c.text);
    if (*c.refusal == '\0') {
      EXPECT_TRUE(read.ok()) << read.error().to_string();
      continue;
    }
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code(), Code::InvalidArgument);
    EXPECT_NE(read.error().message().find(c.refusal), std::string::npos) << read.error().message();
  }
}

TEST(JsonFields, UnknownFieldsAreNamedShortlyWithWhatWasMeant) {
  const Status close = only_fields({{"comit", 1}}, {"commit", "config"});
  ASSERT_FALSE(close.ok());
  EXPECT_EQ(close.error().message(), "unknown field 'comit', did you mean 'commit'?");
  nlohmann::json long_name;
  long_name[std::string(100'000, 'x')] = 1;
  EXPECT_LT(only_fields(long_name, {"commit"}).error().message().size(), 200U);
}

}  // namespace cirrus::controller::http
