// SPDX-License-Identifier: MIT
#include "model/clone_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cirrus::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ClonePlan, TakesCredentialsOutOfAddresses) {
  const struct {
    const char* url;
    const char* clean;
    const char* origin;
    const char* user;
    const char* password;
  } cases[] = {
      {"https://h/o/r.git", "https://h/o/r.git", "https://h", "", ""},
      {"https://u:p%40x@h:8443/o/r.git", "https://h:8443/o/r.git", "https://h:8443", "u", "p@x"},
      {"http://token@h/o/r", "http://h/o/r", "http://h", "token", "token"},
      {"https://h/a@b", "https://h/a@b", "https://h", "", ""},
      {"git@github.com:o/r.git", "git@github.com:o/r.git", "", "", ""},
      {"/srv/repo", "/srv/repo", "", "", ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.url);
    const CloneUrl url = split_clone_url(c.url);
    EXPECT_EQ(url.clean, c.clean);
    EXPECT_EQ(url.origin, c.origin);
    EXPECT_EQ(url.user, c.user);
    EXPECT_EQ(url.password.reveal(), c.password);
  }
  EXPECT_THAT(credential_settings(split_clone_url("https://user:pass@h/x")),
              ElementsAre(std::pair<std::string, std::string>(
                  "http.https://h/.extraHeader", "Authorization: Basic dXNlcjpwYXNz")));
}

TEST(ClonePlan, RefusesNamesThatAreOptionsOrPatterns) {  // T07
  const struct {
    const char* variable;
    const char* value;
  } cases[] = {
      {"CIRRUS_BRANCH", "-x"},         {"CIRRUS_BRANCH", "a b"},
      {"CIRRUS_BRANCH", "a:refs/b"},   {"CIRRUS_BRANCH", "a\nb"},
      {"CIRRUS_BRANCH", "a*"},         {"CIRRUS_TAG", "--upload-pack=x"},
      {"CIRRUS_PR", "1/../../x"},      {"CIRRUS_CHANGE_IN_REPO", "--help"},
      {"CIRRUS_REPO_CLONE_URL", "-u"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.value);
    const auto request = read_clone_request([&c](std::string_view name) {
      if (name == c.variable) return std::optional<std::string>(c.value);
      if (name == "CIRRUS_REPO_CLONE_URL") return std::optional<std::string>("https://h/r");
      return std::optional<std::string>();
    });
    ASSERT_FALSE(request.ok());
    EXPECT_THAT(request.error().message(), HasSubstr(c.variable));
  }
}

TEST(ClonePlan, WritesSettingsAsGitDoes) {
  EXPECT_EQ(git_config_text({{"gc.auto", "0"},
                             {"branch.a \"b\" \\.x.remote", "origin"},
                             {"branch.a \"b\" \\.x.merge", "c\n\"d\" \\ e"},
                             {"credential.https://h.helper", "!f() { x; # y"}}),
            "[gc]\n\tauto = 0\n"
            "[branch \"a \\\"b\\\" \\\\.x\"]\n\tremote = origin\n"
            "\tmerge = c\\n\\\"d\\\" \\\\ e\n"
            "[credential \"https://h\"]\n\thelper = \"!f() { x; # y\"\n");
}

}  // namespace
}  // namespace cirrus::model
