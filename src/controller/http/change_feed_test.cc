// SPDX-License-Identifier: MIT
#include "controller/http/change_feed.h"

#include <gtest/gtest.h>

namespace cirrus::controller::http {

namespace {
std::string told(const ChangeFeed::Changes& changes) {
  std::string text = changes.reset ? "all" : "";
  for (const ChangeFeed::Change& change : changes.changes) {
    text += " " + change.name + "=" + (change.text.empty() ? "gone" : change.text);
  }
  return text;
}
}  // namespace

TEST(ChangeFeed, TellsANewcomerEverythingAndAKnowingOneWhatIsNew) {
  ChangeFeed feed;
  EXPECT_TRUE(feed.update({{"a", "1"}, {"b", "1"}}));
  const ChangeFeed::Changes first = feed.since(0);
  EXPECT_EQ(told(first), "all a=1 b=1");
  EXPECT_FALSE(feed.update({{"a", "1"}, {"b", "1"}}));
  EXPECT_EQ(told(feed.since(first.generation)), "");
  EXPECT_TRUE(feed.update({{"a", "2"}, {"c", "1"}}));
  const ChangeFeed::Changes second = feed.since(first.generation);
  EXPECT_EQ(told(second), " b=gone a=2 c=1");
  EXPECT_EQ(told(feed.since(second.generation)), "");
}

TEST(ChangeFeed, SaysTheNewestTextOnceToWhoWasAway) {
  ChangeFeed feed;
  feed.update({{"a", "1"}});
  const std::uint64_t known = feed.generation();
  for (const char* text : {"2", "3", "4"}) feed.update({{"a", text}});
  EXPECT_EQ(told(feed.since(known)), " a=4");
  // It went and came back: that is a change and no removal.
  feed.update({});
  feed.update({{"a", "5"}});
  EXPECT_EQ(told(feed.since(known)), " a=5");
}

TEST(ChangeFeed, StartsFromNothingForAGenerationItDoesNotKnow) {
  ChangeFeed feed;
  feed.update({{"a", "1"}});
  EXPECT_EQ(told(feed.since(feed.generation() + 7)), "all a=1") << "of an earlier controller";
  const std::uint64_t known = feed.generation();
  std::map<std::string, std::string> many;
  for (std::size_t i = 0; i <= ChangeFeed::kTombstones; ++i) many["x" + std::to_string(i)] = "1";
  many["a"] = "1";
  feed.update(many);
  feed.update({{"a", "1"}});
  EXPECT_EQ(told(feed.since(known)), "all a=1") << "more went than anybody remembers";
}

}  // namespace cirrus::controller::http
