// SPDX-License-Identifier: MIT
#include "controller/blobs/artifact_store.h"

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::blobs {
namespace {

class ArtifactStoreTest : public ::testing::Test {
 protected:
  std::string content(const std::string& name, const std::string& path) {
    Result<ArtifactStore::File> file = store_.open(model::TaskId{7}, name, path);
    if (!file.ok()) return "absent";
    std::string bytes(static_cast<std::size_t>(file.value().bytes), '\0');
    return os::read_exactly(file.value().fd.get(), bytes.size()).value();
  }
  ArtifactUpload create(const std::string& name) {
    return store_.create(model::TaskId{7}, name, "text/plain", "junit").value();
  }

  os::TempDir root_ = os::TempDir::create("cirrus-artifact-store").value();
  Paths paths_{root_.path()};
  ArtifactStore store_{paths_, {.files = 3, .bytes = 100}};
};

TEST_F(ArtifactStoreTest, ShowsASetOfFilesOnceItIsComplete) {
  ArtifactUpload upload = create("binaries");
  ASSERT_TRUE(upload.append("bin/a", "one ").ok());
  ASSERT_TRUE(upload.append("bin/a", "two").ok());
  ASSERT_TRUE(upload.append("b c", "x").ok());
  EXPECT_TRUE(store_.list(model::TaskId{7}).value().empty());
  EXPECT_EQ(store_.bytes_stored(), 0U);
  ASSERT_TRUE(upload.commit().ok());
  EXPECT_EQ(store_.bytes_stored(), 8U);
  const std::vector<Artifact> artifacts = store_.list(model::TaskId{7}).value();
  ASSERT_EQ(artifacts.size(), 1U);
  EXPECT_EQ(artifacts[0].name, "binaries");
  EXPECT_EQ(artifacts[0].type, "text/plain");
  EXPECT_EQ(artifacts[0].format, "junit");
  ASSERT_EQ(artifacts[0].files.size(), 2U);
  EXPECT_EQ(artifacts[0].files[1].path, "bin/a");
  EXPECT_EQ(artifacts[0].files[1].bytes, 7U);
  EXPECT_EQ(content("binaries", "bin/a"), "one two");
  EXPECT_EQ(content("binaries", "b c"), "x");
  EXPECT_TRUE(store_.list(model::TaskId{8}).value().empty());
}

TEST_F(ArtifactStoreTest, AFileThatComesAgainBeginsAnewAndASecondUploadReplacesTheFirst) {
  ArtifactUpload first = create("a");
  ASSERT_TRUE(first.append("x", "old").ok());
  ASSERT_TRUE(first.append("y", "y").ok());
  ASSERT_TRUE(first.append("x", "new").ok());
  EXPECT_EQ(first.size(), 4U);
  ASSERT_TRUE(first.commit().ok());
  EXPECT_EQ(content("a", "x"), "new");
  ArtifactUpload second = create("a");
  ASSERT_TRUE(second.commit().ok());
  EXPECT_EQ(content("a", "x"), "absent");
  ASSERT_EQ(store_.list(model::TaskId{7}).value().size(), 1U);
  EXPECT_TRUE(store_.list(model::TaskId{7}).value()[0].files.empty());
  EXPECT_TRUE(std::filesystem::is_empty(paths_.temporary()));
}

TEST_F(ArtifactStoreTest, LeavesNothingOfWhatWasNotCompleted) {
  {
    ArtifactUpload upload = create("a");
    ASSERT_TRUE(upload.append("x", "half").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(paths_.temporary()));
  EXPECT_TRUE(store_.list(model::TaskId{7}).value().empty());
}

TEST_F(ArtifactStoreTest, T03_PathsStayInside) {
  const std::string deep = [] {
    std::string path = "a";
    for (int i = 0; i < 64; ++i) path += "/a";
    return path;
  }();
  for (const std::string& path :
       {std::string(), std::string("/etc/passwd"), std::string("../x"), std::string("a/../../x"),
        std::string("a//b"), std::string("a/"), std::string("./a"), std::string("a\\b"),
        std::string("a\0b", 3), std::string("a\nb"), std::string(4097, 'a'), std::string(256, 'a'),
        deep}) {
    ArtifactUpload upload = create("a");
    EXPECT_EQ(upload.append(path, "x").error().code(), Code::InvalidArgument) << path;
    EXPECT_FALSE(store_.open(model::TaskId{7}, "a", path).ok()) << path;
  }
  // Names of artifacts are anybody's words as well.
  ArtifactUpload odd = create("../../x/\xff");
  ASSERT_TRUE(odd.append("f", "x").ok());
  ASSERT_TRUE(odd.commit().ok());
  EXPECT_EQ(content("../../x/\xff", "f"), "x");
  EXPECT_FALSE(std::filesystem::exists(root_.path() / "x"));
}

TEST_F(ArtifactStoreTest, AFileCannotBeADirectoryToo) {
  ArtifactUpload upload = create("a");
  ASSERT_TRUE(upload.append("x", "1").ok());
  EXPECT_FALSE(upload.append("x/y", "2").ok());
  ArtifactUpload other = create("a");
  ASSERT_TRUE(other.append("x/y", "1").ok());
  EXPECT_FALSE(other.append("x", "2").ok());
}

TEST_F(ArtifactStoreTest, HasLimits) {
  ArtifactUpload upload = create("a");
  for (const char* path : {"1", "2", "3"}) ASSERT_TRUE(upload.append(path, "x").ok());
  EXPECT_EQ(upload.append("4", "x").error().code(), Code::ResourceExhausted);
  EXPECT_EQ(upload.append("3", std::string(100, 'x')).error().code(), Code::ResourceExhausted);
  EXPECT_EQ(store_.create(model::TaskId{7}, "", "", "").error().code(), Code::InvalidArgument);
}

}  // namespace
}  // namespace cirrus::controller::blobs
