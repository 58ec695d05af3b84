// SPDX-License-Identifier: MIT
#include "cli/contexts.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::cli {

TEST(Contexts, ComeBackAsTheyWereSavedAndNobodyElseMayReadThem) {
  const os::TempDir directory = os::TempDir::create("contexts").value();
  const std::filesystem::path file = directory.path() / "deep" / "contexts.yml";
  EXPECT_TRUE(load_contexts(file).value().known.empty());
  Contexts contexts;
  contexts.known["prod"] = {"https://ci.example:7480", Secret("a: \"b\"\\#\n"), "/etc/ca.pem"};
  contexts.known["lab-2"] = {"http://127.0.0.1:7480", Secret("x"), ""};
  contexts.current = "prod";
  ASSERT_TRUE(save_contexts(file, contexts).ok());
  struct ::stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  const Contexts read = load_contexts(file).value();
  EXPECT_EQ(read.current, "prod");
  ASSERT_EQ(read.known.size(), 2U);
  EXPECT_EQ(read.known.at("prod").token.reveal(), "a: \"b\"\\#\n");
  EXPECT_EQ(read.known.at("prod").ca_file, "/etc/ca.pem");
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  EXPECT_EQ(load_contexts(file).error().code(), Code::PermissionDenied);
}

TEST(Contexts, AFileThatIsNotOursIsAnErrorWithAPlace) {
  const os::TempDir directory = os::TempDir::create("contexts").value();
  const std::filesystem::path file = directory.path() / "contexts.yml";
  for (const char* text : {"contexts: {a: {urll: x}}\n", "contexts: [1]\n", "a: [\n",
                           "contexts: {'../x': {url: y}}\n"}) {
    ASSERT_TRUE(os::write_file(file, text, 0600).ok());
    EXPECT_EQ(load_contexts(file).error().code(), Code::InvalidArgument) << text;
  }
}

}  // namespace cirrus::cli
