// SPDX-License-Identifier: MIT
// The tree of commands and what is made from it: completion, manual, reference.
#include "cli/command_tree.h"

#include <CLI/CLI.hpp>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "cli/completion.h"
#include "cli/manual.h"

namespace cirrus::cli {

namespace {
class CommandTree : public testing::Test {
 protected:
  CommandTree() {
    CLI::App* build = app_.add_subcommand("build", "Look at builds");
    CLI::App* show = build->add_subcommand("show", "Show one");
    show->add_option("id", id_, "build")->required();
    show->add_option("--output", output_, "text | json")->check(CLI::IsMember({"text", "json"}));
    show->add_flag("-f,--follow", follow_, "to the end");
    show->footer("Example:\n  cirrus build show 1\n.not a macro\n");
    CLI::App* hidden = app_.add_subcommand("__secret", "x");
    hidden->group("");
    CLI::App* context = app_.add_subcommand("context", "Saved controllers");
    context->add_subcommand("use", "Choose one")->add_option("name", id_, "which");
    context->add_subcommand("add", "Make one")->add_option("name", id_, "its name");
    CLI::App* task = app_.add_subcommand("task", "Look at tasks");
    task->add_subcommand("list", "Of a build")->add_option("id", id_, "build");
    CLI::App* logs = task->add_subcommand("logs", "What it said");
    logs->add_option("id", id_, "task");
    logs->add_option("step", output_, "which");
    logs->add_option("--context", output_, "where");
    CLI::App* token = app_.add_subcommand("pool", "Pools")->add_subcommand("token", "Tokens");
    token->add_subcommand("revoke", "End one")->add_option("id", id_, "which");
    app_.add_subcommand("run", "Here")->add_option("tasks", tasks_, "which");
    app_.add_option("--url", output_, "where")->envname("CIRRUS_URL");
  }
  std::string offered(const std::vector<std::string>& words) {
    return join(complete(command_tree(app_), words,
                         [](const std::string& kind, const std::vector<std::string>& given) {
                           const std::string of = given.empty() ? "" : "of-" + given.back() + "-";
                           return std::vector<std::string>{of + kind + "-1", of + kind + "-2"};
                         }),
                " ");
  }
  CLI::App app_{"Everything", "cirrus"};
  std::string id_;
  std::string output_;
  std::vector<std::string> tasks_;
  bool follow_ = false;
};
}  // namespace

TEST_F(CommandTree, OffersCommandsOptionsChoicesAndNames) {
  EXPECT_EQ(offered({""}), "build context task pool run");
  EXPECT_EQ(offered({"bu"}), "build");
  EXPECT_EQ(offered({"build", ""}), "show");
  EXPECT_EQ(offered({"build", "show", ""}), "build-1 build-2");
  EXPECT_EQ(offered({"build", "show", "--output", ""}), "text json");
  EXPECT_EQ(offered({"build", "show", "--output", "j"}), "json");
  EXPECT_EQ(offered({"build", "show", "--fo"}), "--follow");
  EXPECT_EQ(offered({"build", "show", "--follow", ""}), "build-1 build-2")
      << "a flag takes nothing";
  EXPECT_EQ(offered({"context", "use", ""}), "context-1 context-2");
  EXPECT_EQ(offered({"nonsense", ""}), "build context task pool run");
}

TEST_F(CommandTree, OffersWhatBelongsToTheWordsBefore) {
  EXPECT_EQ(offered({"task", "list", ""}), "build-1 build-2") << "tasks are listed of a build";
  EXPECT_EQ(offered({"task", "logs", ""}), "task-1 task-2");
  EXPECT_EQ(offered({"task", "logs", "7", ""}), "of-7-step-1 of-7-step-2");
  EXPECT_EQ(offered({"task", "logs", "--context", "lab", "7", ""}), "of-7-step-1 of-7-step-2")
      << "the value of an option is not the task";
  EXPECT_EQ(offered({"task", "logs", "--context", "list", "7", ""}), "of-7-step-1 of-7-step-2")
      << "nor a command";
  EXPECT_EQ(offered({"task", "logs", "7", "main", ""}), "") << "nothing comes after that";
  EXPECT_EQ(offered({"pool", "token", "revoke", ""}), "registration_token-1 registration_token-2");
  EXPECT_EQ(offered({"context", "add", ""}), "") << "a new one has no name yet";
  EXPECT_EQ(offered({"run", "Lint", ""}), "of-Lint-local_task-1 of-Lint-local_task-2");
}

TEST_F(CommandTree, AManualHoldsEverythingHelpSays) {
  const auto pages = manual_pages(command_tree(app_), "1.2.3");
  ASSERT_TRUE(pages.contains("cirrus-build.1"));
  EXPECT_FALSE(pages.contains("cirrus-__secret.1"));
  const std::string& page = pages.at("cirrus-build.1");
  for (const char* part : {".TH CIRRUS\\-BUILD 1", "\\fB\\-\\-output\\fR \\fItext|json\\fR",
                           "cirrus build show", "\\&.not a macro", ".SH EXIT STATUS"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
  }
}

TEST_F(CommandTree, TheReferenceIsATableThatMarkdownReads) {
  const std::string text = command_reference(command_tree(app_));
  EXPECT_NE(text.find("## cirrus build show\n"), std::string::npos);
  EXPECT_NE(text.find("| `--output text\\|json` | text \\| json |"), std::string::npos) << text;
  EXPECT_NE(text.find("Environment: CIRRUS_URL."), std::string::npos);
}

TEST_F(CommandTree, EveryShellHasAScriptAndOthersHaveNone) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_NE(completion_script(shell).find("cirrus __complete --"), std::string::npos) << shell;
  }
  EXPECT_EQ(completion_script("tcsh"), "");
}

}  // namespace cirrus::cli
