// SPDX-License-Identifier: MIT
#include "model/resources.h"

#include <cmath>

#include <gtest/gtest.h>

namespace cirrus::model {

TEST(Resources, NamesWhatIsShort) {
  const auto shortage = first_shortage({{"cpu", 2}, {"gpu", 1}}, {{"cpu", 4}});
  ASSERT_TRUE(shortage);
  EXPECT_EQ(shortage->name, "gpu");
  EXPECT_EQ(shortage->available, 0);
  EXPECT_FALSE(first_shortage({{"cpu", 4}}, {{"cpu", 4}}));
  EXPECT_FALSE(first_shortage({}, {}));
}

TEST(Resources, ThirdsAddUpToOne) {
  Resources used;
  for (int i = 0; i < 3; ++i) add(used, {{"cpu", 1.0 / 3}});
  EXPECT_FALSE(first_shortage(used, {{"cpu", 1}}));
  for (int i = 0; i < 3; ++i) subtract(used, {{"cpu", 1.0 / 3}});
  EXPECT_EQ(used["cpu"], 0);
}

TEST(Resources, RefusesWhatCannotBeCounted) {
  EXPECT_FALSE(check_resources({{"cpu", -1}}).ok());
  EXPECT_FALSE(check_resources({{"cpu", std::nan("")}}).ok());
  EXPECT_FALSE(check_resources({{"", 1}}).ok());
  EXPECT_TRUE(check_resources({{"cpu", 0.5}}).ok());
}

}  // namespace cirrus::model
