// SPDX-License-Identifier: MIT
// `cirrus task list|show|logs|why|shell|shells|annotations|cancel|rerun|trigger`.
#include <cstdio>

#include <CLI/CLI.hpp>

#include "cli/api_command.h"
#include "cli/build_view.h"
#include "cli/task_shell.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct TaskFlags {
  ApiFlags api;
  std::string id;
  std::string step;
  std::string recorded_shell;
  std::string output = "text";
  bool follow = false;
  bool terminal = false;
  std::int64_t patience = 600;
};

std::string decode_base64(const std::string& text) {
  std::string bytes;
  unsigned value = 0;
  int bits = 0;
  for (const char c : text) {
    unsigned digit = 0;
    if (c >= 'A' && c <= 'Z')
      digit = static_cast<unsigned>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      digit = static_cast<unsigned>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      digit = static_cast<unsigned>(c - '0') + 52;
    else if (c == '+')
      digit = 62;
    else if (c == '/')
      digit = 63;
    else
      continue;
    value = (value << 6U) | digit;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(static_cast<char>((value >> static_cast<unsigned>(bits)) & 0xFFU));
    }
  }
  return bytes;
}

Result<json> fetch(const ApiClient& api, const std::string& id) {
  json found = CIRRUS_TRY(api.get("/api/v1/tasks/" + path_component(id)));
  return found.contains("task") ? found["task"] : found;
}

void print(const std::string& bytes) {
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  std::fflush(stdout);
}

Status follow_step(const ApiClient& api, const std::string& id, const std::string& step) {
  std::uint64_t printed = 0;
  return api.events(
      "/api/v1/tasks/" + path_component(id) + "/logs/" + path_component(step) + "?follow=1",
      [&](const net::EventParser::Event& event) {
        if (event.name == "end") return false;
        if (event.name != "log") return true;
        const json chunk = json::parse(event.data, nullptr, false);
        if (!chunk.is_object()) return true;
        std::string bytes = decode_base64(chunk.value("data", ""));
        const auto offset = chunk.value("offset", std::uint64_t{0});
        // A stream that was opened again repeats what we have.
        if (offset + bytes.size() <= printed) return true;
        if (offset < printed) {
          bytes.erase(0, static_cast<std::size_t>(printed - offset));
        }
        print(bytes);
        printed = std::max(printed, offset) + bytes.size();
        return true;
      });
}

int print_recorded_shell(const TaskFlags& flags, const ApiClient& api) {
  const Result<std::string> shown = api.get_text("/api/v1/tasks/" + path_component(flags.id) +
                                                 "/shells/" + path_component(flags.recorded_shell));
  if (!shown.ok()) return report(shown.error());
  print(shown.value());
  return kOk;
}

int logs(const TaskFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  if (!flags.recorded_shell.empty()) return print_recorded_shell(flags, api.value());
  const Result<json> task = fetch(api.value(), flags.id);
  if (!task.ok()) return report(task.error());
  std::vector<std::string> steps;
  for (const json& step : task.value().value("steps", json::array())) {
    const std::string name = step.value("name", "");
    if (flags.step.empty() || flags.step == name) steps.push_back(name);
  }
  if (steps.empty() && !flags.step.empty()) {
    complain("task " + flags.id + " has no step '" + flags.step + "'");
    return kFailed;
  }
  for (const std::string& step : steps) {
    if (flags.step.empty() && steps.size() > 1) print("==> " + step + " <==\n");
    if (flags.follow) {
      const Status followed = follow_step(api.value(), flags.id, step);
      if (!followed.ok()) return report(followed.error());
      continue;
    }
    const Result<std::string> text = api.value().get_text(
        "/api/v1/tasks/" + path_component(flags.id) + "/logs/" + path_component(step));
    if (!text.ok() && text.error().code() != Code::NotFound) return report(text.error());
    if (!text.ok()) continue;
    print(text.value());
    if (!text.value().empty() && text.value().back() != '\n' && flags.step.empty()) print("\n");
  }
  return kOk;
}

int show(const TaskFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  Result<json> task = fetch(api.value(), flags.id);
  if (!task.ok()) return report(task.error());
  if (flags.output == "json") {
    task.value()["schema_version"] = 1;
    std::printf("%s\n", task.value().dump(2).c_str());
    return kOk;
  }
  std::printf("%s", render_table(json{{"tasks", json::array({task.value()})}}).c_str());
  for (const json& step : task.value().value("steps", json::array())) {
    std::printf("  %-30s %-10s %s\n", step.value("name", "").c_str(),
                step.value("status", "").c_str(),
                human_duration(step.value("duration_ms", std::int64_t{0})).c_str());
  }
  return kOk;
}

int why(const TaskFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> answer = api.value().get("/api/v1/tasks/" + path_component(flags.id) + "/why");
  if (!answer.ok()) return report(answer.error());
  if (flags.output == "json") {
    std::printf("%s\n", answer.value().dump(2).c_str());
    return kOk;
  }
  for (const json& reason : answer.value().value("reasons", json::array())) {
    std::printf("%s\n", (reason.is_string() ? reason.get<std::string>() : reason.dump()).c_str());
  }
  return kOk;
}

int shell(const TaskFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  return open_task_shell(api.value(), flags.id, std::chrono::seconds(flags.patience));
}

/// Those whose pool recorded them.
int shells(const TaskFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> answer =
      api.value().get("/api/v1/tasks/" + path_component(flags.id) + "/shells");
  if (!answer.ok()) return report(answer.error());
  if (flags.output == "json") {
    print_json(answer.value());
    return kOk;
  }
  if (answer.value().contains("expired")) complain(text_of(answer.value(), "expired"));
  std::vector<std::vector<std::string>> rows = {{"SHELL", "OPENED BY", "AT", "BYTES"}};
  for (const json& one : answer.value().value("shells", json::array())) {
    rows.push_back({text_of(one, "number"), text_of(one, "opened_by"), text_of(one, "opened_at"),
                    text_of(one, "size")});
  }
  std::printf("%s", render_columns(rows).c_str());
  return kOk;
}

/// `path:line:column: level: message`, as compilers say it.
int annotations(const TaskFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> found = whole_list(
      api.value(), "/api/v1/tasks/" + path_component(flags.id) + "/annotations", "annotations");
  if (!found.ok()) return report(found.error());
  if (flags.output == "json") {
    print_json({{"schema_version", 1}, {"annotations", found.value()}});
    return kOk;
  }
  for (const json& one : found.value()) {
    const auto line = one.value("start_line", std::int64_t{0});
    const auto column = one.value("start_column", std::int64_t{0});
    std::string place = one.value("path", "");
    if (line > 0) place += fmt::format(":{}", line);
    if (line > 0 && column > 0) place += fmt::format(":{}", column);
    if (!place.empty()) place += ": ";
    std::printf("%s%s: %s\n", place.c_str(), one.value("level", "").c_str(),
                one.value("message", "").c_str());
  }
  return kOk;
}

/// One of the calls that change a task; its answer as JSON, or what `sentence` makes of it.
int change(const TaskFlags& flags, const char* verb, const char* action,
           const std::function<std::string(const json&)>& sentence,
           const json& body = json::object()) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> done =
      api.value().post("/api/v1/tasks/" + path_component(flags.id) + "/" + verb, body);
  if (!done.ok()) return report(done.error());
  if (flags.output == "json") {
    print_json(change_of(action, "task", {{"id", flags.id}}, done.value()));
  } else {
    std::printf("%s\n", sentence(done.value()).c_str());
  }
  return kOk;
}

int cancel(const TaskFlags& flags) {
  return change(flags, "cancel", "task.cancel",
                [&](const json&) { return "cancelling task " + flags.id; });
}

int rerun(const TaskFlags& flags) {
  json body = json::object();
  if (flags.terminal) body["terminal"] = true;
  const auto sentence = [&](const json& answer) {
    const std::string id = text_of(answer, "id");
    const std::string again = "task " + flags.id + " runs again as task " + id;
    if (!flags.terminal) return again;
    return again + "\nwhile it runs, and at its end: cirrus task shell " + id;
  };
  return change(flags, "rerun", "task.rerun", sentence, body);
}

int trigger(const TaskFlags& flags) {
  return change(flags, "trigger", "task.trigger",
                [&](const json&) { return "triggered task " + flags.id; });
}

int list(const TaskFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> found = api.value().get("/api/v1/builds/" + path_component(flags.id));
  if (!found.ok()) return report(found.error());
  const json build = found.value().value("build", json::object());
  const json tasks = build.value("tasks", json::array());
  if (flags.output == "json") {
    print_json({{"schema_version", 1}, {"tasks", tasks}});
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"TASK", "NAME", "STATUS", "ATTEMPT", "WORKER", "WHY"}};
  for (const json& task : tasks) {
    const std::string reason = text_of(task, "reason");
    rows.push_back({text_of(task, "id"), text_of(task, "name"), text_of(task, "status"),
                    text_of(task, "attempt"), text_of(task, "worker"),
                    reason.empty() ? text_of(task, "waiting_reason") : reason});
  }
  std::printf("%s", render_columns(rows).c_str());
  return kOk;
}

}  // namespace

void add_task_commands(CLI::App& root, Invocation& invocation) {
  static TaskFlags flags;
  CLI::App* task = root.add_subcommand("task", "Look at tasks and their logs");
  task->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, const char* example,
                       int (*body)(const TaskFlags&), const char* what = "task") {
    CLI::App* command = task->add_subcommand(name, help);
    add_api_flags(*command, flags.api);
    command->add_option("id", flags.id, what)->required();
    command->add_option("--output", flags.output, "text or json")
        ->check(CLI::IsMember({"text", "json"}));
    command->footer(std::string("Example:\n  ") + example + "\n");
    command->callback([&invocation, body] { invocation.run = [body] { return body(flags); }; });
    return command;
  };
  add("show", "Show one task and its steps", "cirrus task show 7", show);
  CLI::App* logs_command =
      add("logs", "Print a task's logs", "cirrus task logs 7 main --follow", logs);
  CLI::Option* const step = logs_command->add_option("step", flags.step, "one step (default: all)");
  CLI::Option* const follow =
      logs_command->add_flag("--follow", flags.follow, "go on until the step has ended");
  logs_command
      ->add_option("--shell", flags.recorded_shell,
                   "what a recorded shell showed, by its number in 'cirrus task shells'")
      ->type_name("NUMBER")
      ->excludes(step)
      ->excludes(follow);
  add("why", "Say why a task does not run", "cirrus task why 7", why);
  CLI::App* shell_command =
      add("shell", "Open a shell in a running task (audited; recorded if its pool asks for it)",
          "cirrus task shell 7", shell);
  read_duration(*shell_command, "--patience", flags.patience,
                "after the end of a standard input that is no terminal: how long a shell that has "
                "not ended may print nothing (default 10m)");
  add("shells", "List a task's recorded shells, which 'cirrus task logs --shell' prints",
      "cirrus task shells 7", shells);
  add("annotations", "Print what a task's reports of tests and linters found",
      "cirrus task annotations 7", annotations);
  add("cancel", "Stop a task", "cirrus task cancel 7", cancel);
  CLI::App* rerun_command =
      add("rerun", "Run a task that ended again, and what was skipped because of it",
          "cirrus task rerun 7", rerun);
  rerun_command->add_flag(
      "--terminal", flags.terminal,
      "have its agent offer a terminal from the start, and wait for people there "
      "when all its steps have run");
  add("trigger", "Let a task start that waits for a person", "cirrus task trigger 7", trigger);
  add("list", "List the tasks of a build", "cirrus task list 3", list, "build");
}

}  // namespace cirrus::cli
