// SPDX-License-Identifier: MIT
#include "agent/glob.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Glob : public ::testing::Test {
 protected:
  Glob() : root_(std::move(os::TempDir::create("glob-test")).value()) {
    for (const char* file : {"a.xml", "b.txt", ".hidden.xml", "d/x.xml", "d/e/x.xml", "d/e/f/y.xml",
                             "d[1]/z.xml", "sp ace/q.xml"}) {
      const fs::path path = root_.path() / file;
      EXPECT_TRUE(os::make_directories(path.parent_path(), 0755).ok());
      EXPECT_TRUE(os::write_file(path, "x").ok());
    }
  }
  /// What matches, relative to the directory.
  std::vector<std::string> find(const std::string& pattern) const {
    const Result<std::vector<fs::path>> found =
        glob((root_.path() / pattern).string(), StopToken());
    EXPECT_TRUE(found.ok());
    std::vector<std::string> names;
    if (!found.ok()) return names;
    for (const fs::path& path : found.value()) {
      names.push_back(path.lexically_relative(root_.path()).string());
    }
    return names;
  }
  const fs::path& root() const { return root_.path(); }

 private:
  os::TempDir root_;
};

TEST_F(Glob, StaysWithinAComponent) {
  EXPECT_THAT(find("*.xml"), ElementsAre(".hidden.xml", "a.xml"));
  EXPECT_THAT(find("?.txt"), ElementsAre("b.txt"));
  EXPECT_THAT(find("[a-b].*"), ElementsAre("a.xml", "b.txt"));
  EXPECT_THAT(find("[^a].txt"), ElementsAre("b.txt"));
  EXPECT_THAT(find("d/*"), ElementsAre("d/e", "d/x.xml"));
  EXPECT_THAT(find("*/*/x.xml"), ElementsAre("d/e/x.xml"));
  EXPECT_THAT(find("none/*.xml"), IsEmpty());
  EXPECT_THAT(find("sp ace/q.xml"), ElementsAre("sp ace/q.xml"));
}

TEST_F(Glob, TwoStarsAreAnyDepth) {
  EXPECT_THAT(find("**/x.xml"), ElementsAre("d/x.xml", "d/e/x.xml"));
  EXPECT_THAT(find("d/**/x.xml"), ElementsAre("d/x.xml", "d/e/x.xml"));
  EXPECT_THAT(find("d/**"),
              ElementsAre("d", "d/e", "d/e/f", "d/e/f/y.xml", "d/e/x.xml", "d/x.xml"));
  EXPECT_THAT(find("d/**/e/**/y.xml"), ElementsAre("d/e/f/y.xml"));
  EXPECT_THAT(find("**/**/y.xml"), ElementsAre("d/e/f/y.xml"));
  // Inside a component they are one star.
  EXPECT_THAT(find("a**l"), ElementsAre("a.xml"));
}

TEST_F(Glob, AlternativesAndEscapes) {
  EXPECT_THAT(find("{a,b}.{xml,txt}"), ElementsAre("a.xml", "b.txt"));
  EXPECT_THAT(find("d/{x,e/x,e/f/{y,z}}.xml"), ElementsAre("d/e/f/y.xml", "d/e/x.xml", "d/x.xml"));
  EXPECT_THAT(find("{a,a,*}.xml"), ElementsAre(".hidden.xml", "a.xml"));
  EXPECT_THAT(find("d\\[1]/z.xml"), ElementsAre("d[1]/z.xml"));
  EXPECT_THAT(find("d[[]1]/z.xml"), ElementsAre("d[1]/z.xml"));
}

TEST_F(Glob, BadPatternsAreErrors) {
  for (const char* pattern : {"a[", "a[]", "zz/b[x", "{a,b", "a{b{c}"}) {
    SCOPED_TRACE(pattern);
    const Result<std::vector<fs::path>> found = glob((root() / pattern).string(), StopToken());
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.error().code(), Code::InvalidArgument);
  }
  std::string many;
  for (int i = 0; i < 20; ++i) many += "{a,b}";
  EXPECT_THAT(glob((root() / many).string(), StopToken()).error().to_string(),
              HasSubstr("alternatives"));
}

TEST_F(Glob, LinksAreFollowedButNotInCircles) {
  fs::create_directory_symlink(root() / "d", root() / "link");
  fs::create_directory_symlink("..", root() / "d/e/up");
  fs::create_symlink("nowhere", root() / "dangling.xml");
  EXPECT_THAT(find("link/*.xml"), ElementsAre("link/x.xml"));
  EXPECT_THAT(find("link/**/y.xml"), ElementsAre("link/e/f/y.xml"));
  EXPECT_THAT(find("d/**/x.xml"), ElementsAre("d/x.xml", "d/e/x.xml"));
  EXPECT_THAT(find("dang*"), ElementsAre("dangling.xml"));
}

TEST(MatchesComponent, IsNotExponential) {
  const std::string pattern = "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b";
  EXPECT_FALSE(matches_component(pattern, std::string(5000, 'a')).value());
}

}  // namespace
}  // namespace cirrus::agent
