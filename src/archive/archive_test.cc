// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/codec.h"
#include "archive/frames.h"
#include "archive/pack.h"
#include "archive/tar.h"
#include "archive/unpack.h"
#include "model/archive_mark.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::archive {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Hands out `bytes` in pieces of `piece`.
Source source_of(std::string bytes, std::size_t piece = 1000) {
  return [bytes = std::move(bytes), piece, at = std::size_t{0}]() mutable -> Result<std::string> {
    const std::string part = bytes.substr(std::min(at, bytes.size()), piece);
    at += part.size();
    return part;
  };
}

std::string compressed(std::string_view plain) {
  std::string out;
  Compressor compressor([&out](std::string_view bytes) -> Status {
    out += bytes;
    return {};
  });
  EXPECT_TRUE(compressor.write(plain).ok());
  EXPECT_TRUE(compressor.finish().ok());
  EXPECT_EQ(compressor.size(), out.size());
  return out;
}

std::string gzipped(std::string_view plain) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, plain.size()) + 64, '\0');
  std::string in(plain);
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Result<std::string> read_all(Decompressor& input) {
  std::string all;
  std::vector<char> buffer(777);
  for (;;) {
    const std::size_t got = CIRRUS_TRY(input.read(buffer));
    all.append(buffer.data(), got);
    if (got == 0) return all;
  }
}

struct Item {
  TarEntry entry;
  std::string content;
};
Item file(std::string name, std::string content, unsigned mode = 0644) {
  return {{std::move(name), TarEntry::Kind::File, mode, content.size(), "", 0}, content};
}
Item link(std::string name, std::string target) {
  return {{std::move(name), TarEntry::Kind::Symlink, 0777, 0, std::move(target), 0}, ""};
}
Item hard_link(std::string name, std::string target) {
  return {{std::move(name), TarEntry::Kind::HardLink, 0644, 0, std::move(target), 0}, ""};
}
Item directory(std::string name) {
  return {{std::move(name), TarEntry::Kind::Directory, 0700, 0, "", 0}, ""};
}

std::string tar_of(const std::vector<Item>& items) {
  std::string out;
  TarWriter writer([&out](std::string_view bytes) -> Status {
    out += bytes;
    return {};
  });
  for (const Item& item : items) {
    EXPECT_TRUE(writer.begin(item.entry).ok());
    EXPECT_TRUE(writer.write(item.content).ok());
  }
  EXPECT_TRUE(writer.finish().ok());
  return out;
}

/// A destination with something beside it that nothing may touch.
class Unpack : public ::testing::Test {
 protected:
  Unpack() : root_(std::move(os::TempDir::create("archive-test")).value()) {
    EXPECT_TRUE(os::make_directories(outside()).ok());
    EXPECT_TRUE(os::write_file(outside() / "precious", "untouched").ok());
    EXPECT_TRUE(os::make_directories(inside(), 0755).ok());
  }
  ~Unpack() override {
    // Whatever a test did: nothing but the one file is there, as it was.
    EXPECT_EQ(os::read_file(outside() / "precious").value(), "untouched");
    EXPECT_EQ(std::distance(fs::directory_iterator(outside()), fs::directory_iterator()), 1);
    EXPECT_EQ(std::distance(fs::directory_iterator(root_.path()), fs::directory_iterator()), 2);
  }
  fs::path outside() const { return root_.path() / "outside"; }
  fs::path inside() const { return root_.path() / "inside"; }
  std::string text(const std::string& name) const { return os::read_file(inside() / name).value(); }
  Result<UnpackTotals> run(const std::string& archive, const UnpackLimits& limits = {}) {
    return unpack(source_of(archive), inside(), limits, StopToken());
  }
  /// Names of everything in the destination.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(inside())) {
      all.push_back(fs::relative(entry.path(), inside()).string());
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  os::TempDir root_;
};

TEST(Codec, ReadsWhatItWroteAndGzipInMembersAndPlain) {
  std::string plain;
  for (int i = 0; i < 200'000; ++i) plain += std::to_string(i * 7919 % 1000);
  const std::string half = plain.substr(0, plain.size() / 2);
  const std::map<std::string, std::string> forms{
      {"zstd", compressed(plain)},
      {"frames", compressed(half) + compressed(plain.substr(half.size()))},
      {"gzip", gzipped(plain)},
      {"members", gzipped(half) + gzipped(plain.substr(half.size()))},
      {"plain", plain}};
  for (const auto& [name, bytes] : forms) {
    for (const std::size_t piece : {1U, 13U, 100'000U}) {
      if (piece == 1 && bytes.size() > 500'000) continue;
      SCOPED_TRACE(name + " in pieces of " + std::to_string(piece));
      Decompressor input(source_of(bytes, piece));
      const Result<std::string> back = read_all(input);
      ASSERT_TRUE(back.ok()) << back.error().to_string();
      EXPECT_TRUE(back.value() == plain);
      EXPECT_EQ(input.consumed(), bytes.size());
    }
  }
  EXPECT_TRUE(compressed(plain).starts_with(model::kArchiveMark));
}

/// As sources are, as packed archives are, and as zeros are, so that frames are not done in order.
std::string many_frames() {
  std::string plain;
  std::uint32_t state = 1;
  while (plain.size() < 5 * FrameCompressor::kFrame + 12'345) {
    const std::size_t kind = plain.size() / 1'000'000 % 3;
    state = state * 1664525U + 1013904223U;
    if (kind == 0) plain += "word " + std::to_string(state % 1000);
    if (kind == 1) plain.append(reinterpret_cast<const char*>(&state), sizeof state);
    if (kind == 2) plain.append(1000, '\0');
  }
  return plain;
}

TEST(Codec, GivesFramesInTheirOrderFromTheCallersThread) {
  const std::string plain = many_frames();
  const std::string once = compressed(plain);
  for (const std::size_t piece : {std::size_t{99'991}, FrameCompressor::kFrame, plain.size()}) {
    std::string out;
    Compressor compressor([&out, here = std::this_thread::get_id()](std::string_view bytes) {
      EXPECT_EQ(std::this_thread::get_id(), here);
      out += bytes;
      return Status();
    });
    for (std::size_t at = 0; at < plain.size(); at += piece) {
      ASSERT_TRUE(compressor.write(std::string_view(plain).substr(at, piece)).ok());
    }
    ASSERT_TRUE(compressor.finish().ok());
    EXPECT_EQ(compressor.size(), out.size());
    EXPECT_TRUE(out == once) << "pieces of " << piece;
  }
  Decompressor input(source_of(once, 100'000));
  std::string back(plain.size() + 1, '\0');
  ASSERT_EQ(input.read(back).value_or(0), plain.size());
  EXPECT_TRUE(std::string_view(back).starts_with(plain));
}

TEST(Codec, EndsWithItsSinksErrorWhileFramesAreOnTheirWay) {
  const std::string plain = many_frames();
  int calls = 0;
  Compressor compressor([&calls](std::string_view) -> Status {
    if (++calls < 3) return {};
    return error(Code::Unavailable, "the other side is gone");
  });
  const Status written = compressor.write(plain);
  const Status ended = written.ok() ? compressor.finish() : written;
  EXPECT_EQ(ended.error().code(), Code::Unavailable);
}

TEST(Codec, SaysThatAStreamIsCutOrDamaged) {
  std::string plain(300'000, 'x');
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<char>(i * i >> 7U);
  for (const std::string& whole : {compressed(plain), gzipped(plain)}) {
    for (const std::size_t size : {whole.size() - 1, whole.size() / 2, std::size_t{20}}) {
      Decompressor input(source_of(whole.substr(0, size)));
      const Result<std::string> back = read_all(input);
      ASSERT_FALSE(back.ok()) << size << " of " << whole.size();
      EXPECT_EQ(back.error().code(), Code::DataLoss);
    }
    std::string damaged = whole;
    damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 0x10);
    Decompressor input(source_of(damaged));
    EXPECT_FALSE(read_all(input).ok());
  }
  Decompressor nothing(source_of(""));
  EXPECT_EQ(read_all(nothing).error().code(), Code::DataLoss);
}

TEST(Tar, KeepsNamesOfEveryLength) {
  for (const std::size_t size : {1U, 99U, 100U, 101U, 155U, 256U, 1000U, 4000U}) {
    SCOPED_TRACE(size);
    const std::string name(size, 'n');
    const std::string tar = tar_of({file(name, "content"), link("l", std::string(size, 't'))});
    Decompressor input(source_of(tar));
    TarReader reader([&input](std::span<char> buffer) { return input.read(buffer); });
    const Result<std::optional<TarEntry>> first = reader.next();
    ASSERT_TRUE(first.ok()) << first.error().to_string();
    EXPECT_EQ(first.value()->name, name);
    EXPECT_EQ(first.value()->size, 7U);
    const Result<std::optional<TarEntry>> second = reader.next();
    EXPECT_EQ(second.value()->target.size(), size);
    EXPECT_FALSE(reader.next().value());
  }
}

TEST_F(Unpack, GivesBackWhatWasPacked) {
  const fs::path tree = inside() / "tree";
  ASSERT_TRUE(os::make_directories(tree / "a" / "b", 0755).ok());
  ASSERT_TRUE(os::write_file(tree / "a" / "b" / "file", "content", 0640).ok());
  ASSERT_TRUE(os::write_file(tree / "run.sh", "#!/bin/sh\n", 0755).ok());
  ASSERT_TRUE(os::write_file(tree / "empty", "").ok());
  fs::create_directories(tree / "void");
  fs::create_symlink("a/b/file", tree / "relative");
  fs::create_symlink(tree / "a", tree / "absolute");
  fs::create_symlink("/etc/hostname", tree / "far");
  fs::create_hard_link(tree / "run.sh", tree / "same.sh");
  ASSERT_EQ(::mkfifo((tree / "pipe").c_str(), 0600), 0);
  std::string archive;
  const Sink sink = [&archive](std::string_view bytes) -> Status {
    archive += bytes;
    return {};
  };
  const Result<PackTotals> packed = pack(tree, {tree}, sink, StopToken());
  ASSERT_TRUE(packed.ok()) << packed.error().to_string();
  EXPECT_THAT(packed.value().left_out, ElementsAre("pipe"));
  EXPECT_EQ(packed.value().bytes, 27U);

  const fs::path back = inside() / "back";
  const Result<UnpackTotals> done =
      unpack(source_of(compressed(archive), 50), back, {}, StopToken());
  ASSERT_TRUE(done.ok()) << done.error().to_string();
  EXPECT_EQ(os::read_file(back / "a/b/file").value(), "content");
  EXPECT_EQ(fs::status(back / "run.sh").permissions(), fs::perms(0755));
  EXPECT_EQ(fs::status(back / "a/b/file").permissions(), fs::perms(0640));
  EXPECT_EQ(os::read_file(back / "same.sh").value(), "#!/bin/sh\n");
  EXPECT_EQ(fs::read_symlink(back / "relative"), "a/b/file");
  EXPECT_EQ(fs::read_symlink(back / "absolute"), "a");
  EXPECT_EQ(fs::read_symlink(back / "far"), "/etc/hostname");
  EXPECT_TRUE(fs::is_directory(back / "void"));
  EXPECT_TRUE(fs::is_empty(back / "empty"));
  EXPECT_FALSE(fs::exists(back / "pipe"));
  // Restored files count as new: incremental builds need outputs younger than the checkout.
  EXPECT_GT(fs::last_write_time(back / "run.sh"), fs::last_write_time(tree / "run.sh"));
  ASSERT_EQ(std::distance(fs::directory_iterator(back), fs::directory_iterator()), 8);
}

TEST_F(Unpack, TakesTheReferencesNamesAndGzip) {
  // The root has an empty name, the others begin with a slash, directories do not end with one.
  const std::string old =
      tar_of({directory(""), directory("/sub"), file("/sub/x", "1"), file("/y", "2", 0600)});
  ASSERT_TRUE(run(gzipped(old)).ok());
  EXPECT_EQ(text("sub/x"), "1");
  EXPECT_EQ(text("y"), "2");
  EXPECT_EQ(fs::status(inside() / "sub").permissions(), fs::perms(0755));
}

TEST_F(Unpack, MergesIntoWhatIsThere) {
  ASSERT_TRUE(os::make_directories(inside() / "sub", 0755).ok());
  ASSERT_TRUE(os::write_file(inside() / "sub/old", "stays").ok());
  ASSERT_TRUE(os::write_file(inside() / "sub/x", "is replaced").ok());
  fs::create_symlink("here", inside() / "link");
  ASSERT_TRUE(run(tar_of({file("sub/x", "new"), file("sub/deep/er/y", "y"), link("link", "there"),
                          file("sub/x", "newer")}))
                  .ok());
  EXPECT_EQ(text("sub/old"), "stays");
  EXPECT_EQ(text("sub/x"), "newer");
  EXPECT_EQ(text("sub/deep/er/y"), "y");
  EXPECT_EQ(fs::read_symlink(inside() / "link"), "here");
  EXPECT_THAT(names(), ElementsAre("link", "sub", "sub/deep", "sub/deep/er", "sub/deep/er/y",
                                   "sub/old", "sub/x"));
}

TEST_F(Unpack, ADamagedArchiveChangesNothing) {
  ASSERT_TRUE(os::write_file(inside() / "keep", "kept").ok());
  const std::string whole = compressed(tar_of({file("keep", "lost"), file("more", "more")}));
  EXPECT_EQ(run(whole.substr(0, whole.size() - 2)).error().code(), Code::DataLoss);
  EXPECT_EQ(run("<html>not found</html>").error().code(), Code::DataLoss);
  EXPECT_EQ(text("keep"), "kept");
  EXPECT_THAT(names(), ElementsAre("keep"));
}

TEST_F(Unpack, T01_NothingLeavesTheDestination) {
  const fs::path out = outside();
  const std::vector<std::pair<std::string, std::string>> refused{
      {"dots", tar_of({file("../outside/evil", "x")})},
      {"dots inside", tar_of({file("a/../../outside/evil", "x")})},
      {"dots of a directory", tar_of({directory("../outside/evil")})},
      {"through a link", tar_of({link("d", out.string()), file("d/evil", "x")})},
      {"through a relative link", tar_of({link("d", "../outside"), file("d/evil", "x")})},
      {"directory through a link", tar_of({link("d", out.string()), directory("d/evil")})},
      {"hard link outside", tar_of({hard_link("h", "../outside/precious")})},
      {"hard link by absolute name", tar_of({hard_link("h", (out / "precious").string())})},
      {"hard link through a link",
       tar_of({link("d", out.string()), hard_link("h", "d/precious"), file("h", "x")})},
      {"hard link to a link",
       tar_of({link("l", (out / "precious").string()), hard_link("h", "l")})},
      {"file and directory", tar_of({file("n/x", "1"), file("n", "2")})},
      {"below a file", tar_of({file("n", "1"), file("n/x", "2")})},
      {"a name with a NUL", [] {
         std::string tar = tar_of({file(std::string(150, 'n'), "x")});
         tar[512 + 20] = '\0';
         return tar;
       }()}};
  for (const auto& [name, archive] : refused) {
    SCOPED_TRACE(name);
    const Result<UnpackTotals> done = run(archive);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().code(), Code::InvalidArgument) << done.error().to_string();
    EXPECT_THAT(names(), ElementsAre());
  }
  // An absolute name is one below the destination.
  ASSERT_TRUE(run(tar_of({file("/etc/passwd", "mine")})).ok());
  EXPECT_EQ(text("etc/passwd"), "mine");
  // Set-id bits do not come out of caches.
  ASSERT_TRUE(run(tar_of({file("tool", "x", 06755)})).ok());
  EXPECT_EQ(fs::status(inside() / "tool").permissions(), fs::perms(0755));
}

TEST_F(Unpack, T01_LinksOfTheDestinationAreNotFollowedEither) {
  fs::create_symlink(outside(), inside() / "d");
  const Result<UnpackTotals> done = run(tar_of({file("d/evil", "x")}));
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code(), Code::FailedPrecondition);
  fs::create_symlink(outside() / "precious", inside() / "f");
  ASSERT_TRUE(run(tar_of({file("f", "x")})).ok());
  EXPECT_FALSE(fs::is_symlink(inside() / "f"));
}

TEST_F(Unpack, T01_DevicesAndPipesAreLeftOut) {
  for (const char type : {'3', '4', '6', 'Z'}) {
    std::string tar = tar_of({file("special", ""), file("plain", "x")});
    tar[156] = type;
    unsigned sum = 0;
    std::fill_n(tar.begin() + 148, 8, ' ');
    for (const char byte : tar.substr(0, 512)) sum += static_cast<unsigned char>(byte);
    const std::string digits = fmt::format("{:06o}", sum);
    std::copy_n(digits.begin(), 6, tar.begin() + 148);
    tar[154] = '\0';
    const Result<UnpackTotals> done = run(tar);
    ASSERT_TRUE(done.ok()) << done.error().to_string();
    EXPECT_THAT(done.value().left_out, ElementsAre("special"));
    EXPECT_THAT(names(), ElementsAre("plain"));
  }
}

TEST_F(Unpack, T01_EntriesBytesAndDepthAreBounded) {
  std::vector<Item> many;
  for (int i = 0; i < 101; ++i) many.push_back(file("f" + std::to_string(i), ""));
  EXPECT_THAT(run(tar_of(many), {.entries = 100}).error().to_string(), HasSubstr("100 entries"));
  EXPECT_THAT(
      run(tar_of({file("big", std::string(2000, 'x'))}), {.bytes = 1999}).error().to_string(),
      HasSubstr("1999 bytes"));
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "d/";
  EXPECT_EQ(run(tar_of({file(deep + "x", "")})).error().code(), Code::ResourceExhausted);
  // A few kilobytes that become many megabytes.
  const std::string bomb = compressed(tar_of({file("zeros", std::string(64U << 20U, '\0'))}));
  EXPECT_LT(bomb.size(), 10'000U);
  EXPECT_THAT(run(bomb, {.ratio_from = 8U << 20U}).error().to_string(),
              HasSubstr("times its size"));
  EXPECT_THAT(names(), ElementsAre());
}

TEST_F(Unpack, EverythingCutShortIsAnError) {
  const std::string tar = tar_of({directory("d"), file("d/x", "contents"), link("l", "x"),
                                  file(std::string(150, 'n'), "long")});
  // Ends between entries are ends; inside of one they are not. One closing block is enough.
  int failed = 0;
  for (std::size_t size = 0; size < tar.size() - 512; size += 97) {
    const Result<UnpackTotals> done = run(tar.substr(0, size));
    if (done.ok()) {
      EXPECT_EQ(size % 512, 0U);
    } else {
      ++failed;
    }
  }
  EXPECT_GT(failed, 20);
}

// Frames end anywhere, also between two entries.
TEST_F(Unpack, AnArchiveOfOursWithoutItsEndIsCutOff) {
  const std::string tar = tar_of({file("a", "contents"), file("b", "more")});
  const Result<UnpackTotals> done = run(compressed(tar.substr(0, 1024)));
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code(), Code::DataLoss);
  EXPECT_THAT(done.error().message(), HasSubstr("cut off"));
  EXPECT_TRUE(run(compressed(tar)).ok());
  EXPECT_TRUE(run(gzipped(tar.substr(0, 1024))).ok()) << "of others it need not be an error";
}

TEST(Pack, NamesWhatItCannotRead) {
  if (::geteuid() == 0) {
    // Root reads everything: a directory that is none stands in for it.
    const os::TempDir root = std::move(os::TempDir::create("pack-test")).value();
    const Result<PackTotals> packed = pack(
        root.path(), {root.path() / "gone" / "file"}, [](std::string_view) { return Status(); },
        StopToken());
    ASSERT_FALSE(packed.ok());
    EXPECT_THAT(packed.error().to_string(), HasSubstr("gone"));
    return;
  }
  const os::TempDir root = std::move(os::TempDir::create("pack-test")).value();
  ASSERT_TRUE(os::write_file(root.path() / "closed", "x", 0000).ok());
  const Result<PackTotals> packed = pack(
      root.path(), {root.path()}, [](std::string_view) { return Status(); }, StopToken());
  ASSERT_FALSE(packed.ok());
  EXPECT_THAT(packed.error().to_string(), HasSubstr("closed"));
}

TEST(Pack, RefusesWhatIsNotBelowItsBase) {
  const os::TempDir root = std::move(os::TempDir::create("pack-test")).value();
  const Result<PackTotals> packed = pack(
      root.path() / "base", {root.path()}, [](std::string_view) { return Status(); }, StopToken());
  ASSERT_FALSE(packed.ok());
  EXPECT_EQ(packed.error().code(), Code::InvalidArgument);
}

}  // namespace
}  // namespace cirrus::archive
