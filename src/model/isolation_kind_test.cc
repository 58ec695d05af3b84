// SPDX-License-Identifier: MIT
#include "model/isolation_kind.h"

#include <gtest/gtest.h>

namespace cirrus::model {

namespace {
using Words = std::vector<std::string>;
}  // namespace

TEST(IsolationSet, ReadsWordsAndSaysThemInOrder) {
  const struct {
    const char* name;
    Words words;
    Words said;
    bool none;
    bool container;
  } cases[] = {
      {"any is every kind", {"any"}, {"any"}, true, true},
      {"an empty list is no kind", {}, {}, false, false},
      {"some", {"vetu", "container", "vetu"}, {"container", "vetu"}, false, true},
      {"all of today's are not any",
       {"none", "container", "tart", "vetu", "parallels"},
       {"none", "container", "tart", "vetu", "parallels"},
       true,
       true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Result<IsolationSet> set = IsolationSet::of(c.words);
    ASSERT_TRUE(set.ok()) << set.error().to_string();
    EXPECT_EQ(set.value().words(), c.said);
    EXPECT_EQ(set.value().allows(IsolationKind::None), c.none);
    EXPECT_EQ(set.value().allows(IsolationKind::Container), c.container);
    EXPECT_EQ(set.value().empty(), c.words.empty());
    EXPECT_EQ(IsolationSet::of(set.value().words()).value(), set.value());
  }
}

TEST(IsolationSet, RefusesWhatIsNoIsolation) {
  for (const Words& words : {Words{"None"}, Words{""}, Words{"none", "any"}, Words{"docker"},
                             Words{std::string(100'000, 'x')}}) {
    const Result<IsolationSet> set = IsolationSet::of(words);
    ASSERT_FALSE(set.ok()) << words.front().substr(0, 80);
    EXPECT_EQ(set.error().code(), Code::InvalidArgument);
    EXPECT_NE(set.error().message().find("none, container, tart, vetu, parallels"),
              std::string::npos);
    EXPECT_LT(set.error().message().size(), 200U);
  }
}

}  // namespace cirrus::model
