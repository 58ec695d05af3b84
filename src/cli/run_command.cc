// SPDX-License-Identifier: MIT
// `cirrus run`: the .cirrus.yml of a directory, run here, without a controller elsewhere.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <future>
#include <set>
#include <thread>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "base/strings.h"
#include "cli/api_command.h"
#include "cli/artifact_download.h"
#include "cli/build_view.h"
#include "cli/command.h"
#include "cli/directory_source_tree.h"
#include "cli/local_stack.h"
#include "cli/local_tasks.h"
#include "cli/log_follower.h"
#include "cli/working_tree.h"
#include "controller/secrets/encrypted_environment.h"
#include "lang/evaluate.h"
#include "os/files.h"
#include "os/signals.h"
#include "os/temp_dir.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct RunFlags {
  std::vector<std::string> tasks;
  std::vector<std::string> environment;
  std::string directory = ".";
  std::string artifacts;
  std::string affected_files;
  std::string output = "auto";
  bool dirty = false;
  bool verbose = false;
};

constexpr std::size_t kFailedLogBytes = 16U << 10U;  // of a failed step, after a tree was drawn

Result<std::map<std::string, std::string>> run_environment(const RunFlags& flags) {
  // Source: reference CLI, the variables of a local run.
  std::map<std::string, std::string> variables = {{"CI", "true"},
                                                  {"CONTINUOUS_INTEGRATION", "true"},
                                                  {"CIRRUS_CI", "true"},
                                                  {"CIRRUS_CLI", "true"},
                                                  {"CIRRUS_ENVIRONMENT", "CLI"},
                                                  {"CIRRUS_USER_COLLABORATOR", "true"},
                                                  {"CIRRUS_USER_PERMISSION", "write"}};
  for (const std::string& pair : flags.environment) {
    const std::size_t equals = pair.find('=');
    if (equals == 0 || pair.empty()) {
      return error(Code::InvalidArgument, "-e takes NAME=VALUE or NAME, not '{}'",
                   shorten(pair, 60));
    }
    const std::string name = pair.substr(0, equals);
    if (equals != std::string::npos) {
      variables[name] = pair.substr(equals + 1);
      continue;
    }
    // A name alone passes our own variable on. Source: reference CLI.
    const char* const value = std::getenv(name.c_str());
    if (value == nullptr) {
      return error(Code::InvalidArgument, "-e {}: there is no such variable here", name);
    }
    variables[name] = value;
  }
  return variables;
}

/// The configuration's tasks, as they can run here. Prints issues. Nullopt: what is wrong with the
/// configuration has been printed.
Result<std::optional<std::vector<lang::pb::Task>>> evaluate_here(
    const RunFlags& flags, const std::map<std::string, std::string>& variables) {
  const std::filesystem::path root(flags.directory);
  std::error_code failure;
  const char* const name =
      std::filesystem::exists(root / ".cirrus.yaml", failure) ? ".cirrus.yaml" : ".cirrus.yml";
  Result<std::string> text = os::read_file(root / name);
  if (!text.ok()) {
    return error(Code::NotFound, "there is no .cirrus.yml in '{}': go to the project's directory",
                 flags.directory);
  }
  lang::EvaluateOptions options = lang::controller_options();
  options.environment = variables;
  if (!flags.affected_files.empty()) options.affected_files = split(flags.affected_files, ',');
  lang::Outcome outcome = lang::evaluate(text.value(), DirectorySourceTree(root), options);
  for (const lang::pb::Issue& issue : outcome.evaluation.issues) {
    if (issue.level() == lang::pb::Issue::INFO) continue;
    complain(fmt::format("{}:{}: {}", issue.path().empty() ? name : issue.path(), issue.line(),
                         issue.message()));
  }
  if (outcome.error) {
    if (outcome.error->path.empty()) outcome.error->path = name;
    complain(lang::render(*outcome.error));
    return std::optional<std::vector<lang::pb::Task>>();
  }
  // Only the controller that encrypted them can open secrets: what needs them says so.
  std::set<std::string> told;
  const auto box = controller::secrets::SecretBox::ephemeral();
  for (lang::pb::Task& task : outcome.evaluation.tasks) {
    for (const auto& unset :
         controller::secrets::remove_unopened(*task.mutable_environment(), box, "", true)) {
      if (!told.insert(unset.name).second) continue;
      complain(fmt::format("{}:{}: secret '{}' stays unset here: give it with -e {}=VALUE", name,
                           controller::secrets::line_of_encrypted(text.value(), unset.name),
                           unset.name, unset.name));
    }
  }
  LocalTaskOptions local;
  local.names = flags.tasks;
  if (flags.dirty) local.live_directory = std::filesystem::canonical(root, failure);
  return std::optional(CIRRUS_TRY(local_tasks(std::move(outcome.evaluation.tasks), local)));
}

/// Makes the commit visible to the controller's git endpoint without copying the objects the user
/// has already.
Status publish(controller::Controller& controller, const WorkingTree& tree,
               const std::filesystem::path& objects) {
  const std::filesystem::path bare = CIRRUS_TRY(controller.repository_path(tree.repository));
  CIRRUS_TRY(os::make_directories(bare / "refs" / "cirrus" / "submit"));
  CIRRUS_TRY(os::make_directories(bare / "objects" / "info"));
  std::string alternates = objects.string() + "\n";
  if (!tree.known_objects.empty()) alternates += tree.known_objects.string() + "\n";
  CIRRUS_TRY(os::write_file(bare / "objects" / "info" / "alternates", alternates));
  CIRRUS_TRY(os::write_file(bare / "refs" / "cirrus" / "submit" / tree.commit, tree.commit + "\n"));
  CIRRUS_TRY(
      os::write_file(bare / "config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"));
  return os::write_file(bare / "HEAD", "ref: refs/heads/main\n");
}

/// A task that asks for what this machine cannot give waits for ever: said once and ended.
void end_hopeless_tasks(const ApiClient& api, const json& build, std::set<std::string>& ended) {
  for (const json& task : build.value("tasks", json::array())) {
    const std::string id = task.value("id", "");
    if (task.value("status", "") != "triggered" || ended.contains(id)) continue;
    const Result<json> why = api.get("/api/v1/tasks/" + id + "/why");
    if (!why.ok()) continue;
    for (const json& reason : why.value().value("details", json::array())) {
      const std::string kind = reason.value("kind", "");
      if (kind != "missing_label" && kind != "too_small") continue;
      ended.insert(id);
      complain(fmt::format("task '{}' cannot run here: {}", task.value("name", ""),
                           reason.value("text", "")));
      (void)api.post("/api/v1/tasks/" + id + "/cancel", json::object());
      break;
    }
  }
}

struct Shown {
  bool tree = false;   ///< redrawn on a terminal
  bool lines = false;  ///< logs as they come
};

Shown shown_by(const std::string& output) {
  if (output == "interactive") return {true, false};
  if (output == "simple") return {false, true};
  if (output == "json") return {false, false};
  const bool terminal = ::isatty(STDOUT_FILENO) == 1 && std::getenv("CI") == nullptr;
  return {terminal, !terminal};
}

/// Follows the build to its end. `lines` prints logs, unless it is null.
Result<json> follow_to_end(const ApiClient& api, const std::string& id, BuildView* tree,
                           LogFollower* lines) {
  BuildView changes(false);
  std::set<std::string> ended;
  json last;
  CIRRUS_TRY(
      api.events("/api/v1/builds/" + id + "/events", [&](const net::EventParser::Event& event) {
        if (event.name == "end") return false;
        if (event.name != "build") return true;
        json build = json::parse(event.data, nullptr, false);
        if (!build.is_object()) return true;
        last = build["build"];
        if (tree != nullptr) {
          const std::string text = tree->update(last);
          std::fwrite(text.data(), 1, text.size(), stdout);
          std::fflush(stdout);
        }
        if (lines != nullptr) {
          lines->update(last);
          const std::string text = changes.update(last);
          if (!text.empty()) {
            lines->say(std::string(trim(text)));
          }
        }
        end_hopeless_tasks(api, last, ended);
        return !is_final_status(last.value("status", ""));
      }));
  if (lines != nullptr) {
    lines->update(last);
    lines->finish();
  }
  return last;
}

/// The ends of the failed steps' logs: a tree shows that something failed, not why.
void print_failures(const ApiClient& api, const json& build) {
  for (const json& task : build.value("tasks", json::array())) {
    if (task.value("status", "") != "failed") continue;
    for (const json& step : task.value("steps", json::array())) {
      if (step.value("status", "") != "failed") continue;
      const std::string name = step.value("name", "");
      const Result<std::string> text = api.get_text("/api/v1/tasks/" + task.value("id", "") +
                                                    "/logs/" + net::percent_encode(name));
      if (!text.ok()) continue;
      std::string_view end = text.value();
      if (end.size() > kFailedLogBytes) {
        end.remove_prefix(end.size() - kFailedLogBytes);
        end.remove_prefix(std::min(end.find('\n') + 1, end.size()));
      }
      std::printf("\n==> %s: %s <==\n%.*s", task.value("name", "").c_str(), name.c_str(),
                  static_cast<int>(end.size()), end.data());
    }
  }
}

Status fetch_artifacts(const ApiClient& api, const json& build, const std::string& into) {
  for (const json& task : build.value("tasks", json::array())) {
    const std::string id = task.value("id", "");
    for (const json& artifact : CIRRUS_TRY(artifacts_of(api, id))) {
      ArtifactTarget target{id, artifact.value("name", ""), into, true};
      std::string folder = task.value("name", "");
      for (char& c : folder) c = c == '/' ? '_' : c;
      target.into = std::filesystem::path(into) / folder / target.artifact;
      for (const json& file : artifact.value("files", json::array())) {
        CIRRUS_TRY(download_artifact_file(api, target, file)
                       .note("saving artifacts of '{}'", task.value("name", "")));
      }
    }
  }
  return {};
}

Result<int> run_build(const RunFlags& flags) {
  const std::map<std::string, std::string> variables = CIRRUS_TRY(run_environment(flags));
  const os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("cirrus-run"));
  CIRRUS_TRY(os::make_directories(scratch.path() / "git"));
  // The stack starts while git looks at the tree.
  const int slots = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  auto starting =
      std::async(std::launch::async, [&] { return LocalStack::start(scratch.path(), slots); });
  std::optional<WorkingTree> tree;
  if (!flags.dirty) {
    Result<WorkingTree> committed =
        commit_directory(flags.directory, "", scratch.path() / "git", StopToken());
    if (!committed.ok()) return committed.error();
    tree = std::move(committed).value();
  }
  Result<std::optional<std::vector<lang::pb::Task>>> tasks = evaluate_here(flags, variables);
  const std::unique_ptr<LocalStack> stack = CIRRUS_TRY(starting.get());
  if (!tasks.ok()) return tasks.error();
  if (!tasks.value()) return kFailed;
  if (tasks.value()->empty()) {
    std::printf("no tasks to run\n");
    return kOk;
  }

  controller::core::NewBuild build;
  build.repository = "local/run";
  build.branch = "main";
  if (tree) {
    CIRRUS_TRY(publish(stack->controller(), *tree, scratch.path() / "git" / "objects"));
    build.repository = tree->repository;
    build.branch = tree->branch;
    build.commit = tree->commit;
    build.message = tree->message;
  }
  build.environment = variables;
  build.tasks = *std::move(tasks).value();
  build.actor = "cirrus run";
  const bool several = build.tasks.size() > 1;
  std::set<LogFollower::StepName> background;
  for (const lang::pb::Task& task : build.tasks) {
    for (const lang::pb::Command& command : task.commands()) {
      if (command.has_background_script_instruction()) {
        background.emplace(task.name(), command.name());
      }
    }
  }
  const model::BuildId id = CIRRUS_TRY(stack->controller().submit(std::move(build)));

  const os::SignalThread signals({SIGINT, SIGTERM}, [&](int) {
    complain("cancelling");
    (void)stack->api().post("/api/v1/builds/" + id.to_string() + "/cancel", json::object());
  });
  const Shown shown = shown_by(flags.output);
  BuildView view(true);
  LogFollower lines(stack->api(), several, std::move(background));
  const json last = CIRRUS_TRY(follow_to_end(
      stack->api(), id.to_string(), shown.tree ? &view : nullptr, shown.lines ? &lines : nullptr));
  if (shown.tree) print_failures(stack->api(), last);
  if (!flags.artifacts.empty()) CIRRUS_TRY(fetch_artifacts(stack->api(), last, flags.artifacts));
  if (flags.output == "json") {
    json document = last;
    document["schema_version"] = 1;
    std::printf("%s\n", document.dump(2).c_str());
  }
  const std::string status = last.value("status", "");
  if (flags.output != "json") std::printf("build %s\n", status.c_str());
  return status == "completed" ? kOk : kFailed;
}

int run(const RunFlags& flags) {
  os::block_signals({SIGINT, SIGTERM});
  set_log_level(flags.verbose ? LogLevel::Info : LogLevel::Error);
  const Result<int> code = run_build(flags);
  if (code.ok()) return code.value();
  complain(code.error().to_string());
  return kFailed;
}

}  // namespace

void add_run_command(CLI::App& root, Invocation& invocation) {
  static RunFlags flags;
  CLI::App* command =
      root.add_subcommand("run", "Run the .cirrus.yml of a directory on this machine");
  command->add_option("tasks", flags.tasks, "names of tasks (default: all)")->type_name("TASK");
  command
      ->add_option("-e,--environment", flags.environment,
                   "NAME=VALUE, or NAME to pass a variable of yours on; may be repeated")
      ->allow_extra_args(false);
  command->add_option("-C,--directory", flags.directory, "the source (default: .)")
      ->type_name("DIR");
  command->add_flag("--dirty", flags.dirty,
                    "work in the directory itself instead of in a copy without ignored files");
  command->add_option("--artifacts-dir", flags.artifacts, "save what tasks store as artifacts")
      ->type_name("DIR");
  command->add_option("--affected-files", flags.affected_files,
                      "changed files, separated by commas, for changesInclude");
  command
      ->add_option("-o,--output", flags.output,
                   "interactive: a tree that is redrawn; simple: logs as they come; json: the "
                   "build when it has ended; auto: by the terminal")
      ->check(CLI::IsMember({"auto", "interactive", "simple", "json"}));
  command->add_flag("-v,--verbose", flags.verbose, "show what the controller and the worker log");
  command->footer(
      "Examples:\n"
      "  cirrus run\n"
      "  cirrus run Test -e VERBOSE=1 --dirty\n"
      "  cirrus run --artifacts-dir out --output simple\n");
  command->callback([&invocation] { invocation.run = [] { return run(flags); }; });
}

}  // namespace cirrus::cli
