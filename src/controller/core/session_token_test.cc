// SPDX-License-Identifier: MIT
#include "controller/core/session_token.h"

#include <gtest/gtest.h>

namespace cirrus::controller::core {

TEST(SessionToken, SaysWhoItsHolderIs) {
  const Secret key("key");
  const std::string token = mint_session_token(key, {"default", "worker 1.x", "t1"});
  const auto claims = read_session_token(key, token);
  ASSERT_TRUE(claims.ok());
  EXPECT_EQ(claims.value().pool, "default");
  EXPECT_EQ(claims.value().worker, "worker 1.x");
  EXPECT_EQ(claims.value().registration_token_id, "t1");
}

TEST(SessionToken, AnyChangeMakesItWorthless) {
  const Secret key("key");
  const std::string token = mint_session_token(key, {"default", "w", "t1"});
  EXPECT_FALSE(read_session_token(Secret("other"), token).ok());
  for (std::size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == '0' ? '1' : '0';
    EXPECT_FALSE(read_session_token(key, changed).ok()) << i;
  }
  for (const char* junk : {"", ".", "cs1.", "cs1..", "abc"}) {
    EXPECT_FALSE(read_session_token(key, junk).ok()) << junk;
  }
}

}  // namespace cirrus::controller::core
