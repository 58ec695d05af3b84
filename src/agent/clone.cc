// SPDX-License-Identifier: MIT
// The clone instruction, done by the `git` on PATH.
//
// 1. init in the working directory, which need not be empty
// 2. origin = the address without credentials, which travel in git's environment only
// 3. fetch exactly the commit; servers that refuse get the ref, deepened until the commit is there
// 4. forced checkout, the branch by name
// 5. large files and submodules where there are any
#include <unistd.h>

#include <utility>

#include "agent/task_run.h"
#include "base/strings.h"
#include "model/clone_plan.h"
#include "os/files.h"

namespace cirrus::agent {
namespace {

using model::CloneRequest;
using model::CloneUrl;

// Ours: a forge that is being restarted answers again within this.
constexpr std::chrono::seconds kPauses[] = {std::chrono::seconds(1), std::chrono::seconds(4)};

bool is_on_path(std::string_view program, std::string_view path_variable) {
  for (const std::string& directory : split(path_variable, ':')) {
    if (directory.empty()) continue;
    if (::access((directory + "/" + std::string(program)).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace

/// One clone: the step it belongs to, and git's environment.
class TaskRun::Clone {
 public:
  Clone(TaskRun& run, Step& step, CloneRequest request)
      : run_(run), step_(step), request_(std::move(request)) {
    environment_ = run_.step_environment(step);
    environment_["GIT_TERMINAL_PROMPT"] = "0";
    model::add_git_settings(environment_, credential_settings(request_.url));
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
  bool git(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "git");
    outcome_ = run_.run_process(step_, std::move(arguments), environment_);
    return outcome_.succeeded;
  }
  bool set(const std::string& key, const std::string& value) {
    return git({"config", "--local", "--replace-all", key, value});
  }

  bool prepare() {
    step_.log.write("Cloning " + request_.url.clean + " into " + run_.working_directory_.string() +
                    ".\n");
    if (!git({"-c", "init.defaultBranch=main", "init", "--quiet", "."})) return false;
    if (!set("remote.origin.url", request_.url.clean)) return false;
    if (!set("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")) return false;
    if (!request_.branch.empty() && (!set("branch." + request_.branch + ".remote", "origin") ||
                                     !set("branch." + request_.branch + ".merge", request_.ref))) {
      return false;
    }
    const std::string helper =
        credential_helper(request_.url, run_.environment_->has("CIRRUS_REPO_CLONE_TOKEN"));
    return helper.empty() || set("credential." + request_.url.origin + ".helper", helper);
  }

  bool fetch() {
    for (std::size_t round = 0;; ++round) {
      if (try_fetch()) return true;
      if (round == std::size(kPauses) || outcome_.cut_short) return false;
      step_.log.write("Trying again in " + std::to_string(kPauses[round].count()) + " s.\n");
      if (!run_.parts_.control.pause(kPauses[round], step_.limits.deadline)) return false;
    }
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

  bool large_files() {
    const Result<std::string> attributes =
        os::read_file(run_.working_directory_ / ".gitattributes");
    if (!attributes.ok() || attributes.value().find("filter=lfs") == std::string::npos) return true;
    if (!is_on_path("git-lfs", run_.environment_->process_value("PATH").value_or(""))) {
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
  if (!is_on_path("git", environment_->process_value("PATH").value_or(""))) {
    step.log.write(
        "git is not installed here. Install it, or use clone_script to bring the sources.\n");
    return {};
  }
  return Clone(*this, step, std::move(request).value()).all();
}

}  // namespace cirrus::agent
