// SPDX-License-Identifier: MIT
#include "cli/working_tree.h"

#include <algorithm>

#include "base/clock.h"
#include "base/strings.h"
#include "os/files.h"

namespace cirrus::cli {

namespace {

constexpr auto kGitTime = std::chrono::minutes(30);

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

// Where a repository keeps things; all in one call, because each costs milliseconds.
struct Places {
  std::filesystem::path top;
  std::filesystem::path git_directory;
  std::filesystem::path objects;
  std::filesystem::path index;
};

std::optional<Places> find_places(const Git& git) {
  const Result<std::string> told = git.run({"rev-parse", "--show-toplevel", "--absolute-git-dir",
                                            "--git-path", "objects", "--git-path", "index"});
  if (!told.ok()) return std::nullopt;
  const std::vector<std::string> lines = split(told.value(), '\n');
  if (lines.size() != 4) return std::nullopt;
  // Relative ones are seen from where git ran; an absolute one replaces that.
  return Places{lines[0], lines[1], git.directory / lines[2], git.directory / lines[3]};
}

}  // namespace

Result<std::string> Git::run(std::vector<std::string> arguments) const {
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

Result<WorkingTree> commit_directory(const std::filesystem::path& directory, std::string repository,
                                     const std::filesystem::path& scratch, const StopToken& stop) {
  std::error_code failure;
  const std::filesystem::path root = std::filesystem::canonical(directory, failure);
  if (failure || !std::filesystem::is_directory(root)) {
    return error(Code::NotFound, "'{}' is no directory", directory.string());
  }
  WorkingTree tree;
  Git& git = tree.git;
  git = Git{root, os::current_environment(), stop};
  for (const char* name : {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
                           "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX"}) {
    git.environment.erase(name);
  }
  git.environment["GIT_TERMINAL_PROMPT"] = "0";
  git.environment["GIT_OPTIONAL_LOCKS"] = "0";

  tree.branch = "main";
  const std::optional<Places> places = find_places(git);
  const bool is_top = places && std::filesystem::equivalent(places->top, root, failure);
  std::string head;
  if (is_top) {
    head = git.run({"rev-parse", "--verify", "-q", "HEAD^{commit}"}).value_or("");
    const std::string branch = git.run({"symbolic-ref", "--short", "-q", "HEAD"}).value_or("");
    if (!branch.empty()) tree.branch = branch;
    if (repository.empty()) {
      repository = repository_of_origin(git.run({"config", "remote.origin.url"}).value_or(""));
    }
    // A copy of the index: knows what is tracked (also below an ignored name) and what is fresh.
    std::filesystem::copy_file(places->index, scratch / "index", failure);
    tree.known_objects = places->objects.lexically_normal();
    git.environment["GIT_DIR"] = places->git_directory.string();
    git.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = tree.known_objects.string();
  } else {
    git.environment["GIT_DIR"] = (scratch / "git").string();
    CIRRUS_TRY(git.run({"init", "-q", "--template=", "-b", "main"}));
  }
  CIRRUS_TRY(os::make_directories(scratch / "objects"));
  git.environment["GIT_OBJECT_DIRECTORY"] = (scratch / "objects").string();
  git.environment["GIT_WORK_TREE"] = root.string();
  git.environment["GIT_INDEX_FILE"] = (scratch / "index").string();
  for (const char* who : {"AUTHOR", "COMMITTER"}) {
    const std::string prefix = std::string("GIT_") + who;
    git.environment.try_emplace(prefix + "_NAME", "cirrus");
    git.environment.try_emplace(prefix + "_EMAIL", "cirrus@localhost");
  }
  CIRRUS_TRY(git.run({"-c", "core.safecrlf=false", "add", "-A", "."}));
  const std::string written = CIRRUS_TRY(git.run({"write-tree"}));
  if (!head.empty()) {
    // The tree on the first line, the message after it.
    const std::string told = git.run({"log", "-1", "--format=%T%n%B", head}).value_or("");
    const std::size_t line = std::min(told.find('\n'), told.size());
    tree.message = std::string(trim(std::string_view(told).substr(line)));
    if (told.substr(0, line) == written) tree.commit = head;
  }
  if (tree.commit.empty()) {
    if (tree.message.empty()) tree.message = "Working tree of " + root.filename().string();
    std::vector<std::string> commit{
        "-c", "commit.gpgSign=false", "commit-tree", written, "-m", tree.message};
    if (!head.empty()) commit.insert(commit.end(), {"-p", head});
    tree.commit = CIRRUS_TRY(git.run(std::move(commit)));
  }
  tree.repository =
      repository.empty() ? "local/" + safe_part(root.filename().string()) : std::move(repository);
  return tree;
}

}  // namespace cirrus::cli
