// SPDX-License-Identifier: MIT
#include "controller/secrets/encrypted_environment.h"

#include <map>

#include <gtest/gtest.h>

namespace cirrus::controller::secrets {

namespace {
using Variables = std::map<std::string, std::string>;
}

TEST(EncryptedEnvironment, KeepsWhatATrustedTaskMaySeeSealed) {
  const SecretBox box = SecretBox::ephemeral();
  const std::string sealed = box.seal("a/b", "hunter22").value();
  Variables variables = {{"OLD", "ENCRYPTED[0badc0de]"}, {"PLAIN", "x"}, {"TOKEN", sealed}};
  const auto removed = remove_unopened(variables, box, "a/b", true);
  ASSERT_EQ(removed.size(), 1U);
  EXPECT_EQ(removed[0].name, "OLD");
  EXPECT_EQ(variables, (Variables{{"PLAIN", "x"}, {"TOKEN", sealed}}));
  EXPECT_EQ(open_values(variables, box, "a/b"), std::vector<std::string>{"hunter22"});
  EXPECT_EQ(variables, (Variables{{"PLAIN", "x"}, {"TOKEN", "hunter22"}}));
}

TEST(EncryptedEnvironment, TakesEverythingFromAnUntrustedTask) {
  const SecretBox box = SecretBox::ephemeral();
  Variables variables = {{"TOKEN", box.seal("a/b", "hunter22").value()}};
  const auto removed = remove_unopened(variables, box, "a/b", false);
  ASSERT_EQ(removed.size(), 1U);
  EXPECT_NE(removed[0].reason.find("not trusted"), std::string::npos);
  EXPECT_TRUE(variables.empty());
}

TEST(EncryptedEnvironment, IsUnsetAfterTheKeyChanged) {
  Variables variables = {{"TOKEN", SecretBox::ephemeral().seal("a/b", "hunter22").value()}};
  EXPECT_TRUE(open_values(variables, SecretBox::ephemeral(), "a/b").empty());
  EXPECT_TRUE(variables.empty());
}

TEST(EncryptedEnvironment, FindsTheLineOfAVariable) {
  const std::string text =
      "env:\n  MY_TOKEN: ENCRYPTED[x]\n  TOKEN: ENCRYPTED[y]\ntask:\n"
      "  env: {A: 1, \"KEY\": 'ENCRYPTED[z]'}\n";
  EXPECT_EQ(line_of_encrypted(text, "MY_TOKEN"), 2);
  EXPECT_EQ(line_of_encrypted(text, "TOKEN"), 3);
  EXPECT_EQ(line_of_encrypted(text, "KEY"), 5);
  EXPECT_EQ(line_of_encrypted(text, "A"), 0);
  EXPECT_EQ(line_of_encrypted(text, "OTHER"), 0);
}

}  // namespace cirrus::controller::secrets
