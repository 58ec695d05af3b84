// SPDX-License-Identifier: MIT
#include "controller/core/core.h"

#include <atomic>
#include <future>

#include <gtest/gtest.h>

#include "controller/store/memory_store.h"

namespace cirrus::controller::core {

namespace {
StateOptions options() {
  static std::atomic<int> count{0};
  StateOptions made;
  made.make_secret = [] { return "secret-" + std::to_string(++count); };
  return made;
}

Result<void> make_pool(Core& core, const std::string& name) {
  return core.ask<void>([name](State& s, Reply<void> reply, Moment now) {
    s.create_pool(name, {}, "test", std::move(reply), now);
  });
}
}  // namespace

TEST(Core, AnswersOnlyWhatIsDurable) {
  store::MemoryStore store;
  auto core = Core::start(store, system_clock(), options()).value();
  ASSERT_TRUE(make_pool(*core, "default").ok());
  EXPECT_EQ(store.load().value().pools.size(), 1U);
  EXPECT_EQ(make_pool(*core, "default").error().code(), Code::AlreadyExists);
}

TEST(Core, CommitsWhatArrivedMeanwhileTogether) {
  store::MemoryStore store;
  auto core = Core::start(store, system_clock(), options()).value();
  const int before = store.commits();
  std::promise<void> hold;
  std::shared_future<void> held = hold.get_future();
  ASSERT_TRUE(core->post([held](State&, Moment) { held.wait(); }));
  std::atomic<int> answers{0};
  std::promise<void> done;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(core->post([&, i](State& s, Moment now) {
      s.create_pool(
          "p" + std::to_string(i), {}, "test",
          [&](const Result<void>& made) {
            EXPECT_TRUE(made.ok());
            if (++answers == 100) done.set_value();
          },
          now);
    }));
  }
  hold.set_value();
  done.get_future().wait();
  EXPECT_LE(store.commits() - before, 2);
}

TEST(Core, AFailedCommitPoisonsItUntilTheStoreWorksAgain) {
  store::MemoryStore store;
  auto core = Core::start(store, system_clock(), options()).value();
  ASSERT_TRUE(make_pool(*core, "one").ok());
  store.fail_with([]() -> Status { return error(Code::ResourceExhausted, "disk full"); });
  const auto refused = make_pool(*core, "two");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::Unavailable);
  EXPECT_NE(refused.error().message().find("disk full"), std::string::npos);
  ASSERT_TRUE(core->poisoned());
  store.fail_with(nullptr);
  const Monotonic deadline = system_clock().now() + std::chrono::seconds(20);
  Result<void> made = error(Code::Unavailable, "not yet");
  while (!made.ok() && system_clock().now() < deadline) {
    made = make_pool(*core, "two");
    if (!made.ok()) {
      EXPECT_EQ(made.error().code(), Code::Unavailable);
    }
    wait_for(StopToken(), std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(made.ok());
  EXPECT_FALSE(core->poisoned());
  EXPECT_EQ(store.load().value().pools.size(), 2U);
}

TEST(Core, StopAnswersParkedPollsAndTakesNothingMore) {
  store::MemoryStore store;
  auto core = Core::start(store, system_clock(), options()).value();
  ASSERT_TRUE(make_pool(*core, "default").ok());
  const auto token =
      core->ask<State::NewToken>([](State& s, Reply<State::NewToken> reply, Moment now) {
        s.create_registration_token({"default", {}, "", ""}, "test", std::move(reply), now);
      });
  std::promise<Result<api::PollResponse>> answered;
  ASSERT_TRUE(core->post([&](State& s, Moment now) {
    PollCall call;
    call.worker = {token.value().token, "", "w", "i"};
    call.features.hold = true;
    s.poll(
        call, [&](Result<api::PollResponse> result) { answered.set_value(std::move(result)); },
        now);
  }));
  auto waiting = answered.get_future();
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  core->stop();
  EXPECT_TRUE(waiting.get().ok());
  EXPECT_FALSE(core->post([](State&, Moment) {}));
}

}  // namespace cirrus::controller::core
