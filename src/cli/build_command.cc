// SPDX-License-Identifier: MIT
// `cirrus build submit|list|show|cancel|rerun`.
#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include <CLI/CLI.hpp>

#include "cli/api_command.h"
#include "cli/build_view.h"
#include "cli/submit.h"
#include "os/signals.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct BuildFlags {
  ApiFlags api;
  std::string directory = ".";
  std::string repository;
  std::string branch;
  std::vector<std::string> environment;
  std::string id;
  std::string output = "text";
  int limit = 20;
  int priority = 0;
  bool follow = false;
};

bool as_json(const BuildFlags& flags) {
  return flags.output == "json";
}

int exit_code_of(const json& build) {
  const std::string status = build.value("status", "");
  return status == "completed" || status == "skipped" ? kOk : kFailed;
}

// Follows a build to its end and prints its changes; the last state.
Result<json> follow_build(const ApiClient& api, const std::string& id, bool quiet,
                          const StopToken& stop) {
  BuildView view(!quiet && ::isatty(STDOUT_FILENO) == 1);
  json last;
  CIRRUS_TRY(api.events(
      "/api/v1/builds/" + id + "/events",
      [&](const net::EventParser::Event& event) {
        if (event.name == "end") return false;
        if (event.name != "build") return true;
        json build = json::parse(event.data, nullptr, false);
        if (build.is_discarded()) return true;
        if (build.contains("build")) build = build["build"];
        if (!quiet) {
          const std::string text = view.update(build);
          std::fwrite(text.data(), 1, text.size(), stdout);
          std::fflush(stdout);
        }
        last = std::move(build);
        return !is_final_status(last.value("status", ""));
      },
      stop));
  if (last.is_null()) {
    last = CIRRUS_TRY(api.get("/api/v1/builds/" + id));
    if (last.contains("build")) last = last["build"];
  }
  return last;
}

void print_build(const BuildFlags& flags, const json& build) {
  if (as_json(flags)) {
    json document = build;
    document["schema_version"] = 1;
    std::printf("%s\n", document.dump(2).c_str());
    return;
  }
  std::printf("build %s of %s: %s%s\n%s", build.value("id", "").c_str(),
              build.value("repository", "").c_str(), build.value("status", "").c_str(),
              build.value("trusted", true) ? "" : " (not trusted)", render_table(build).c_str());
}

int submit(const BuildFlags& flags) {
  os::block_signals({SIGINT, SIGTERM});
  StopSource interrupted;
  const os::SignalThread signals({SIGINT, SIGTERM}, [&](int) { interrupted.request_stop(); });
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  Result<Submission> pushed =
      push_directory(flags.directory, flags.repository, api.value(), interrupted.get_token());
  if (!pushed.ok()) return report(pushed.error());
  const Submission& source = pushed.value();
  json body{{"repository", source.repository},
            {"branch", flags.branch.empty() ? source.branch : flags.branch},
            {"commit", source.commit},
            {"message", source.message},
            {"priority", flags.priority}};
  body["environment"] = json::object();
  for (const std::string& pair : flags.environment) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      complain("-e takes NAME=VALUE, not '" + pair + "'");
      return kUsage;
    }
    body["environment"][pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  Result<json> created = api.value().post("/api/v1/builds", body);
  if (!created.ok()) {
    complain(created.error().to_string());
    // A file that does not evaluate is a failed build, not a wrong command line.
    return created.error().code() == Code::InvalidArgument ? kFailed
                                                           : exit_code_for(created.error());
  }
  json build = created.value().contains("build") ? created.value()["build"] : created.value();
  const std::string id = build.value("id", "");
  if (!as_json(flags)) std::fprintf(stderr, "%s", render_issues(build).c_str());
  if (!flags.follow) {
    if (as_json(flags)) {
      print_build(flags, build);
    } else {
      std::fprintf(stderr, "%s", render_failures(build).c_str());
      std::printf("%s\n", id.c_str());
    }
    return kOk;
  }
  if (!as_json(flags)) std::fprintf(stderr, "submitted build %s\n", id.c_str());
  Result<json> last = follow_build(api.value(), id, as_json(flags), interrupted.get_token());
  if (!last.ok()) {
    if (last.error().code() == Code::Cancelled) {
      complain("stopped following; the build goes on: cirrus build show " + id);
      return kFailed;
    }
    return report(last.error());
  }
  print_build(flags, last.value());
  return exit_code_of(last.value());
}

int show(const BuildFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  if (flags.follow) {
    const Result<json> last = follow_build(api.value(), flags.id, as_json(flags), StopToken());
    if (!last.ok()) return report(last.error());
    print_build(flags, last.value());
    return exit_code_of(last.value());
  }
  const Result<json> found = api.value().get("/api/v1/builds/" + flags.id);
  if (!found.ok()) return report(found.error());
  const json build = found.value().contains("build") ? found.value()["build"] : found.value();
  print_build(flags, build);
  if (!as_json(flags)) std::printf("%s", render_issues(build).c_str());
  return kOk;
}

int list(const BuildFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> found = api.value().get("/api/v1/builds?limit=" + std::to_string(flags.limit));
  if (!found.ok()) return report(found.error());
  if (as_json(flags)) {
    std::printf("%s\n", found.value().dump(2).c_str());
    return kOk;
  }
  std::printf("%-8s %-30s %-12s %-10s %s\n", "BUILD", "REPOSITORY", "BRANCH", "STATUS", "CREATED");
  for (const json& build : found.value().value("builds", json::array())) {
    std::printf("%-8s %-30s %-12s %-10s %s\n", build.value("id", "").c_str(),
                build.value("repository", "").c_str(), build.value("branch", "").c_str(),
                build.value("status", "").c_str(), build.value("created_at", "").c_str());
  }
  const json removed = found.value().value("removed", json::object());
  if (!removed.empty()) {
    std::fprintf(stderr, "%s older builds were removed, the last on %.10s: %s\n",
                 text_of(removed, "builds").c_str(), text_of(removed, "last_at").c_str(),
                 text_of(removed, "why").c_str());
  }
  return kOk;
}

int cancel(const BuildFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> done =
      api.value().post("/api/v1/builds/" + flags.id + "/cancel", json::object());
  if (!done.ok()) return report(done.error());
  if (as_json(flags)) {
    print_json(change_of("build.cancel", "build", {{"id", flags.id}}, done.value()));
  } else {
    std::printf("cancelling build %s\n", flags.id.c_str());
  }
  return kOk;
}

int rerun(const BuildFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> done =
      api.value().post("/api/v1/builds/" + path_component(flags.id) + "/rerun", json::object());
  if (!done.ok()) return report(done.error());
  if (!flags.follow) {
    if (as_json(flags)) {
      print_json(change_of("build.rerun", "build", {{"id", flags.id}}, done.value()));
      return kOk;
    }
    for (const json& id : done.value().value("tasks", json::array())) {
      std::printf("runs again as task %s\n", id.get<std::string>().c_str());
    }
    return kOk;
  }
  const Result<json> last = follow_build(api.value(), flags.id, as_json(flags), StopToken());
  if (!last.ok()) return report(last.error());
  print_build(flags, last.value());
  return exit_code_of(last.value());
}

}  // namespace

void add_build_commands(CLI::App& root, Invocation& invocation) {
  static BuildFlags flags;
  CLI::App* build = root.add_subcommand("build", "Submit and look at builds");
  build->require_subcommand(1);
  const auto common = [](CLI::App* command) {
    add_api_flags(*command, flags.api);
    command->add_option("--output", flags.output, "text or json")
        ->check(CLI::IsMember({"text", "json"}));
  };
  const auto runs = [&invocation](CLI::App* command, int (*body)(const BuildFlags&)) {
    command->callback([&invocation, body] { invocation.run = [body] { return body(flags); }; });
  };

  CLI::App* submit_command =
      build->add_subcommand("submit", "Run the .cirrus.yml of a directory, as it is now");
  common(submit_command);
  submit_command->add_option("directory", flags.directory, "the source (default: .)");
  submit_command->add_option("--repo", flags.repository, "owner/name (default: from origin)");
  submit_command->add_option("--branch", flags.branch, "branch the build is for");
  submit_command->add_option("-e,--environment", flags.environment, "NAME=VALUE, repeatable");
  submit_command->add_option("--priority", flags.priority, "higher starts earlier (default 0)");
  submit_command->add_flag("--follow", flags.follow, "show progress; exit 1 if the build fails");
  submit_command->footer("Example:\n  cirrus build submit . --follow\n");
  runs(submit_command, submit);

  CLI::App* show_command = build->add_subcommand("show", "Show one build and its tasks");
  common(show_command);
  show_command->add_option("id", flags.id, "build")->required();
  show_command->add_flag("--follow", flags.follow, "show progress to the end");
  show_command->footer("Example:\n  cirrus build show 12 --output json\n");
  runs(show_command, show);

  CLI::App* list_command = build->add_subcommand("list", "List the newest builds");
  common(list_command);
  list_command->add_option("--limit", flags.limit, "how many (default 20)");
  list_command->footer("Example:\n  cirrus build list --limit 5\n");
  runs(list_command, list);

  CLI::App* cancel_command = build->add_subcommand("cancel", "Stop a build and all its tasks");
  common(cancel_command);
  cancel_command->add_option("id", flags.id, "build")->required();
  cancel_command->footer("Example:\n  cirrus build cancel 12\n");
  runs(cancel_command, cancel);

  CLI::App* rerun_command =
      build->add_subcommand("rerun", "Run again what failed or was cancelled in a build");
  common(rerun_command);
  rerun_command->add_option("id", flags.id, "build")->required();
  rerun_command->add_flag("--follow", flags.follow, "show progress; exit 1 if the build fails");
  rerun_command->footer("Example:\n  cirrus build rerun 12 --follow\n");
  runs(rerun_command, rerun);
}

}  // namespace cirrus::cli
