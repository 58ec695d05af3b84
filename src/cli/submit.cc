// SPDX-License-Identifier: MIT
#include "cli/submit.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/strings.h"
#include "os/files.h"
#include "os/process.h"
#include "os/temp_dir.h"

namespace cirrus::cli {

namespace {

constexpr auto kGitTime = std::chrono::minutes(30);

struct Git {
  std::filesystem::path directory;
  os::Environment environment;
  StopToken stop;

  Result<std::string> run(std::vector<std::string> arguments) const {
    os::SpawnOptions options;
    options.argv = {"git"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.environment = environment;
    options.working_directory = directory;
    const os::CommandOutput output = CIRRUS_TRY(
        os::run_command(options, {}, stop, system_clock().now() + kGitTime).note("running git"));
    if (output.status.success()) return std::string(trim(output.output));
    return error(Code::FailedPrecondition, "git {} failed: {}", arguments.front(),
                 shorten(trim(output.errors), 2000));
  }
};

std::string base64(const std::string& text) {
  std::string encoded(4 * ((text.size() + 2) / 3), '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                  reinterpret_cast<const unsigned char*>(text.data()),
                  static_cast<int>(text.size()));
  return encoded;
}

// `git@host:owner/name.git`, `https://host/owner/name`: the last two parts.
std::string repository_of_origin(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  if (url.ends_with(".git")) url.resize(url.size() - 4);
  std::replace(url.begin(), url.end(), ':', '/');
  const std::vector<std::string> parts = split(url, '/');
  if (parts.size() < 3 || parts.back().empty() || parts[parts.size() - 2].empty()) return {};
  return parts[parts.size() - 2] + "/" + parts.back();
}

std::string safe_part(const std::string& text) {
  std::string name;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.';
    name.push_back(plain ? c : '-');
  }
  while (name.starts_with('.') || name.starts_with('-')) name.erase(0, 1);
  return name.empty() ? "directory" : name;
}

}  // namespace

Result<Submission> push_directory(const std::filesystem::path& directory, std::string repository,
                                  const ApiClient& api, const StopToken& stop) {
  std::error_code failure;
  const std::filesystem::path root = std::filesystem::canonical(directory, failure);
  if (failure || !std::filesystem::is_directory(root)) {
    return error(Code::NotFound, "'{}' is no directory", directory.string());
  }
  const os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("cirrus-submit"));
  Git git{root, os::current_environment(), stop};
  for (const char* name : {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
                           "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX"}) {
    git.environment.erase(name);
  }
  git.environment["GIT_TERMINAL_PROMPT"] = "0";
  git.environment["GIT_OPTIONAL_LOCKS"] = "0";

  Submission submission;
  submission.branch = "main";
  const Result<std::string> top = git.run({"rev-parse", "--show-toplevel"});
  const bool is_top =
      top.ok() && std::filesystem::equivalent(std::filesystem::path(top.value()), root, failure);
  std::string head;
  if (is_top) {
    head = git.run({"rev-parse", "--verify", "-q", "HEAD^{commit}"}).value_or("");
    const std::string branch = git.run({"symbolic-ref", "--short", "-q", "HEAD"}).value_or("");
    if (!branch.empty()) submission.branch = branch;
    if (repository.empty()) {
      repository = repository_of_origin(git.run({"config", "remote.origin.url"}).value_or(""));
    }
    const std::string git_directory = CIRRUS_TRY(git.run({"rev-parse", "--absolute-git-dir"}));
    const std::filesystem::path objects =
        CIRRUS_TRY(git.run({"rev-parse", "--git-path", "objects"}));
    const std::filesystem::path index = CIRRUS_TRY(git.run({"rev-parse", "--git-path", "index"}));
    // A copy of the index: knows what is tracked (also below an ignored name) and what is fresh.
    std::filesystem::copy_file(root / index, scratch.path() / "index", failure);
    CIRRUS_TRY(os::make_directories(scratch.path() / "objects"));
    git.environment["GIT_DIR"] = git_directory;
    git.environment["GIT_OBJECT_DIRECTORY"] = (scratch.path() / "objects").string();
    git.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = (root / objects).string();
  } else {
    git.environment["GIT_DIR"] = (scratch.path() / "git").string();
    CIRRUS_TRY(git.run({"init", "-q", "--template=", "-b", "main"}));
  }
  git.environment["GIT_WORK_TREE"] = root.string();
  git.environment["GIT_INDEX_FILE"] = (scratch.path() / "index").string();
  for (const char* who : {"AUTHOR", "COMMITTER"}) {
    const std::string prefix = std::string("GIT_") + who;
    git.environment.try_emplace(prefix + "_NAME", "cirrus");
    git.environment.try_emplace(prefix + "_EMAIL", "cirrus@localhost");
  }
  CIRRUS_TRY(git.run({"-c", "core.safecrlf=false", "add", "-A", "."}));
  const std::string tree = CIRRUS_TRY(git.run({"write-tree"}));
  if (!head.empty()) {
    submission.message = git.run({"log", "-1", "--format=%B", head}).value_or("");
    if (git.run({"rev-parse", head + "^{tree}"}).value_or("") == tree) submission.commit = head;
  }
  if (submission.commit.empty()) {
    if (submission.message.empty())
      submission.message = "Working tree of " + root.filename().string();
    std::vector<std::string> commit{"-c", "commit.gpgSign=false", "commit-tree", tree,
                                    "-m", submission.message};
    if (!head.empty()) commit.insert(commit.end(), {"-p", head});
    submission.commit = CIRRUS_TRY(git.run(std::move(commit)));
  }
  submission.repository =
      repository.empty() ? "local/" + safe_part(root.filename().string()) : std::move(repository);
  // Asked first, because a push that is refused comes back as git's words, without the reason.
  CIRRUS_TRY(api.get("/api/v1/whoami?repository=" + submission.repository));
  // The credential travels in the environment, which only this user can read.
  git.environment["GIT_CONFIG_COUNT"] = "2";
  git.environment["GIT_CONFIG_KEY_0"] = "http.extraHeader";
  git.environment["GIT_CONFIG_VALUE_0"] =
      "Authorization: Basic " + base64("cirrus:" + api.token().reveal());
  git.environment["GIT_CONFIG_KEY_1"] = "push.gpgSign";
  git.environment["GIT_CONFIG_VALUE_1"] = "false";
  CIRRUS_TRY(
      git.run({"push", "-q", "--no-verify", api.url() + "/git/" + submission.repository + ".git",
               submission.commit + ":refs/cirrus/submit/" + submission.commit})
          .note("pushing '{}' to the controller", root.string()));
  return submission;
}

}  // namespace cirrus::cli
