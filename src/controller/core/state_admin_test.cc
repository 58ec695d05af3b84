// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "controller/core/testing/state_harness.h"

namespace cirrus::controller::core {

namespace {
using std::chrono::seconds;

State::NewToken make_token(StateHarness& h, const State::ApiTokenRequest& request) {
  return h
      .ask<State::NewToken>([&](State& s, auto reply, Moment now) {
        s.create_api_token(request, "test", std::move(reply), now);
      })
      .value();
}

Result<ApiIdentity> authorize(StateHarness& h, const std::string& token,
                              const std::string& peer = "10.0.0.1") {
  return h.ask<ApiIdentity>(
      [&](State& s, auto reply, Moment now) { s.authorize(token, peer, std::move(reply), now); });
}

int audited(StateHarness& h, const std::string& action) {
  store::AuditQuery query;
  query.action = action;
  query.limit = 1000;
  return static_cast<int>(h.store.list_audit(query).value().size());
}
}  // namespace

TEST(StateAdmin, AnApiTokenSaysWhatItIsForAndDiesWhenRevoked) {
  StateHarness h;
  const State::NewToken made =
      make_token(h, {"ci", Role::Submitter, {"acme/*", "local/test"}, std::nullopt});
  h.restart();
  const Result<ApiIdentity> identity = authorize(h, made.token);
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity.value().name, "ci");
  EXPECT_EQ(identity.value().repositories, (std::vector<std::string>{"acme/*", "local/test"}));
  EXPECT_FALSE(identity.value().trusted) << "submitters are not, unless somebody says so";
  ASSERT_TRUE(h.ask<void>([&](State& s, auto reply, Moment now) {
                 s.revoke_api_token(made.id, "test", std::move(reply), now);
               }).ok());
  EXPECT_EQ(authorize(h, made.token).error().code(), Code::Unauthenticated);
  h.restart();
  EXPECT_EQ(authorize(h, made.token).error().code(), Code::Unauthenticated);
  const ApiTokenViews tokens = h.state().view_api_tokens({}, 10);
  EXPECT_NE(tokens.at(0).revoked_ms, 0);
  EXPECT_EQ(tokens.at(0).hash, "");
}

TEST(StateAdmin, ATokenThatMakesNoSenseIsRefusedWithItsReason) {
  StateHarness h;
  make_token(h, {"ci", Role::Reader, {}, std::nullopt});
  const struct {
    const char* name;
    State::ApiTokenRequest request;
    Code code;
  } cases[] = {
      {"no name", {"", Role::Reader, {}, {}}, Code::InvalidArgument},
      {"a bad name", {"a b", Role::Reader, {}, {}}, Code::InvalidArgument},
      {"a name that is taken", {"ci", Role::Reader, {}, {}}, Code::AlreadyExists},
      {"a submitter for nothing", {"x", Role::Submitter, {}, {}}, Code::InvalidArgument},
      {"a pattern that is none", {"x", Role::Submitter, {"acme"}, {}}, Code::InvalidArgument},
      {"too many",
       {"x", Role::Submitter, std::vector<std::string>(257, "*"), {}},
       Code::InvalidArgument},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto made = h.ask<State::NewToken>([&](State& s, auto reply, Moment now) {
      s.create_api_token(c.request, "test", std::move(reply), now);
    });
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code(), c.code);
  }
}

TEST(StateAdmin, TheLastAdministratorCannotLockEverybodyOut) {
  StateHarness h;
  const State::NewToken only = make_token(h, {"admin", Role::Admin, {}, {}});
  const auto revoke = [&](const std::string& id) {
    return h.ask<void>([&](State& s, auto reply, Moment now) {
      s.revoke_api_token(id, "test", std::move(reply), now);
    });
  };
  EXPECT_EQ(revoke(only.id).error().code(), Code::FailedPrecondition);
  make_token(h, {"second", Role::Admin, {}, {}});
  EXPECT_TRUE(revoke(only.id).ok());
  EXPECT_EQ(revoke("none").error().code(), Code::NotFound);
  EXPECT_EQ(h.state().free_token_name("second"), "second-2");
}

TEST(StateAdmin, ATokenActsOnItsRepositoriesOnly) {
  StateHarness h;
  Actor actor("ci");
  actor.repositories = {"acme/*"};
  const auto id = h.submit({h.task(0, "a")});  // of local/test
  NewBuild build;
  build.repository = "local/test";
  build.actor = actor;
  const auto refused = [&](const auto& result) {
    return !result.ok() && result.error().code() == Code::PermissionDenied;
  };
  EXPECT_TRUE(refused(h.ask<model::BuildId>(
      [&](State& s, auto reply, Moment now) { s.submit(build, std::move(reply), now); })));
  EXPECT_TRUE(refused(h.ask<void>([&](State& s, auto reply, Moment now) {
    s.cancel_build(id, actor, std::move(reply), now);
  })));
  EXPECT_TRUE(refused(h.ask<void>([&](State& s, auto reply, Moment now) {
    s.cancel_task(model::TaskId{1}, actor, std::move(reply), now);
  })));
  EXPECT_TRUE(refused(h.ask<void>([&](State& s, auto reply, Moment now) {
    s.trigger_task(model::TaskId{1}, actor, std::move(reply), now);
  })));
  EXPECT_TRUE(refused(h.ask<model::TaskId>([&](State& s, auto reply, Moment now) {
    s.rerun_task(model::TaskId{1}, actor, std::move(reply), now);
  })));
  EXPECT_TRUE(refused(h.ask<std::vector<model::TaskId>>(
      [&](State& s, auto reply, Moment now) { s.rerun_build(id, actor, std::move(reply), now); })));
  EXPECT_EQ(h.current(id, "a").status, model::TaskStatus::Ready);
}

TEST(StateAdmin, AnUntrustedBuildHasCachesOfItsOwn) {
  StateHarness h;
  NewBuild build;
  build.repository = "local/test";
  build.actor = Actor("fork");
  build.actor.trusted = false;
  build.actor.token_id = "abc";
  const auto id = h.ask<model::BuildId>(
      [&](State& s, auto reply, Moment now) { s.submit(build, std::move(reply), now); });
  EXPECT_EQ(h.build(id.value()).record.cache_space, "token-abc");
  EXPECT_EQ(h.build(h.submit({h.task(0, "a")})).record.cache_space, "");
}

TEST(StateAdmin, WrongTokensFromOneAddressAreLimitedAndAuditedOnce) {
  StateHarness h;
  const State::NewToken good = make_token(h, {"ci", Role::Reader, {}, {}});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(authorize(h, "wrong").error().code(), Code::Unauthenticated);
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(authorize(h, "wrong").error().code(), Code::ResourceExhausted);
  }
  EXPECT_EQ(audited(h, "token.flood"), 1);
  EXPECT_TRUE(authorize(h, good.token).ok()) << "a good token gets through";
  EXPECT_EQ(authorize(h, "wrong", "10.0.0.2").error().code(), Code::Unauthenticated);
  h.pass(seconds(61));
  EXPECT_EQ(authorize(h, "wrong").error().code(), Code::Unauthenticated);
}

TEST(StateAdmin, APausedPoolStartsNothingAndSaysSo) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  const auto change = [&](const std::string& name, State::PoolSettings settings) {
    return h.ask<void>([&](State& s, auto reply, Moment now) {
      s.change_pool(name, settings, "test", std::move(reply), now);
    });
  };
  ASSERT_TRUE(change("default", {{}, true, {}}).ok());
  const auto id = h.submit({h.task(0, "a")});
  const auto slot = h.poll("w");
  EXPECT_FALSE(slot->answered());
  EXPECT_EQ(h.current(id, "a").waiting_reasons.front().text, "pool 'default' is paused");
  h.restart();
  EXPECT_TRUE(h.state().view_pools().at(0).record.paused);
  const auto again = h.poll("w");
  ASSERT_TRUE(change("default", {{}, false, {}}).ok());
  EXPECT_EQ(again->tasks().size(), 1U);
  EXPECT_EQ(change("none", {}).error().code(), Code::NotFound);
  EXPECT_EQ(change("default", {std::chrono::milliseconds(0), {}, {}}).error().code(),
            Code::InvalidArgument);
}

TEST(StateAdmin, ARegistrationTokenLetsInWhomItNames) {
  StateHarness h;
  const auto made = h.ask<State::NewToken>([&](State& s, auto reply, Moment now) {
    s.create_registration_token({"default", {}, "for the macs", "mac-*"}, "test", std::move(reply),
                                now);
  });
  ASSERT_TRUE(made.ok());
  const std::string everybody = h.registration_token;
  h.registration_token = made.value().token;
  EXPECT_TRUE(h.register_worker("mac-1").ok());
  const auto refused = h.register_worker("linux-1");
  EXPECT_EQ(refused.error().code(), Code::PermissionDenied);
  EXPECT_NE(refused.error().message().find("mac-*"), std::string::npos);
  // Nor by polling with a session it does not have, nor by pausing others.
  EXPECT_EQ(h.poll("linux-1", {}, "")->answer->error().code(), Code::PermissionDenied);
  EXPECT_EQ(h.ask<bool>([&](State& s, auto reply, Moment now) {
               s.update_status(h.credential("linux-1"), true, std::move(reply), now);
             })
                .error()
                .code(),
            Code::PermissionDenied);
  h.registration_token = everybody;
  EXPECT_TRUE(h.register_worker("linux-1").ok());
  for (const char* bad : {"a*b", "*x", "a\n"}) {
    EXPECT_EQ(
        h.ask<State::NewToken>([&](State& s, auto reply, Moment now) {
           s.create_registration_token({"default", {}, "", bad}, "test", std::move(reply), now);
         })
            .error()
            .code(),
        Code::InvalidArgument)
        << bad;
  }
}

TEST(StateAdmin, WhatWorkersForgeIsAuditedOnceAMinute) {
  StateHarness h;
  ASSERT_TRUE(h.register_worker("w").ok());
  ASSERT_TRUE(h.register_worker("other").ok());
  h.submit({h.task(0, "a")});
  const auto assigned = h.poll("w")->tasks().at(0);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(h.started("other", h.of(assigned)).error().code(), Code::PermissionDenied);
  }
  EXPECT_EQ(audited(h, "task.foreign"), 1);
  h.pass(seconds(61));
  EXPECT_FALSE(h.started("other", h.of(assigned)).ok());
  EXPECT_EQ(audited(h, "task.foreign"), 2);
}

}  // namespace cirrus::controller::core
