// SPDX-License-Identifier: MIT
#include "agent/shells.h"

#include <signal.h>

#include <atomic>

#include "agent/testing/task_fixture.h"
#include "rpc/shell_frames.h"
#include "rpc/testing/pipe_channel.h"

namespace cirrus::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Hands out one order as soon as somebody listens, and is the person behind it.
class OnePerson final : public rpc::ShellLink {
 public:
  Status listen(const StopToken& stop,
                const std::function<void(const rpc::ShellOrder&)>& on_order) override {
    if (!ordered_.exchange(true)) {
      rpc::ShellOrder order;
      order.set_session("s");
      order.set_columns(91);
      order.set_rows(33);
      on_order(order);
    }
    while (wait_for(stop, std::chrono::milliseconds(50))) {
    }
    return {};
  }
  Result<std::unique_ptr<rpc::ByteChannel>> carry(const std::string&) override {
    return std::unique_ptr<rpc::ByteChannel>(std::move(pipes_.server));
  }
  rpc::testing::PipeChannel& terminal() { return *pipes_.client; }
  /// Reads until `text` was printed; everything so far.
  std::string read_until(const std::string& text) {
    while (printed_.find(text) == std::string::npos) {
      const Result<std::string> bytes = terminal().read();
      if (!bytes.ok() || bytes.value().empty()) break;
      printed_ += bytes.value();
    }
    return printed_;
  }
  void type(const std::string& text) { EXPECT_TRUE(terminal().write(rpc::input_frame(text)).ok()); }

 private:
  rpc::testing::PipePair pipes_ = rpc::testing::make_pipe_pair();
  std::atomic<bool> ordered_{false};
  std::string printed_;
};

class ShellTasks : public testing::TaskFixture {
 protected:
  // What the profile of whoever runs the tests does, and waits for, is not of interest here.
  void SetUp() override { variable("HOME") = work().string(); }
};

TEST_F(ShellTasks, HaveATerminalOfTheOrderedSizeInTheTasksSurroundings) {
  OnePerson person;
  shells = &person;
  variable("OF_THE_TASK") = "yes";
  bootstrap.mutable_commands()->add_commands()->set_name("wait");
  bootstrap.mutable_commands()->mutable_commands(0)->mutable_wait_for_terminal_instruction();
  variable("CIRRUS_TERMINAL_EXPIRATION_WINDOW") = "1";
  Thread typing([&] {
    person.type("stty size; echo task:$OF_THE_TASK; pwd; tty; echo do''ne\n");
    EXPECT_THAT(person.read_until("done\r\n"),
                AllOf(HasSubstr("33 91"), HasSubstr("task:yes"), HasSubstr(work().string()),
                      HasSubstr("/dev/pts/")));
    EXPECT_TRUE(person.terminal().write(rpc::size_frame({50, 20})).ok());
    person.type("stty size; exit\n");
    EXPECT_THAT(person.read_until("20 50"), HasSubstr("20 50"));
  });
  run();
  typing.join();
  EXPECT_EQ(gateway().statuses(), std::vector<std::string>{"wait=COMPLETED"});
  EXPECT_THAT(log("wait"),
              AllOf(HasSubstr("cirrus task shell 7"), HasSubstr("A shell was opened")));
}

TEST_F(ShellTasks, LeaveNoShellBehindAtTheirEnd) {
  OnePerson person;
  shells = &person;
  add_script("main", {"while [ ! -e go ]; do sleep 0.05; done"});
  Thread typing([&] {
    person.type("sleep 86398 & echo $! > pid; touch go\n");
    (void)person.read_until("no such text");  // until the end
  });
  run();
  typing.join();
  const auto pid = os::read_file(work() / "pid");
  ASSERT_TRUE(pid.ok());
  EXPECT_EQ(::kill(std::stoi(pid.value()), 0), -1);
}

TEST_F(ShellTasks, WithoutAWayInHaveNothingToWaitFor) {
  bootstrap.mutable_commands()->set_timeout_in_seconds(1);
  bootstrap.mutable_commands()->add_commands()->set_name("wait");
  bootstrap.mutable_commands()->mutable_commands(0)->mutable_wait_for_terminal_instruction();
  run();
  EXPECT_EQ(gateway().statuses(), std::vector<std::string>{"wait=FAILED"});
}

}  // namespace
}  // namespace cirrus::agent
