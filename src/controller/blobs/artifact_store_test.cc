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

/// All of a task, page by page, as `name:path`; `name:` of an artifact without files.
class ArtifactPages : public ArtifactStoreTest {
 protected:
  void put(const std::string& name, const std::vector<std::string>& paths) {
    ArtifactUpload upload = create(name);
    for (const std::string& path : paths) ASSERT_TRUE(upload.append(path, "x").ok());
    ASSERT_TRUE(upload.commit().ok());
  }
  ArtifactPage page(const std::optional<ArtifactPlace>& after, std::size_t most) {
    // As it goes through a client.
    const std::string text = after.value_or(ArtifactPlace()).to_string();
    return store_.page(kTask, after ? ArtifactPlace::parse(text).value() : ArtifactPlace(), most)
        .value();
  }
  static std::vector<std::string> words(const ArtifactPage& page) {
    std::vector<std::string> list;
    for (const Artifact& one : page.artifacts) {
      if (one.files.empty()) list.push_back(one.name + ":");
      for (const ArtifactFile& file : one.files) list.push_back(one.name + ":" + file.path);
    }
    return list;
  }
  std::vector<std::string> walk(std::size_t most) {
    std::vector<std::string> all;
    std::optional<ArtifactPlace> after;
    do {
      const ArtifactPage one = page(after, most);
      const std::vector<std::string> found = words(one);
      EXPECT_LE(found.size(), most);
      all.insert(all.end(), found.begin(), found.end());
      after = one.next;
    } while (after && all.size() < 100);
    return all;
  }
  static constexpr model::TaskId kTask{7};
};

TEST_F(ArtifactPages, OfAnySizeShowEveryFileOnceInOneOrder) {
  EXPECT_EQ(walk(1), std::vector<std::string>());
  put("b", {"2", "1", "d/3"});
  put("a", {});
  put("c\xff\n", {"\xfe", "x"});
  put("b2", {});
  put("d", {"1"});
  const std::vector<std::string> all = {"a:",  "b:1",       "b:2",          "b:d/3",
                                        "b2:", "c\xff\n:x", "c\xff\n:\xfe", "d:1"};
  for (std::size_t most = 1; most < 10; ++most) EXPECT_EQ(walk(most), all) << most;
  EXPECT_EQ(page({}, 2).artifacts.at(1).type, "text/plain");
  EXPECT_EQ(page(page({}, 2).next, 1).artifacts.at(0).format, "junit") << "said again";
}

TEST_F(ArtifactPages, GoOnBehindWhatWasShownWhateverChangedMeanwhile) {
  put("b", {"1", "3", "5"});
  put("d", {"x"});
  const std::optional<ArtifactPlace> next = page({}, 2).next;
  put("a", {"new"});
  put("c", {"new"});
  EXPECT_EQ(words(page(next, 9)), (std::vector<std::string>{"b:5", "c:new", "d:x"}));
  put("b", {"2", "4"});
  EXPECT_EQ(words(page(next, 9)), (std::vector<std::string>{"b:4", "c:new", "d:x"}));
  ASSERT_TRUE(os::remove_tree(paths_.artifacts_of(kTask) / "b").ok());
  EXPECT_EQ(words(page(next, 9)), (std::vector<std::string>{"c:new", "d:x"}));
}

TEST_F(ArtifactPages, LeaveOutWhatCannotBeReadAndStillEnd) {
  for (const char* name : {"a", "b", "c", "d"}) put(name, {"1", "2"});
  const auto list = paths_.artifacts_of(kTask) / "b" / "list";
  const std::string whole = os::read_file(list).value();
  for (const std::string& damaged :
       {std::string(), std::string("2\n"), whole.substr(0, 5), whole.substr(0, whole.size() - 1),
        whole + "1 zz\n", whole + "1\n", whole + "x 61\n", whole + "1 6\n",
        whole + std::string(100'000, '1')}) {
    SCOPED_TRACE(damaged.substr(0, 60));
    ASSERT_TRUE(os::write_file(list, damaged).ok());
    EXPECT_EQ(walk(9), (std::vector<std::string>{"a:1", "a:2", "c:1", "c:2", "d:1", "d:2"}));
    // Files before the damage may have been on the page before.
    for (std::size_t most = 1; most < 5; ++most) EXPECT_LE(walk(most).size(), 8U);
    EXPECT_EQ(store_.list(kTask).value().size(), 3U);
  }
}

TEST_F(ArtifactPages, OfLongPathsEndEarly) {
  ArtifactStore store(paths_);
  ArtifactUpload upload = store.create(kTask, "a", "", "").value();
  const std::size_t files = ArtifactPage::kMostPathBytes / 3000 + 100;
  std::string folder = "d";
  while (folder.size() < 2900) folder += "/" + std::string(99, 'd');
  for (std::size_t i = 0; i < files; ++i) {
    ASSERT_TRUE(upload.append(fmt::format("{}/{:0100}", folder, i), "").ok());
  }
  ASSERT_TRUE(upload.commit().ok());
  const ArtifactPage first = page({}, 5000);
  ASSERT_TRUE(first.next);
  EXPECT_LE(first.artifacts.at(0).files.size() * 3000, ArtifactPage::kMostPathBytes + 6000);
  const ArtifactPage second = page(first.next, 5000);
  EXPECT_FALSE(second.next);
  EXPECT_EQ(first.artifacts[0].files.size() + second.artifacts.at(0).files.size(), files);
}

TEST_F(ArtifactPages, BeginAtAPlaceThatIsOne) {
  for (const char* bad : {"-", "x", "61", "6-61", "61-6", "-61", "61-61-61", "6g-61", "61-+1"}) {
    EXPECT_EQ(ArtifactPlace::parse(bad).error().code(), Code::InvalidArgument) << bad;
  }
  EXPECT_EQ(ArtifactPlace::parse("61-").value().name, "a");
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
