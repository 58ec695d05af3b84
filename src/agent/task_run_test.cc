// SPDX-License-Identifier: MIT
// The step loop: behaviours, time, stop orders, background scripts, variables, lost connections.
#include <signal.h>

#include <thread>

#include "agent/testing/task_fixture.h"
#include "os/process_table.h"

namespace cirrus::agent {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class Tasks : public testing::TaskFixture {
 protected:
  bool is_dead(const std::string& pid_file) const {
    const auto text = os::read_file(work() / pid_file);
    return text.ok() && ::kill(std::stoi(text.value()), 0) == -1;
  }
};

TEST_F(Tasks, RunStepsByTheirBehaviour) {  // row 23
  struct Case {
    const char* name;
    bool fails;
    std::vector<std::string> wanted;
  };
  const Case cases[] = {
      {"success", false, {"a=COMPLETED", "f=SKIPPED", "b=COMPLETED", "al=COMPLETED", "t=SKIPPED"}},
      {"failure", true, {"a=FAILED", "f=COMPLETED", "b=SKIPPED", "al=COMPLETED", "t=SKIPPED"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    bootstrap.mutable_commands()->clear_commands();
    add_script("a", {c.fails ? "false" : "true"});
    add_script("f", {"true"}).set_execution_behaviour(wire::Command::ON_FAILURE);
    add_script("b", {"true"});
    add_script("al", {"true"}).set_execution_behaviour(wire::Command::ALWAYS);
    add_script("t", {"true"}).set_execution_behaviour(wire::Command::ON_TIMEOUT);
    new_gateway();
    run();
    EXPECT_EQ(gateway().statuses(), c.wanted);
  }
}

TEST_F(Tasks, ReactToTheirTimeout) {  // R12: on_failure gets the extension too
  bootstrap.mutable_commands()->set_timeout_in_seconds(1);
  add_script("early", {"true"}).set_execution_behaviour(wire::Command::ON_TIMEOUT);
  add_script("main", {"sleep 60"});
  add_script("f", {"echo failed"}).set_execution_behaviour(wire::Command::ON_FAILURE);
  add_script("t", {"echo late"}).set_execution_behaviour(wire::Command::ON_TIMEOUT);
  add_script("al", {"echo always"}).set_execution_behaviour(wire::Command::ALWAYS);
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("early=SKIPPED", "main=FAILED", "f=COMPLETED",
                                                "t=COMPLETED", "al=COMPLETED"));
  EXPECT_THAT(log("main"), AllOf(HasSubstr("sleep 60\n"), EndsWith("\nTimed out!")));
  EXPECT_EQ(log("t"), "echo late\nlate\n");
}

TEST_F(Tasks, ObeyAStopOrder) {  // T18
  add_script("main", {"trap '' TERM", "echo $$ > pid", "echo ready",
                      "sleep 86399 & echo $! > child", "while true; do sleep 0.05; done"});
  add_script("next", {"true"});
  add_script("f", {"true"}).set_execution_behaviour(wire::Command::ON_FAILURE);
  add_script("al", {"echo tidied up"}).set_execution_behaviour(wire::Command::ALWAYS);
  std::thread stopper([this] {
    EXPECT_TRUE(gateway().wait_for_log("main", "while true"));
    gateway().cancel("asked to");
  });
  run();
  stopper.join();
  EXPECT_THAT(gateway().statuses(),
              ElementsAre("main=FAILED", "next=SKIPPED", "f=SKIPPED", "al=COMPLETED"));
  EXPECT_THAT(log("main"), EndsWith("\nContext canceled!"));
  EXPECT_TRUE(is_dead("pid"));
  EXPECT_TRUE(is_dead("child"));
  EXPECT_TRUE(gateway().finished());
}

TEST_F(Tasks, GiveStepsTheirGraceToEnd) {
  bootstrap.set_kill_grace_milliseconds(5000);
  add_script("main",
             {"trap 'echo saved; exit 0' TERM", "echo ready", "while true; do sleep 0.02; done"});
  std::thread stopper([this] {
    EXPECT_TRUE(gateway().wait_for_log("main", "while true"));
    gateway().cancel("asked to");
  });
  run();
  stopper.join();
  EXPECT_THAT(log("main"), HasSubstr("\nsaved\n"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=FAILED"));
}

TEST_F(Tasks, KeepDaemonsForLaterStepsAndNoLonger) {  // R4: what `service x start` leaves
  add_script("main", {"setsid sh -c 'echo $$ > daemon; exec sleep 86399' > /dev/null 2>&1 &",
                      "while [ ! -s daemon ]; do sleep 0.01; done"});
  add_script("cleared",
             {"env -i setsid sh -c '(exec /bin/sleep 86399 >/dev/null 2>&1) & echo $! > other'",
              "while [ ! -s other ]; do sleep 0.01; done"});
  add_script("next", {"kill -0 $(cat daemon) $(cat other)"});
  const auto began = std::chrono::steady_clock::now();
  run();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(2));
  EXPECT_THAT(gateway().statuses(),
              ElementsAre("main=COMPLETED", "cleared=COMPLETED", "next=COMPLETED"));
  EXPECT_TRUE(is_dead("daemon"));
  EXPECT_TRUE(is_dead("other"));
}

TEST_F(Tasks, EndAlthoughADaemonKeepsTheOutput) {  // R5
  add_script("main", {"setsid sh -c 'echo $$ > daemon; exec sleep 86398' &",
                      "while [ ! -s daemon ]; do sleep 0.01; done"});
  add_script("next", {"true"});
  run();
  EXPECT_THAT(log("main"), HasSubstr("(sleep 86398)"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED", "next=COMPLETED"));
  EXPECT_TRUE(is_dead("daemon"));
}

TEST_F(Tasks, LeaveNoDaemonOfAStepThatTimedOut) {
  bootstrap.mutable_commands()->set_timeout_in_seconds(1);
  add_script("main", {"setsid sh -c 'echo $$ > daemon; exec sleep 86399' &", "sleep 60"});
  add_script("al", {"! kill -0 $(cat daemon)"}).set_execution_behaviour(wire::Command::ALWAYS);
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=FAILED", "al=COMPLETED"));
}

TEST_F(Tasks, LetProcessesEscapeUntilTheEndIfAsked) {
  variable("CIRRUS_ESCAPING_PROCESSES") = "1";
  add_script("main", {"(while true; do echo tick; sleep 0.01; done) & echo $! > daemon"});
  add_script("next", {"kill -0 $(cat daemon)"});
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED", "next=COMPLETED"));
  EXPECT_TRUE(is_dead("daemon"));
}

TEST_F(Tasks, RunBackgroundScriptsToTheEndAndNoFurther) {
  add_background("server", {"echo up", "sleep 86399 & echo $! > child",
                            "while [ ! -e stop ]; do sleep 0.01; done", "echo saw it", "touch seen",
                            "sleep 86399"});
  add_script("client", {"touch stop", "while [ ! -e seen ]; do sleep 0.01; done"});
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("server=COMPLETED", "client=COMPLETED"));
  EXPECT_THAT(log("server"), AllOf(StartsWith("echo up\nup\n"), HasSubstr("\nsaw it\n")));
  EXPECT_TRUE(is_dead("child"));
  EXPECT_EQ(gateway().events().back().after_size(), 2);
}

TEST_F(Tasks, PassVariablesOn) {
  add_script("one", {"echo A=B >> $CIRRUS_ENV", "echo A==B >> $CIRRUS_ENV", "echo >> $CIRRUS_ENV",
                     "echo nonsense >> $CIRRUS_ENV", "echo 'DIR=$A/x' >> $CIRRUS_ENV"});
  add_script("two", {"echo \"$A $DIR\""});
  run();
  EXPECT_THAT(log("one"), HasSubstr("line 4 of CIRRUS_ENV"));
  EXPECT_THAT(log("two"), EndsWith("\n=B =B/x\n"));
  EXPECT_THAT(gateway().statuses(), ElementsAre("one=COMPLETED", "two=COMPLETED"));
}

TEST_F(Tasks, TakeNoVariablesFromBackgroundScripts) {
  for (const char* name : {"b1", "b2", "b3", "b4", "b5"}) {
    add_background(name, {"echo X=1 > $CIRRUS_ENV; exec sleep 86399"});
  }
  add_script("main", {"echo \"[$X]\""});
  run();
  EXPECT_THAT(log("main"), EndsWith("\n[]\n"));
}

TEST_F(Tasks, HideWhatStepsDeclareSensitive) {  // row 12 and section 13.3
  variable("X_TOKEN") = "abcdef";
  variable("PIN") = "123";
  bootstrap.mutable_commands()->add_secrets_to_mask("123");
  variable("CIRRUS_ENV_SENSITIVE") = "true";
  add_background("back", {"while [ ! -e go ]; do sleep 0.01; done", "echo new: $NEW fresh-value",
                          "touch said", "sleep 86399"});
  add_script("main",
             {"printf abc; sleep 0.1; printf 'def\\n'", "echo NEW=fresh-value >> $CIRRUS_ENV"});
  add_script("after", {"touch go", "echo \"$NEW\"", "while [ ! -e said ]; do sleep 0.01; done"});
  run();
  EXPECT_THAT(log("back"), StartsWith("Secrets of less than 4 bytes are not hidden"));
  EXPECT_THAT(log("main"), HasSubstr("\nHIDDEN-BY-CIRRUS-CI\n"));
  EXPECT_THAT(log("after"), HasSubstr("\nHIDDEN-BY-CIRRUS-CI\n"));
  EXPECT_THAT(log("back"), Not(HasSubstr("\nnew: fresh-value")));
}

TEST_F(Tasks, RunASliceOfTheirSteps) {  // row 29
  for (const char* name : {"a", "b", "c", "d"}) add_script(name, {"true"});
  bootstrap.set_command_from("b");
  bootstrap.set_command_to("d");
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("b=COMPLETED", "c=COMPLETED"));
}

TEST_F(Tasks, EndSilentlyByAnExitInstruction) {
  add_script("a", {"true"});
  wire::Command& command = *bootstrap.mutable_commands()->add_commands();
  command.set_name("leave");
  command.mutable_exit_instruction();
  add_script("b", {"true"});
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("a=COMPLETED", "leave=EXECUTING"));
  EXPECT_FALSE(gateway().finished());
}

TEST_F(Tasks, WriteFiles) {  // section 18, row 21
  variable("CONTENT") = "from a variable";
  variable("LOCKED") = "ENCRYPTED[abc]";
  variable("NAME") = "named";
  const auto add_file = [this](const std::string& name, const std::string& path) {
    wire::Command& command = *bootstrap.mutable_commands()->add_commands();
    command.set_name(name);
    command.mutable_file_instruction()->set_destination_path(path);
    return command.mutable_file_instruction();
  };
  add_file("a", "deep/er/$NAME")->set_from_environment_variable("CONTENT");
  add_file("b", "locked")->set_from_environment_variable("LOCKED");
  add_file("c", "unset")->set_from_environment_variable("UNSET");
  add_file("d", "literal")->set_from_contents("$NAME");
  add_file("e", "literal/below")->set_from_contents("x");
  run();
  EXPECT_THAT(gateway().statuses(),
              ElementsAre("a=COMPLETED", "b=COMPLETED", "c=COMPLETED", "d=COMPLETED", "e=FAILED"));
  EXPECT_EQ(os::read_file(work() / "deep/er/named").value_or(""), "from a variable");
  EXPECT_EQ(os::read_file(work() / "literal").value_or(""), "$NAME");
  EXPECT_FALSE(std::filesystem::exists(work() / "locked"));
  EXPECT_FALSE(std::filesystem::exists(work() / "unset"));
}

TEST_F(Tasks, SetTheVariablesOfTheAgent) {
  add_script("main",
             {"echo $CIRRUS_OS/$OS/$CIRRUS_ARCH", "test -n \"$CIRRUS_TASK_COOKIE\"",
              "test \"$PWD\" = \"$CIRRUS_WORKING_DIR\"", "test -z \"$GONE\"", "echo $ADDED"});
  bootstrap.set_task_cookie("cookie");
  bootstrap.add_removed_environment("GONE");
  (*bootstrap.mutable_process_environment())["ADDED"] = "added";
  inherited["GONE"] = "here";
  inherited.erase("OS");
  run();
  EXPECT_THAT(gateway().statuses(), ElementsAre("main=COMPLETED")) << log("main");
  EXPECT_THAT(log("main"), AllOf(HasSubstr("\nlinux/linux/"), EndsWith("\nadded\n")));
}

TEST_F(Tasks, ReportWhyTheyCannotStart) {
  bootstrap.set_pre_created_working_dir("/proc/no/such/place");
  add_script("main", {"true"});
  run();
  ASSERT_EQ(gateway().events().size(), 1U);
  EXPECT_THAT(gateway().events()[0].error().message(), HasSubstr("/proc/no/such/place"));
}

TEST_F(Tasks, LoseNoByteWhenConnectionsBreak) {
  script.break_after = 2;
  script.breaks = 20;
  script.refusals = 3;
  outbox_limit = 64 * 1024;
  add_script("main", {"seq 1 1000000"});
  run();
  std::string wanted = "seq 1 1000000\n";
  for (int n = 1; n <= 1000000; ++n) wanted += std::to_string(n) + "\n";
  EXPECT_TRUE(log("main") == wanted) << log("main").size() << " of " << wanted.size();
  EXPECT_EQ(gateway().streams(), 21);
  EXPECT_TRUE(gateway().finished());
}

TEST_F(Tasks, StopReadingWhenTheGatewayIsSlow) {
  script.hold_acknowledgements = true;
  outbox_limit = 64 * 1024;
  add_script("main", {"seq 1 1000000 | tee >(wc -c > never) ; touch done"});
  std::thread releaser([this] {
    EXPECT_TRUE(gateway().wait_for_log("main", "\n9000\n"));
    // The pipe and the outbox are full by now; nothing may be lost or finished.
    EXPECT_FALSE(std::filesystem::exists(work() / "done"));
    gateway().release();
  });
  run();
  releaser.join();
  EXPECT_TRUE(std::filesystem::exists(work() / "done"));
  EXPECT_THAT(log("main"), HasSubstr("\n1000000\n"));
}

TEST_F(Tasks, GiveUpWhenNobodyComesForTheLog) {
  script.refusals = 1'000'000;
  outbox_limit = 64 * 1024;
  bootstrap.mutable_commands()->set_timeout_in_seconds(1);
  gateway_patience = std::chrono::milliseconds(300);
  add_script("main", {"seq 1 1000000"});
  run_alone();
  EXPECT_TRUE(outbox->abandoned());
}

}  // namespace
}  // namespace cirrus::agent
