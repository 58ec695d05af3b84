// SPDX-License-Identifier: MIT
// Scripts with real shells. Rows are those of the conformance list of the agent's specification.
#include <signal.h>

#include "agent/testing/task_fixture.h"

namespace cirrus::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Scripts : public testing::TaskFixture {};

TEST_F(Scripts, EchoEveryLineBeforeItRuns) {  // row 1
  add_script("main", {"echo 'Foo'", "echo 'Bar'"});
  run();
  EXPECT_EQ(log("main"), "echo 'Foo'\nFoo\necho 'Bar'\nBar\n");
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED"));
  EXPECT_TRUE(gateway().finished());
}

TEST_F(Scripts, EndWithoutAWordOnExitStatusOne) {  // row 2
  add_script("main", {"echo 'Hello!'", "exit 1", "echo x"});
  run();
  EXPECT_EQ(log("main"), "echo 'Hello!'\nHello!\nexit 1\n");
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=FAILED"));
}

TEST_F(Scripts, NameOtherExitStatuses) {  // row 3
  add_script("main", {"exit 3"});
  run();
  EXPECT_EQ(log("main"), "exit 3\n\nExit status: 3");
}

TEST_F(Scripts, FailInAPipelineAndDoNotEndAtOnceOnDash) {  // row 4
  for (const char* shell : {"/bin/sh", "/bin/bash"}) {
    SCOPED_TRACE(shell);
    variable("CIRRUS_SHELL") = shell;
    bootstrap.mutable_commands()->clear_commands();
    new_gateway();
    add_script("main", {"echo reached", "false | true", "echo after"});
    run();
    EXPECT_THAT(log("main"), StartsWith("echo reached\nreached\nfalse | true\n"));
  }
}

TEST_F(Scripts, RunDirectlyWithoutEcho) {  // row 5
  variable("CIRRUS_SHELL") = "direct";
  add_script("main", {"bash -c 'echo $CIRRUS_SHELL'", "echo 'second  line'"});
  run();
  EXPECT_EQ(log("main"), "direct\nsecond  line\n");
}

TEST_F(Scripts, FailAtOnceWithoutTheirShell) {  // row 6
  variable("CIRRUS_SHELL") = "/bin/non-existent";
  add_script("main", {"echo x"});
  run();
  EXPECT_THAT(log("main"), HasSubstr("/bin/non-existent"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=FAILED"));
}

TEST_F(Scripts, TakeTheirChildrenWithThem) {  // row 7
  add_script("main", {"sleep 86399 & echo $! > child", "sleep 0.1"});
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED"));
  const int child = std::stoi(os::read_file(work() / "child").value());
  EXPECT_EQ(::kill(child, 0), -1);
}

TEST_F(Scripts, TimeOutWithAllTheirChildren) {  // row 8
  bootstrap.mutable_commands()->set_timeout_in_seconds(1);
  add_script("main", {"sleep 86399 & echo $! > child", "sleep 60"});
  run();
  EXPECT_THAT(log("main"), EndsWith("\nTimed out!"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=FAILED"));
  const int child = std::stoi(os::read_file(work() / "child").value());
  EXPECT_EQ(::kill(child, 0), -1);
}

TEST_F(Scripts, NameTheSignalThatKilledThem) {
  add_script("main", {"kill -SEGV $$"});
  run();
  EXPECT_THAT(log("main"), EndsWith("\nSignaled to exit (segmentation fault)!"));
  EXPECT_TRUE(gateway().events()[1].updates().updates(0).signaled_to_exit());
}

TEST_F(Scripts, ReceiveNoInputAndASessionOfTheirOwn) {
  add_script("main", {"cat", "ps -o sid= -p $$ | tr -d ' ' > sid", "echo $$ > pid"});
  run();
  EXPECT_EQ(os::read_file(work() / "sid").value(), os::read_file(work() / "pid").value());
}

}  // namespace
}  // namespace cirrus::agent
