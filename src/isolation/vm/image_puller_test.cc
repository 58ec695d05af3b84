// SPDX-License-Identifier: MIT
#include "isolation/vm/image_puller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/strings.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::isolation {
namespace {

using ::testing::ElementsAre;

class Pulls : public ::testing::Test {
 protected:
  void SetUp() override {
    // A `tart` that writes down what it was asked; the image `bad` is nowhere.
    ASSERT_TRUE(
        os::write_file(directory_.path() / "tart",
                       "#!/bin/sh\necho \"$*\" >> '" + trace().string() +
                           "'\n[ \"$2\" != bad ] || { echo 'no such image' >&2; exit 1; }\n",
                       0755)
            .ok());
    environment_ = os::current_environment();
    environment_["PATH"] = directory_.path().string() + ":" + environment_["PATH"];
    // Programs are looked for in this process's own PATH.
    ::setenv("PATH", environment_["PATH"].c_str(), 1);
  }
  std::filesystem::path trace() const { return directory_.path() / "trace"; }
  std::vector<std::string> asked() const {
    std::vector<std::string> lines = split(os::read_file(trace()).value_or(""), '\n');
    lines.pop_back();
    return lines;
  }
  bool wait_for_lines(std::size_t count) const {
    const Monotonic deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (asked().size() < count) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      (void)wait_for({}, std::chrono::milliseconds(5));
    }
    return true;
  }

  os::TempDir directory_ = std::move(os::TempDir::create("pulls")).value();
  os::Environment environment_;
};

TEST_F(Pulls, HappenOnceForEachImageWithoutAnInterval) {
  const ImagePuller puller({.images = {"a", "bad", "c"}}, environment_);
  ASSERT_TRUE(wait_for_lines(3));
  EXPECT_THAT(asked(), ElementsAre("pull a", "pull bad", "pull c"));
}

TEST_F(Pulls, HappenAgainAfterTheInterval) {
  const ImagePuller puller({.images = {"a"},
                            .check_interval = std::chrono::milliseconds(20),
                            .jitter = std::chrono::milliseconds(5)},
                           environment_);
  ASSERT_TRUE(wait_for_lines(3));
}

}  // namespace
}  // namespace cirrus::isolation
