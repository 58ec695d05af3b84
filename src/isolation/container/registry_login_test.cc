// SPDX-License-Identifier: MIT
#include "isolation/container/registry_login.h"

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::isolation {
namespace {

TEST(RegistryLogin, KnowsWhichRegistryAnImageMeans) {
  EXPECT_EQ(registry_of("debian"), "https://index.docker.io/v1/");
  EXPECT_EQ(registry_of("docker.io/a/b"), "https://index.docker.io/v1/");
  EXPECT_EQ(registry_of("me/app:1"), "https://index.docker.io/v1/");
  EXPECT_EQ(registry_of("localhost/a"), "localhost");
  EXPECT_EQ(registry_of("host.test:5000/a/b"), "host.test:5000");
}

TEST(RegistryLogin, ReadsWhatLoginLeft) {
  const os::TempDir home = os::TempDir::create("cirrus-login-test").value();
  const os::Environment environment = {{"DOCKER_CONFIG", home.path().string()}};
  ASSERT_TRUE(
      os::write_file(home.path() / "config.json", R"({"auths":{"r.test":{"auth":"bWU6czpjcmV0"}}})")
          .ok());
  EXPECT_EQ(registry_login("r.test/a", "", environment, {}),
            R"({"password":"s:cret","serveraddress":"r.test","username":"me"})");
  EXPECT_EQ(registry_login("other.test/a", "", environment, {}), "");
  EXPECT_EQ(registry_login("r.test/a", R"({"auths":{}})", environment, {}), "")
      << "a task's own configuration replaces the worker's";
  EXPECT_EQ(registry_login("r.test/a", "{broken", environment, {}), "");
}

TEST(RegistryLogin, AsksCredentialHelpers) {
  const os::TempDir home = os::TempDir::create("cirrus-login-test").value();
  ASSERT_TRUE(os::write_file(home.path() / "docker-credential-vault",
                             "#!/bin/sh\nread -r host\n"
                             "echo '{\"Username\":\"u\",\"Secret\":\"for '\"$host\"'\"}'\n",
                             0755)
                  .ok());
  const os::Environment environment = {{"PATH", home.path().string() + ":/usr/bin:/bin"}};
  EXPECT_EQ(registry_login("r.test/a", R"({"credHelpers":{"r.test":"vault"}})", environment, {}),
            R"({"password":"for r.test","serveraddress":"r.test","username":"u"})");
  EXPECT_EQ(registry_login("r.test/a", R"({"credsStore":"../vault"})", environment, {}), "");
}

}  // namespace
}  // namespace cirrus::isolation
