// SPDX-License-Identifier: MIT
#include "isolation/container/pull_progress.h"

#include <gtest/gtest.h>

namespace cirrus::isolation {
namespace {

TEST(PullProgress, SaysWhatConcernsTheWholeAndSumsUpLayers) {
  PullProgress progress;
  const Monotonic start{};
  EXPECT_EQ(progress.feed(R"({"status":"Pulling from library/debian","id":"12"})", start),
            "Pulling from library/debian");
  EXPECT_EQ(progress.feed(R"({"status":"Pulling fs layer","progressDetail":{},"id":"a"})", start),
            std::nullopt);
  const char* const first =
      R"({"status":"Downloading","progressDetail":{"current":1000000,"total":4000000},"id":"a"})";
  EXPECT_EQ(progress.feed(first, start), std::nullopt);
  const char* const second =
      R"({"status":"Downloading","progressDetail":{"current":500000,"total":6000000},"id":"b"})";
  EXPECT_EQ(progress.feed(second, start + PullProgress::kInterval), "Downloading: 1.5 of 10.0 MB");
  EXPECT_EQ(progress.feed(second, start + PullProgress::kInterval), std::nullopt);
  EXPECT_EQ(progress.feed(R"({"status":"Digest: sha256:00"})", start), "Digest: sha256:00");
}

TEST(PullProgress, PassesOnWhatABuildPrints) {
  PullProgress progress;
  EXPECT_EQ(progress.feed("{\"stream\":\"Step 1/2 : FROM x\\n\"}", Monotonic{}),
            "Step 1/2 : FROM x");
  EXPECT_EQ(progress.feed(R"({"stream":"\n"})", Monotonic{}), std::nullopt);
}

TEST(PullProgress, IgnoresWhatItDoesNotKnow) {
  PullProgress progress;
  for (const char* const message :
       {"", "no JSON", "[]", "{}", R"({"status":5})", R"({"status":"Downloading","id":"a"})",
        R"({"status":"Downloading","id":"a","progressDetail":{"current":-1}})"}) {
    EXPECT_EQ(progress.feed(message, Monotonic{}), std::nullopt) << message;
  }
}

}  // namespace
}  // namespace cirrus::isolation
