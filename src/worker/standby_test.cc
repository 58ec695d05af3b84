// SPDX-License-Identifier: MIT
#include "worker/standby.h"

#include <atomic>
#include <set>

#include <gtest/gtest.h>

#include "os/temp_dir.h"

namespace cirrus::worker {
namespace {

using isolation::IsolationSpec;

/// What the instances of a test do and had done to them.
struct Machine {
  std::vector<std::string> launched;  ///< images
  std::set<std::string> alive;        ///< names
  std::set<std::string> crashed;      ///< names
  std::vector<std::string> scripts;
  int failures = 0;  ///< launches that will fail
  int script_status = 0;
  bool script_hangs = false;
};

class FakeInstance final : public isolation::Instance {
 public:
  FakeInstance(Guarded<Machine>& machine, std::string name)
      : machine_(machine), name_(std::move(name)) {}
  const isolation::InstanceRecord& record() const override { return record_; }
  isolation::GuestPaths guest_paths() const override { return {}; }
  Status send_bootstrap(std::string_view) override { return {}; }
  bool wait_end(const StopToken&, std::optional<Monotonic>) override {
    return machine_.with([&](Machine& machine) { return machine.crashed.contains(name_); });
  }
  std::string end_description() const override { return "crashed"; }
  Status run_script(const std::string& script, const StopToken& stop) override {
    const bool hangs = machine_.update([&](Machine& machine) {
      machine.scripts.push_back(script);
      return machine.script_hangs;
    });
    if (hangs) wait_for(stop, std::chrono::hours(1));
    if (machine_.with([](Machine& machine) { return machine.script_status; }) == 0) return {};
    return error(Code::FailedPrecondition, "the script failed");
  }
  void interrupt() override {}
  Status destroy() override {
    machine_.update([&](Machine& machine) { machine.alive.erase(name_); });
    return {};
  }

 private:
  Guarded<Machine>& machine_;
  const std::string name_;
  isolation::InstanceRecord record_;
};

class FakeIsolation final : public isolation::Isolation {
 public:
  explicit FakeIsolation(Guarded<Machine>& machine) : machine_(machine) {}
  bool launches_at_once() const override { return false; }
  Result<std::unique_ptr<isolation::Instance>> launch(const isolation::LaunchRequest& request,
                                                      const StopToken&) override {
    const bool fails = machine_.update([&](Machine& machine) {
      machine.launched.push_back(request.spec.container().image());
      if (machine.failures > 0) return machine.failures-- > 0;
      machine.alive.insert(request.task_id);
      return false;
    });
    if (fails) return error(Code::Unavailable, "no engine");
    return std::unique_ptr<isolation::Instance>(
        std::make_unique<FakeInstance>(machine_, request.task_id));
  }
  Result<std::unique_ptr<isolation::Instance>> adopt(const isolation::InstanceRecord&) override {
    return error(Code::Unimplemented, "not here");
  }

 private:
  Guarded<Machine>& machine_;
};

IsolationSpec container(const std::string& image) {
  IsolationSpec spec;
  spec.mutable_container()->set_image(image);
  return spec;
}

StandbySettings wanted(const std::string& image, double slots = 1, std::uint32_t count = 1) {
  StandbySettings settings;
  settings.isolation = container(image);
  settings.resources = {{"slots", slots}};
  settings.count = count;
  return settings;
}

class StandbyTest : public ::testing::Test {
 protected:
  StandbyTest() : root_(os::TempDir::create("cirrus-standby-test").value()), isolation_(machine_) {
    StandbyParts parts;
    parts.run_directory = root_.path();
    parts.isolation_for = [this](const IsolationSpec&) { return &isolation_; };
    parts.allowed = [](const IsolationSpec& spec) -> Result<IsolationSpec> {
      if (spec.container().image() == "forbidden") return error(Code::PermissionDenied, "no");
      return spec;
    };
    parts.fits = [this](const std::map<std::string, double>& booked, bool) {
      const auto slots = booked.find("slots");
      return slots == booked.end() || slots->second <= room_;
    };
    parts.on_released = [this] { ++released_; };
    standby_ = std::make_unique<Standby>(std::move(parts));
  }

  bool eventually(const std::function<bool()>& reached) const {
    for (int i = 0; i < 2000; ++i) {
      if (reached()) return true;
      wait_for(StopToken(), std::chrono::milliseconds(5));
    }
    return false;
  }
  bool ready(std::size_t count) const {
    return eventually([&] { return standby_->facts().ready == count; });
  }
  std::size_t alive() {
    return machine_.with([](Machine& machine) { return machine.alive.size(); });
  }

  os::TempDir root_;
  Guarded<Machine> machine_;
  FakeIsolation isolation_;
  std::atomic<double> room_{10};
  std::atomic<int> released_{0};
  std::unique_ptr<Standby> standby_;
};

TEST_F(StandbyTest, ATaskThatAsksForExactlyThatGetsIt) {
  standby_->configure({wanted("a")}, true);
  ASSERT_TRUE(ready(1));
  EXPECT_EQ(standby_->booked().at("slots"), 1);
  ASSERT_EQ(standby_->information().size(), 1U);
  EXPECT_EQ(standby_->information()[0].parameters().isolation().container().image(), "a");
  const IsolationSpec spec = container("a");
  standby_->assign("7", &spec);
  const std::optional<StandbySlot> slot = standby_->claim("7");
  ASSERT_TRUE(slot);
  EXPECT_TRUE(std::filesystem::is_directory(slot->run_directory / "guest"));
  EXPECT_FALSE(standby_->claim("7")) << "once";
  EXPECT_EQ(standby_->facts().hits.size(), 1U);
  // And the next one is made.
  EXPECT_TRUE(ready(1));
  EXPECT_EQ(alive(), 2U);
}

TEST_F(StandbyTest, ATaskThatWaitsGetsWhatBecomesReady) {
  const IsolationSpec spec = container("a");
  const IsolationSpec other = container("b");
  standby_->assign("7", &spec);
  EXPECT_FALSE(standby_->assign_late("7", &spec));
  standby_->configure({wanted("a")}, true);
  ASSERT_TRUE(ready(1));
  EXPECT_TRUE(eventually([&] { return released_ >= 1; })) << "the worker is told";
  EXPECT_FALSE(standby_->assign_late("7", &other));
  EXPECT_TRUE(standby_->assign_late("7", &spec));
  EXPECT_TRUE(standby_->assign_late("7", &spec)) << "still";
  EXPECT_TRUE(standby_->claim("7"));
}

TEST_F(StandbyTest, AnyOtherTaskEndsTheSingleForm) {
  standby_->configure({wanted("a")}, true);
  ASSERT_TRUE(ready(1));
  room_ = 0;
  const IsolationSpec other = container("b");
  standby_->assign("7", &other);
  EXPECT_FALSE(standby_->claim("7"));
  EXPECT_TRUE(eventually([&] { return alive() == 0 && standby_->booked().empty(); }));
  EXPECT_GE(released_, 1);
  EXPECT_EQ(standby_->facts().misses.size(), 1U);
}

TEST_F(StandbyTest, TheListFormGivesWayForResourcesOnly) {
  standby_->configure({wanted("a", 2, 2), wanted("b", 0)}, false);
  ASSERT_TRUE(ready(3));
  standby_->assign("7", nullptr);
  EXPECT_EQ(standby_->facts().ready, 3U);
  room_ = 0;
  standby_->make_room({{"slots", 1}});
  EXPECT_TRUE(eventually([&] { return alive() == 1; })) << "what holds no slots stays";
}

TEST_F(StandbyTest, NothingIsMadeWithoutRoom) {
  room_ = 1;
  standby_->configure({wanted("a", 1, 3)}, false);
  ASSERT_TRUE(ready(1));
  EXPECT_EQ(standby_->booked().at("slots"), 1);
  room_ = 2;
  standby_->look_again();
  EXPECT_TRUE(ready(2));
}

TEST_F(StandbyTest, WhatDiesIsReplaced) {
  standby_->configure({wanted("a")}, false);
  ASSERT_TRUE(ready(1));
  machine_.update([](Machine& machine) { machine.crashed = machine.alive; });
  standby_->look_again();
  EXPECT_TRUE(eventually([&] {
    return machine_.with([](Machine& machine) { return machine.launched.size() == 2; });
  }));
  EXPECT_TRUE(ready(1));
}

TEST_F(StandbyTest, OtherSettingsEndWhatIsNotWantedAnyMore) {
  standby_->configure({wanted("a"), wanted("b")}, false);
  ASSERT_TRUE(ready(2));
  standby_->configure({wanted("b"), wanted("c")}, false);
  EXPECT_TRUE(eventually([&] {
    return standby_->facts().ready == 2 && machine_.with([](Machine& machine) {
      return machine.launched == std::vector<std::string>{"a", "b", "c"};
    });
  })) << "b stays as it is";
  standby_->drain();
  EXPECT_TRUE(eventually([&] { return alive() == 0; }));
}

TEST_F(StandbyTest, TheServersWordReplacesThePlanUnlessItIsForbidden) {
  google::protobuf::RepeatedPtrField<Standby::Parameters> parameters;
  *parameters.Add()->mutable_isolation() = container("x");
  *parameters.Add()->mutable_isolation() = container("forbidden");
  parameters.Add()->mutable_isolation()->mutable_none();
  standby_->update(parameters);
  ASSERT_TRUE(ready(1));
  EXPECT_EQ(standby_->facts().wanted, 1U);
  standby_->update({});
  EXPECT_EQ(standby_->facts().wanted, 1U) << "an empty list is no change";
}

TEST_F(StandbyTest, ATaskThatNeverClaimsGivesItBack) {
  standby_->configure({wanted("a")}, true);
  ASSERT_TRUE(ready(1));
  const IsolationSpec spec = container("a");
  standby_->assign("7", &spec);
  standby_->forget("7");
  EXPECT_GE(standby_->facts().ready, 1U);
}

TEST_F(StandbyTest, TheWarmUpRunsFirstAndMayTakeTooLong) {
  StandbySettings settings = wanted("a");
  settings.warmup_script = "make tools";
  settings.warmup_timeout = std::chrono::seconds(1);
  machine_.update([](Machine& machine) { machine.script_hangs = true; });
  standby_->configure({settings}, false);
  EXPECT_TRUE(ready(1)) << "used as it is";
  EXPECT_EQ(standby_->facts().warming, 0U);
  EXPECT_EQ(machine_.with([](Machine& machine) { return machine.scripts; }),
            std::vector<std::string>{"make tools"});
}

TEST_F(StandbyTest, WhatWarmsUpIsCountedUntilItIsReady) {
  StandbySettings settings = wanted("a");
  settings.warmup_script = "make tools";
  machine_.update([](Machine& machine) { machine.script_hangs = true; });
  standby_->configure({settings}, false);
  EXPECT_TRUE(eventually([&] { return standby_->facts().warming == 1; }));
  EXPECT_EQ(standby_->facts().ready, 0U);
}

TEST_F(StandbyTest, AWarmUpThatFailsLeavesNothing) {
  StandbySettings settings = wanted("a");
  settings.warmup_script = "false";
  machine_.update([](Machine& machine) { machine.script_status = 1; });
  standby_->configure({settings}, false);
  EXPECT_TRUE(eventually(
      [&] { return machine_.with([](Machine& machine) { return !machine.scripts.empty(); }); }));
  EXPECT_TRUE(eventually([&] { return alive() == 0 && standby_->booked().empty(); }));
  EXPECT_EQ(standby_->facts().ready, 0U);
}

TEST_F(StandbyTest, EverythingEndsWithTheWorker) {
  standby_->configure({wanted("a", 1, 3)}, false);
  ASSERT_TRUE(ready(3));
  const IsolationSpec spec = container("a");
  standby_->assign("7", &spec);
  standby_.reset();
  EXPECT_EQ(alive(), 0U);
}

}  // namespace
}  // namespace cirrus::worker
