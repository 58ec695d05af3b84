// SPDX-License-Identifier: MIT
// The clone instruction, done by the `git` on PATH.
//
// 1. init in the working directory, which need not be empty
// 2. origin = the address without credentials, which travel in git's environment only
// 3. fetch exactly the commit; servers that refuse get the ref, deepened until the commit is there
// 4. forced checkout, the branch by name
// 5. large files and submodules where there are any
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "agent/git_tunnel.h"
#include "agent/step_stop.h"
#include "agent/task_run.h"
#include "base/strings.h"
#include "model/clone_plan.h"
#include "os/files.h"
#include "os/host.h"

namespace cirrus::agent {
namespace {

using model::CloneRequest;
using model::CloneUrl;

// Ours: a forge that is being restarted answers again within this.
constexpr std::chrono::seconds kPauses[] = {std::chrono::seconds(1), std::chrono::seconds(4)};

}  // namespace

/// One clone: the step it belongs to, and git's environment.
class TaskRun::Clone {
 public:
  Clone(TaskRun& run, Step& step, CloneRequest request)
      : run_(run), step_(step), request_(std::move(request)) {
    environment_ = run_.step_environment(step);
    environment_["GIT_TERMINAL_PROMPT"] = "0";
    model::add_git_settings(environment_, credential_settings(request_.url));
    // Nothing to tidy up in what a task fetches once; git would start a process to find that out.
    model::add_git_settings(environment_, {{"maintenance.auto", "false"}, {"gc.auto", "0"}});
  }

  StepOutcome all() {
    if (!prepare() || !fetch()) return outcome_;
    if (!git(checkout_arguments(request_))) return outcome_;
    if (!large_files()) return outcome_;
    if (request_.submodules &&
        !git({"submodule", "update", "--init", "--recursive", "--force", "--progress"})) {
      return outcome_;
    }
    const std::string what = request_.change.empty() ? request_.ref : request_.change;
    step_.log.write("Checked out " + what +
                    (request_.branch.empty() ? "" : " on branch " + request_.branch) + ".\n");
    return {.succeeded = true};
  }

 private:
  bool git(std::vector<std::string> arguments) { return git(std::move(arguments), environment_); }
  bool git(std::vector<std::string> arguments, os::Environment environment) {
    arguments.insert(arguments.begin(), "git");
    outcome_ = run_.run_process(step_, std::move(arguments), std::move(environment));
    return outcome_.succeeded;
  }

  bool prepare() {
    step_.log.write("Cloning " + request_.url.clean + " into " + run_.working_directory_.string() +
                    ".\n");
    const Settings settings = lasting_settings();
    std::error_code ignored;
    if (std::filesystem::symlink_status(run_.working_directory_ / ".git", ignored).type() !=
        std::filesystem::file_type::not_found) {
      // A repository that was there keeps what else it is set to.
      if (!git({"init", "--quiet", "."})) return false;
      return std::all_of(settings.begin(), settings.end(), [this](const auto& setting) {
        return git({"config", "--local", "--replace-all", setting.first, setting.second});
      });
    }
    // A new one is made with its settings: each `git config` would be a process of its own.
    const std::filesystem::path like = run_.scratch_->path() / "git-template";
    const Status written = make_template(like, settings);
    if (!written.ok()) {
      step_.log.write(written.error().to_string() + "\n");
      return false;
    }
    return git(
        {"-c", "init.defaultBranch=main", "init", "--quiet", "--template=" + like.string(), "."});
  }

  using Settings = std::vector<std::pair<std::string, std::string>>;
  /// What `.git/config` holds for the scripts that come later; never the credential itself.
  Settings lasting_settings() const {
    Settings settings{{"remote.origin.url", request_.url.clean},
                      {"remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"}};
    if (!request_.branch.empty()) {
      settings.emplace_back("branch." + request_.branch + ".remote", "origin");
      settings.emplace_back("branch." + request_.branch + ".merge", request_.ref);
    }
    const std::string helper =
        credential_helper(request_.url, run_.environment_->has("CIRRUS_REPO_CLONE_TOKEN"));
    if (!helper.empty()) {
      settings.emplace_back("credential." + request_.url.origin + ".helper", helper);
    }
    return settings;
  }

  /// The folders are those that scripts expect in every repository.
  static Status make_template(const std::filesystem::path& directory, const Settings& settings) {
    CIRRUS_TRY(os::make_directories(directory / "hooks"));
    CIRRUS_TRY(os::make_directories(directory / "info"));
    CIRRUS_TRY(os::write_file(directory / "info/exclude", "", 0644));
    return os::write_file(directory / "config", model::git_config_text(settings), 0644);
  }

  bool fetch() {
    if (fetch_from_mirror()) return true;
    if (outcome_.cut_short) return false;
    for (std::size_t round = 0;; ++round) {
      if (try_fetch()) return true;
      if (round == std::size(kPauses) || outcome_.cut_short) return false;
      step_.log.write("Trying again in " + std::to_string(kPauses[round].count()) + " s.\n");
      if (!run_.parts_.control.pause(kPauses[round], step_.limits.deadline)) return false;
    }
  }

  /// Through the gateway: what the worker has is not fetched again, and no network is needed here.
  bool fetch_from_mirror() {
    if (run_.parts_.tunnels == nullptr || !run_.parts_.bootstrap.git_mirror()) return false;
    Status fetched;
    {
      const StepStop stop(run_.parts_.control, step_.limits);
      run_.started();
      fetched = fetch_into_mirror(*run_.parts_.tunnels, request_, stop.token(),
                                  [this](std::string_view words) { step_.log.write(words); });
      if (stop.stopped()) {
        outcome_ = run_.cut_short(step_);
        return false;
      }
    }
    std::optional<uid_t> only_uid;
    if (run_.parts_.bootstrap.shares_machine()) only_uid = ::geteuid();
    if (fetched.ok()) {
      const Result<std::unique_ptr<GitTunnel>> tunnel =
          GitTunnel::open(*run_.parts_.tunnels, request_, only_uid);
      fetched = tunnel.ok() ? Status() : Status(tunnel.error());
      if (tunnel.ok()) {
        os::Environment environment = environment_;
        model::add_git_settings(environment, {{"core.gitProxy", "none"}});
        const std::string& url = tunnel.value()->url();
        if (git(request_.change.empty() ? fetch_ref_arguments(request_, url)
                                        : fetch_commit_arguments(request_, url),
                environment)) {
          return true;
        }
        fetched = error(Code::Aborted, "git did not get it from there");
      }
    }
    if (!outcome_.cut_short) {
      step_.log.write("The worker's mirror is of no help here: " + fetched.error().to_string() +
                      ". Fetching from " + request_.url.clean + ".\n");
    }
    return false;
  }

  bool try_fetch() {
    if (request_.change.empty()) return git(fetch_ref_arguments(request_));
    if (git(fetch_commit_arguments(request_))) return true;
    if (outcome_.cut_short) return false;
    step_.log.write("The server does not give out that commit by its hash; fetching " +
                    request_.ref + ".\n");
    if (!git(fetch_ref_arguments(request_))) return false;
    if (has_commit()) return true;
    // The branch has moved on and the commit lies deeper than asked for.
    return request_.depth > 0 && !outcome_.cut_short &&
           git({"fetch", "--progress", "--unshallow", "--no-tags", "origin",
                "+" + request_.ref + ":" + request_.tracking}) &&
           has_commit();
  }

  bool has_commit() { return git({"cat-file", "-e", request_.change + "^{commit}"}); }

  /// Attributes may stand in any directory.
  bool large_files() {
    if (!git({"grep", "--quiet", "--cached", "-e", "filter=lfs", "--",
              ":(glob)**/.gitattributes"})) {
      return !outcome_.cut_short;
    }
    if (os::find_program("git-lfs", run_.environment_->process_value("PATH").value_or(""))
            .empty()) {
      step_.log.write("git-lfs is not installed; large files stay pointers.\n");
      return true;
    }
    return git({"lfs", "install", "--local"}) && git({"lfs", "pull"});
  }

  TaskRun& run_;
  Step& step_;
  const CloneRequest request_;
  os::Environment environment_;
  StepOutcome outcome_;
};

// Ours: the worker's git does it. Source of the need: the reference agent brings a git library, so
// images without git are common.
StepOutcome TaskRun::clone_without_git(Step& step, const model::CloneRequest& request) {
  if (parts_.tunnels == nullptr || !parts_.bootstrap.git_mirror()) {
    step.log.write(
        "git is neither installed here nor on the worker. Install it, or use clone_script to bring "
        "the sources.\n");
    return {};
  }
  step.log.write("There is no git here; the worker clones " + request.url.clean + " into " +
                 working_directory_.string() + ".\n");
  started();
  const StepStop stop(parts_.control, step.limits);
  Status done = fetch_into_mirror(*parts_.tunnels, request, stop.token(),
                                  [&step](std::string_view words) { step.log.write(words); });
  if (done.ok()) {
    done = unpack_clone(*parts_.tunnels, request, working_directory_, stop.token());
  }
  if (stop.stopped()) return cut_short(step);
  if (!done.ok()) {
    step.log.write("Cannot clone: " + done.error().to_string() + ".\n");
    return {};
  }
  const Result<std::string> attributes = os::read_file(working_directory_ / ".gitattributes");
  if (attributes.ok() && attributes.value().find("filter=lfs") != std::string::npos) {
    step.log.write("Large files stay pointers: install git and git-lfs to have them.\n");
  }
  step.log.write("Checked out " + (request.change.empty() ? request.ref : request.change) +
                 (request.branch.empty() ? "" : " on branch " + request.branch) + ".\n");
  return {.succeeded = true};
}

StepOutcome TaskRun::clone(Step& step) {
  Result<CloneRequest> request =
      model::read_clone_request([this](std::string_view name) { return environment_->get(name); });
  if (!request.ok()) {
    step.log.write("Cannot clone: " + request.error().to_string() + ".\n");
    return {};
  }
  const CloneUrl& url = request.value().url;
  if (secrets_.add(url.password.reveal())) {
    // What git sends is the pair in base64.
    secrets_.add(url.user + ":" + url.password.reveal());
    use_new_secrets();
  }
  if (os::find_program("git", environment_->process_value("PATH").value_or("")).empty()) {
    return clone_without_git(step, request.value());
  }
  return Clone(*this, step, std::move(request).value()).all();
}

}  // namespace cirrus::agent
