// SPDX-License-Identifier: MIT
#include "agent/vault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/testing/task_fixture.h"

namespace cirrus::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Answers by path; remembers what it was asked.
class FakeVault final : public rpc::VaultLink {
 public:
  Result<rpc::VaultAnswer> call(const rpc::VaultCall& call) override {
    asked.push_back(call.method + " " + call.path + " " + call.token);
    if (call.path.starts_with("auth/")) {
      bodies.push_back(call.body);
      return rpc::VaultAnswer{200, R"({"auth":{"client_token":"logged-in"}})"};
    }
    const auto found = answers.find(call.path);
    if (found == answers.end()) return rpc::VaultAnswer{404, "{}"};
    return found->second;
  }
  std::map<std::string, rpc::VaultAnswer> answers{
      {"secret/data/a", {200, R"({"data":{"data":{"k":"s3cr$et-value","n":7,"o":{"x":"y"}}}})"}},
      {"secret/data/a?version=2", {200, R"({"data":{"data":{"k":"old"}}})"}},
      {"secret/denied", {403, R"({"errors":["permission denied"]})"}},
      {"secret/odd", {200, "<html>"}}};
  std::vector<std::string> asked;
  std::vector<std::string> bodies;
};

TEST(Vault, ReadsReferences) {
  const struct {
    const char* value;
    bool is_reference;
    bool is_malformed;
  } cases[] = {
      {"plain", false, false},
      {"xVAULT[a b]", false, false},
      {"VAULT[a b", false, false},
      {"VAULT[secret/data/a data.k]", true, false},
      {"VAULT_NOCACHE[secret/data/a data.k version=2 x=y]", true, false},
      {"VAULT[a]", false, true},
      {"VAULT[]", false, true},
      {"VAULT[a b..c]", false, true},
      {"VAULT[a b=c]", false, true},
      {"VAULT[a b c]", false, true},
      {"VAULT[a b c=]", false, true},
      {"VAULT[a b c=d=e]", false, true},
      {"VAULT[a  b]", false, true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.value);
    const auto reference = parse_vault_reference(c.value);
    EXPECT_EQ(reference.ok(), !c.is_malformed);
    if (reference.ok()) {
      EXPECT_EQ(reference.value().has_value(), c.is_reference);
    }
  }
}

TEST(Vault, AsksOncePerPathUnlessToldOtherwise) {
  FakeVault link;
  Variables variables{{"A", "VAULT[secret/data/a data.k]"},
                      {"B", "VAULT[secret/data/a data.o]"},
                      {"C", "VAULT_NOCACHE[secret/data/a data.k]"},
                      {"D", "VAULT[secret/data/a data.k version=2]"},
                      {"E", "plain"}};
  const Variables expanded = variables;
  const auto names = unbox_vault_variables(
      link, {.token = "", .oidc_token = "jwt", .role = "ci", .auth_path = "", .name_space = ""},
      expanded, variables);
  ASSERT_TRUE(names.ok()) << names.error().to_string();
  EXPECT_THAT(names.value(), ElementsAre("A", "B", "C", "D"));
  EXPECT_EQ(variables["A"], "s3cr$et-value");
  EXPECT_EQ(variables["B"], R"({"x":"y"})");
  EXPECT_EQ(variables["D"], "old");
  EXPECT_EQ(variables["E"], "plain");
  EXPECT_THAT(link.asked,
              ElementsAre("PUT auth/jwt/login ", "GET secret/data/a logged-in",
                          "GET secret/data/a logged-in", "GET secret/data/a?version=2 logged-in"));
  EXPECT_THAT(link.bodies, ElementsAre(R"({"jwt":"jwt","role":"ci"})"));
}

TEST(Vault, SaysWhatIsWrongAndWhere) {
  const struct {
    const char* value;
    const char* words;
  } cases[] = {
      {"VAULT[secret/none data.k]", "Vault has nothing at 'secret/none'"},
      {"VAULT[secret/denied data.k]", "status 403: permission denied"},
      {"VAULT[secret/odd data.k]", "did not send JSON"},
      {"VAULT[secret/data/a data.missing]", "there is no 'data.missing'"},
      {"VAULT[secret/data/a data.n]", "neither a string nor an object"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.value);
    FakeVault link;
    Variables variables{{"X", c.value}};
    const Variables expanded = variables;
    const auto names = unbox_vault_variables(
        link, {.token = "t", .oidc_token = "", .role = "", .auth_path = "", .name_space = ""},
        expanded, variables);
    ASSERT_FALSE(names.ok());
    EXPECT_THAT(names.error().to_string(), HasSubstr(c.words));
    EXPECT_THAT(names.error().to_string(), HasSubstr("variable X"));
  }
  FakeVault link;
  Variables variables{{"X", "VAULT[secret/data/a data.k]"}};
  const Variables expanded = variables;
  const auto names = unbox_vault_variables(link, {}, expanded, variables);
  ASSERT_FALSE(names.ok());
  EXPECT_THAT(names.error().to_string(), HasSubstr("CIRRUS_VAULT_TOKEN"));
}

class VaultTasks : public testing::TaskFixture {};

// Source: conformance list, row 30.
TEST_F(VaultTasks, SeeValuesThroughIndirectionsAndTheirLogsDoNot) {
  FakeVault link;
  vault = &link;
  variable("CIRRUS_VAULT_TOKEN") = "vault-token";
  variable("SECRET") = "VAULT[secret/data/a data.k]";
  variable("FIRST") = "a-$SECRET";
  variable("SECOND") = "b-$FIRST";
  add_script("main", {"printf '%s' \"$SECOND\" | wc -c", "echo \"$SECOND\""});
  run();
  EXPECT_EQ(gateway().statuses(), std::vector<std::string>{"main=COMPLETED"});
  EXPECT_THAT(log("main"), HasSubstr("\n17\n"));  // a dollar sign in a secret stays itself
  EXPECT_THAT(log("main"), HasSubstr("\nb-a-HIDDEN-BY-CIRRUS-CI\n"));
}

TEST_F(VaultTasks, EndWithAnErrorIfVaultDoes) {
  FakeVault link;
  vault = &link;
  variable("CIRRUS_VAULT_TOKEN") = "vault-token";
  variable("SECRET") = "VAULT[secret/denied data.k]";
  add_script("main", {"echo never"});
  run();
  EXPECT_THAT(gateway().statuses(), IsEmpty());
  std::string problem;
  for (const auto& event : gateway().events()) {
    if (event.has_error()) problem = event.error().message();
  }
  EXPECT_THAT(problem, HasSubstr("permission denied"));
}

TEST_F(VaultTasks, ShowNoSecretInTheReasonWhyTheyCannotRun) {  // T06: error text
  FakeVault link;
  vault = &link;
  bootstrap.mutable_commands()->add_secrets_to_mask("hunter22");
  variable("CIRRUS_VAULT_TOKEN") = "vault-token";
  variable("PLACE") = "hunter22";
  variable("SECRET") = "VAULT[secret/$PLACE data.k]";
  add_script("main", {"echo never"});
  run();
  ASSERT_EQ(gateway().events().size(), 1U);
  EXPECT_THAT(gateway().events()[0].error().message(),
              HasSubstr("Vault has nothing at 'secret/HIDDEN-BY-CIRRUS-CI'"));
}

}  // namespace
}  // namespace cirrus::agent
