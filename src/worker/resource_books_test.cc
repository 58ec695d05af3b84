// SPDX-License-Identifier: MIT
#include "worker/resource_books.h"

#include <deque>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace cirrus::worker {
namespace {

TEST(ResourceBooks, SumsNeverExceedTheTotal) {
  ResourceBooks books({{"vms", 2}});
  EXPECT_TRUE(books.fits({{"vms", 1}}, {}));
  books.book({{"vms", 1}});
  books.book({{"vms", 1}});
  EXPECT_FALSE(books.fits({{"vms", 1}}, {}));
  EXPECT_TRUE(books.fits({{"vms", 0}}, {}));
  EXPECT_FALSE(books.fits({{"phones", 1}}, {})) << "a resource the owner does not have";
}

TEST(ResourceBooks, ATaskWithoutAmountsRunsAlone) {
  ResourceBooks books({{"vms", 2}});
  EXPECT_TRUE(books.fits({}, {}));
  books.book({{"vms", 1}});
  EXPECT_FALSE(books.fits({}, {}));
  ResourceBooks alone({{"vms", 2}});
  alone.book({});
  EXPECT_FALSE(alone.fits({{"vms", 1}}, {}));
}

TEST(ResourceBooks, TenthsAddUp) {
  ResourceBooks books({{"cpu", 1}});
  for (int i = 0; i < 9; ++i) books.book({{"cpu", 0.1}});
  EXPECT_TRUE(books.fits({{"cpu", 0.1}}, {}));
  books.book({{"cpu", 0.1}});
  EXPECT_FALSE(books.fits({{"cpu", 0.1}}, {}));
}

TEST(ResourceBooks, WhatStandsByHoldsItsAmounts) {
  const ResourceBooks books({{"vms", 2}});
  EXPECT_TRUE(books.fits({{"vms", 1}}, {{"vms", 1}}));
  EXPECT_FALSE(books.fits({{"vms", 2}}, {{"vms", 1}}));
  EXPECT_TRUE(books.fits({{"vms", 5}}, {})) << "nothing is beside it";
}

// A worker that several servers give tasks to without knowing of each other, whose owner changes
// the totals, and whose tasks end in any order.
class Machine {
 public:
  explicit Machine(unsigned seed) : random_(seed) {}

  void step() {
    switch (pick(0, 9)) {
      case 0:
      case 1:
      case 2:
      case 3: waiting_.push_back(some_amounts()); break;
      case 4:
      case 5:
      case 6:
      case 7:
        if (!running_.empty()) running_.erase(running_.begin() + pick(0, size() - 1));
        break;
      case 8: total_ = {{"vms", pick(0, 4)}, {"cpu", pick(1, 8) / 2.0}}; break;
      default: standing_ = pick(0, 1) == 0 ? Amounts{} : Amounts{{"vms", pick(0, 2)}}; break;
    }
    admit();
  }

 private:
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  int size() const { return static_cast<int>(running_.size()); }
  Amounts some_amounts() {
    switch (pick(0, 4)) {
      case 0: return {};
      case 1: return {{"vms", pick(0, 3)}};
      case 2: return {{"cpu", pick(1, 20) / 10.0}};
      case 3: return {{"vms", 1}, {"cpu", pick(1, 20) / 10.0}};
      default: return {{"unknown", pick(0, 1)}};
    }
  }

  // As the worker does it: in order, each one checked against the books of that moment.
  void admit() {
    ResourceBooks books(total_);
    for (const Amounts& amounts : running_) books.book(amounts);
    while (!waiting_.empty() && books.fits(waiting_.front(), standing_)) {
      check_start(waiting_.front());
      books.book(waiting_.front());
      running_.push_back(waiting_.front());
      waiting_.pop_front();
    }
    const bool idle = standing_.empty() && running_.empty();
    EXPECT_TRUE(!idle || waiting_.empty()) << "nobody moves";
  }

  // Said again in other words than the code's.
  void check_start(const Amounts& amounts) const {
    if (running_.empty()) return;  // alone: whatever it asks for
    EXPECT_FALSE(amounts.empty()) << "a task without amounts has company";
    Amounts sum = standing_;
    for (const Amounts& other : running_) {
      EXPECT_FALSE(other.empty()) << "company for a task without amounts";
      for (const auto& [name, amount] : other) sum[name] += amount;
    }
    for (const auto& [name, amount] : amounts) {
      const double total = total_.contains(name) ? total_.at(name) : 0;
      EXPECT_LE(sum[name] + amount, total + 1e-6) << name << " is given away twice";
    }
  }

  std::mt19937 random_;
  Amounts total_{{"vms", 2}, {"cpu", 4}};
  Amounts standing_;
  std::deque<Amounts> waiting_;
  std::vector<Amounts> running_;
};

TEST(ResourceBooks, NoScheduleOvercommitsAMachine) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Machine machine(seed);
    for (int step = 0; step < 200; ++step) {
      machine.step();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace cirrus::worker
