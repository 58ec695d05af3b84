// SPDX-License-Identifier: MIT
#include "controller/http/submit.h"

#include <set>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "controller/http/json_fields.h"
#include "controller/http/json_views.h"
#include "controller/http/problem.h"
#include "controller/secrets/encrypted_environment.h"
#include "lang/evaluate.h"
#include "model/safe_name.h"

namespace cirrus::controller::http {

namespace {
using nlohmann::json;

struct SubmitRequest {
  core::NewBuild build;
  std::string config;  ///< inline text
  bool has_config = false;
};

Result<SubmitRequest> read_request(const std::string& text) {
  const json body = CIRRUS_TRY(json_object(text));
  CIRRUS_TRY(only_fields(
      body, {"repository", "branch", "commit", "message", "config", "priority", "environment"}));
  SubmitRequest request;
  core::NewBuild& build = request.build;
  build.repository = CIRRUS_TRY(text_field(body, "repository"));
  build.branch = CIRRUS_TRY(text_field(body, "branch"));
  build.commit = CIRRUS_TRY(text_field(body, "commit"));
  build.message = CIRRUS_TRY(text_field(body, "message"));
  request.config = CIRRUS_TRY(text_field(body, "config"));
  request.has_config = body.contains("config") && body["config"].is_string();
  if (build.message.size() > 64 * 1024) build.message = shorten(build.message, 64 * 1024);
  if (build.branch.empty()) build.branch = "main";
  if (build.repository.empty() && request.has_config) build.repository = "local/inline";
  CIRRUS_TRY(model::RepositoryName::create(build.repository));
  CIRRUS_TRY(model::check_ref_name(build.branch));
  if (!build.commit.empty() || !request.has_config) CIRRUS_TRY(model::check_commit(build.commit));
  const auto priority = body.find("priority");
  if (priority != body.end() && !priority->is_null()) {
    if (!priority->is_number_integer()) {
      return error(Code::InvalidArgument, "'priority' must be a whole number");
    }
    const auto value = priority->get<std::int64_t>();
    if (value < -1000 || value > 1000) {
      return error(Code::InvalidArgument, "'priority' must be between -1000 and 1000");
    }
    build.priority = static_cast<int>(value);
  }
  const auto environment = body.find("environment");
  if (environment != body.end() && !environment->is_null()) {
    if (!environment->is_object()) {
      return error(Code::InvalidArgument, "'environment' must be an object");
    }
    for (const auto& [key, value] : environment->items()) {
      if (!value.is_string()) {
        return error(Code::InvalidArgument, "environment variable '{:.80}' must be a string", key);
      }
      build.environment[key] = value.get<std::string>();
    }
  }
  return request;
}

/// What conditions in the configuration see. Source: configuration §17.
std::map<std::string, std::string> build_environment(const core::NewBuild& build) {
  const std::size_t slash = build.repository.find('/');
  std::map<std::string, std::string> environment = {
      {"CI", "true"},
      {"CIRRUS_CI", "true"},
      {"CONTINUOUS_INTEGRATION", "true"},
      {"CIRRUS_API_CREATED", "true"},
      {"CIRRUS_BRANCH", build.branch},
      {"CIRRUS_DEFAULT_BRANCH", "main"},
      {"CIRRUS_REPO_OWNER", build.repository.substr(0, slash)},
      {"CIRRUS_REPO_NAME", build.repository.substr(slash + 1)},
      {"CIRRUS_REPO_FULL_NAME", build.repository},
  };
  if (!build.commit.empty()) environment["CIRRUS_CHANGE_IN_REPO"] = build.commit;
  if (!build.message.empty()) {
    environment["CIRRUS_CHANGE_MESSAGE"] = build.message;
    environment["CIRRUS_CHANGE_TITLE"] = split(build.message, '\n').front();
  }
  for (const auto& [key, value] : build.environment) environment[key] = value;
  return environment;
}

/// Who submits, and the last success on the branch. What a trusted token says itself counts: it may
/// speak for a forge.
void add_known(core::NewBuild& build, const std::optional<store::GreenBuild>& green) {
  std::map<std::string, std::string>& environment = build.environment;
  if (!build.actor.trusted) {
    environment.erase("CIRRUS_USER_COLLABORATOR");
    environment.erase("CIRRUS_USER_PERMISSION");
  }
  environment.emplace("CIRRUS_USER_COLLABORATOR", build.actor.trusted ? "true" : "false");
  environment.emplace("CIRRUS_USER_PERMISSION", build.actor.permission);
  if (!green || build.commit.empty()) return;
  environment.emplace("CIRRUS_LAST_GREEN_BUILD_ID", green->id.to_string());
  environment.emplace("CIRRUS_LAST_GREEN_CHANGE", green->commit);
}

/// Source: configuration §10.3.
Result<std::vector<std::string>> affected_files(const core::NewBuild& build,
                                                const model::RepositoryName& repository,
                                                const GitHost& git, const StopToken& stop) {
  const auto value_of = [&build](const char* name) {
    const auto found = build.environment.find(name);
    return found == build.environment.end() ? std::string() : found->second;
  };
  const bool pull_request = !value_of("CIRRUS_PR").empty();
  std::string base = value_of(pull_request ? "CIRRUS_BASE_SHA" : "CIRRUS_LAST_GREEN_CHANGE");
  if (!model::check_commit(base).ok()) base.clear();  // no word for git
  return git.changed_files(repository, build.commit, base, pull_request, stop);
}

/// Takes out what the build may not see. Warnings name file and line, so that old files, whose
/// values only the hosted service could open, run on and say what they lack.
void remove_secrets(SubmitRequest& request, const secrets::SecretBox& box, bool trusted,
                    const std::string& path) {
  std::set<std::string> told;
  const auto warn = [&](const secrets::Unopened& unset) {
    if (!told.insert(unset.name).second) return;
    core::api::Issue issue;
    issue.set_level(core::api::Issue::WARNING);
    issue.set_message(
        fmt::format("variable '{}' stays unset: {}; encrypt its value with 'cirrus "
                    "secret encrypt --repo {}'",
                    unset.name, unset.reason, request.build.repository));
    const int line = secrets::line_of_encrypted(request.config, unset.name);
    issue.set_path(path);
    if (line > 0) {
      issue.set_line(static_cast<std::uint64_t>(line));
      issue.set_column(1);
    }
    request.build.issues.push_back(std::move(issue));
  };
  const std::string& repository = request.build.repository;
  for (core::api::Task& task : request.build.tasks) {
    for (const auto& unset :
         secrets::remove_unopened(*task.mutable_environment(), box, repository, trusted)) {
      warn(unset);
    }
  }
  for (const auto& unset :
       secrets::remove_unopened(request.build.environment, box, repository, trusted)) {
    warn(unset);
  }
}

/// Without a commit there is nothing to clone.
void drop_clone(core::api::Task& task) {
  auto* const commands = task.mutable_commands();
  for (int i = 0; i < commands->size(); ++i) {
    if (!commands->Get(i).has_clone_instruction()) continue;
    commands->DeleteSubrange(i, 1);
    --i;
  }
}
}  // namespace

void Submission::submit(std::string body, core::Actor actor,
                        std::shared_ptr<net::Responder> responder) {
  const bool queued = pool_.run(
      [this, body = std::move(body), actor = std::move(actor), responder](const StopToken& stop) {
        Result<SubmitRequest> read = read_request(body);
        if (!read.ok()) return responder->respond(problem(read.error()));
        SubmitRequest request = std::move(read).value();
        // Before anything of the repository is looked at.
        const Status allowed = actor.check_may_act_on(request.build.repository);
        if (!allowed.ok()) return responder->respond(problem(allowed.error()));
        std::unique_ptr<lang::SourceTree> files = std::make_unique<lang::MemorySourceTree>();
        std::string path = ".cirrus.yml";
        request.build.actor = actor;
        const Result<std::optional<store::GreenBuild>> green =
            core_.store().last_green(request.build.repository, request.build.branch);
        if (!green.ok()) return responder->respond(problem(green.error()));
        add_known(request.build, green.value());
        lang::EvaluateOptions options = lang::controller_options();
        options.environment = build_environment(request.build);
        if (!request.build.commit.empty()) {
          const Result<model::RepositoryName> repository =
              model::RepositoryName::create(request.build.repository);
          if (!repository.ok()) return responder->respond(problem(repository.error()));
          if (!request.has_config) {
            Result<GitHost::Configuration> found =
                git_.read_configuration(repository.value(), request.build.commit, stop);
            if (!found.ok()) {
              // The request is understood; it names something that is not there.
              const int status =
                  found.error().code() == Code::NotFound ? 422 : status_of(found.error().code());
              return responder->respond(problem(status, found.error().to_string()));
            }
            path = found.value().path;
            request.config = std::move(found).value().text;
          }
          files = git_.tree(repository.value(), request.build.commit, stop);
          Result<std::vector<std::string>> affected =
              affected_files(request.build, repository.value(), git_, stop);
          if (!affected.ok()) return responder->respond(problem(affected.error()));
          options.affected_files = std::move(affected).value();
        }
        lang::Outcome outcome = lang::evaluate(request.config, *files, options);
        if (outcome.error) {
          if (outcome.error->path.empty() || outcome.error->path == ".cirrus.yml") {
            outcome.error->path = path;
          }
          const std::string rendered = lang::render(*outcome.error);
          return responder->respond(problem(422, outcome.error->message, rendered));
        }
        request.build.tasks = std::move(outcome.evaluation.tasks);
        request.build.issues = std::move(outcome.evaluation.issues);
        remove_secrets(request, secrets_, actor.trusted, path);
        if (request.build.commit.empty()) {
          for (core::api::Task& task : request.build.tasks) drop_clone(task);
        }
        auto build = std::make_shared<core::NewBuild>(std::move(request.build));
        const bool posted = core_.post([build, responder](core::State& state, core::Moment moment) {
          state.submit(
              std::move(*build),
              [&state, responder](const Result<model::BuildId>& id) {
                if (!id.ok()) return responder->respond(problem(id.error()));
                const Result<core::BuildView> view = state.view_build(id.value());
                if (!view.ok()) return responder->respond(problem(view.error()));
                responder->respond(json_response(201, build_json(view.value())));
              },
              moment);
        });
        if (!posted) responder->respond(problem(503, "the controller is shutting down"));
      });
  if (!queued) responder->respond(problem(503, "too many builds are being submitted: try again"));
}

}  // namespace cirrus::controller::http
