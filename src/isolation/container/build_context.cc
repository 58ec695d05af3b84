// SPDX-License-Identifier: MIT
#include "isolation/container/build_context.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "isolation/container/tar_entry.h"
#include "model/clone_plan.h"
#include "os/files.h"
#include "os/process.h"

namespace cirrus::isolation {

namespace {

constexpr auto kFetchTime = std::chrono::minutes(10);

/// Relative to the repository's root, without `.` and empty parts; nothing may climb out.
Result<std::string> inside_repository(std::string_view what, const std::string& path) {
  std::vector<std::string> parts;
  for (const std::string& part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    const bool odd = std::any_of(part.begin(), part.end(), [](char c) {
      return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    if (part == ".." || odd) {
      return error(Code::InvalidArgument, "{} '{}' is no path in the repository", what,
                   shorten(path, 100));
    }
    parts.push_back(part);
  }
  return join(parts, "/");
}

class Fetch {
 public:
  Fetch(const std::map<std::string, std::string>& variables, std::filesystem::path directory,
        const StopToken& stop)
      : variables_(variables), directory_(std::move(directory)), stop_(stop) {}

  Result<BuildContext> run(const std::string& dockerfile_path) {
    request_ = CIRRUS_TRY(model::read_clone_request([this](std::string_view name) {
      const auto found = variables_.find(std::string(name));
      return found == variables_.end() ? std::optional<std::string>() : found->second;
    }));
    const std::string dockerfile = CIRRUS_TRY(inside_repository("the Dockerfile", dockerfile_path));
    const std::string context =
        CIRRUS_TRY(inside_repository("CIRRUS_DOCKER_CONTEXT", variable("CIRRUS_DOCKER_CONTEXT")));
    CIRRUS_TRY(prepare());
    const std::string commit = CIRRUS_TRY(fetch());

    BuildContext result;
    const std::string prefix = context.empty() ? "" : context + "/";
    if (dockerfile.starts_with(prefix)) {
      result.dockerfile = dockerfile.substr(prefix.size());
    } else {
      result.dockerfile = ".cirrus-dockerfile";
      result.tar = tar_file(
          result.dockerfile,
          CIRRUS_TRY(git({"cat-file", "blob", commit + ":" + dockerfile}, kMostDockerfileBytes)
                         .note("reading Dockerfile '{}'", dockerfile)));
    }
    result.tar +=
        CIRRUS_TRY(git({"archive", "--format=tar", commit + ":" + context}, kMostContextBytes)
                       .note("packing the build context '{}'", context.empty() ? "." : context));
    return result;
  }

 private:
  std::string variable(const std::string& name) const {
    const auto found = variables_.find(name);
    return found == variables_.end() ? std::string() : found->second;
  }

  Status prepare() {
    CIRRUS_TRY(os::make_directories(directory_, 0700));
    environment_ = model::clean_git_environment(os::current_environment());
    environment_["HOME"] = directory_.string();
    environment_["GIT_DIR"] = (directory_ / "git").string();
    std::vector<std::pair<std::string, std::string>> settings =
        model::credential_settings(request_.url);
    settings.emplace_back("remote.origin.url", request_.url.clean);
    model::add_git_settings(environment_, settings);
    CIRRUS_TRY(git({"init", "--quiet", "--bare"}));
    return {};
  }

  Result<std::string> fetch() {
    model::CloneRequest shallow = request_;
    shallow.depth = 1;
    shallow.all_tags = false;
    if (!request_.change.empty() && git(model::fetch_commit_arguments(shallow)).ok()) {
      return request_.change;
    }
    if (stop_.stop_requested()) return error(Code::Cancelled, "stopped");
    // The server gives out branches and tags only, or there is only a ref to begin with.
    CIRRUS_TRY(git(model::fetch_ref_arguments(request_)).note("fetching {}", request_.ref));
    return request_.change.empty() ? request_.tracking : request_.change;
  }

  Result<std::string> git(std::vector<std::string> arguments,
                          std::size_t limit = std::size_t{1} << 20U) {
    os::SpawnOptions options;
    options.argv = std::move(arguments);
    options.argv.insert(options.argv.begin(), "git");
    options.environment = environment_;
    options.working_directory = directory_;
    // One byte more than allowed shows that there is more.
    Result<os::CommandOutput> ended =
        os::run_command(options, "", stop_, system_clock().now() + kFetchTime, limit + 1);
    if (!ended.ok() && ended.error().code() == Code::NotFound) {
      return error(Code::NotFound,
                   "git is not installed on this worker, and images from "
                   "Dockerfiles need it");
    }
    const os::CommandOutput output = CIRRUS_TRY(std::move(ended));
    if (!output.status.success()) {
      return error(Code::FailedPrecondition, "git {}: {}", options.argv[1],
                   shorten(std::string(trim(output.errors)), 1'000));
    }
    if (output.output.size() > limit) {
      return error(Code::ResourceExhausted,
                   "it is over {} MiB: name a smaller directory with CIRRUS_DOCKER_CONTEXT, or "
                   "exclude files with export-ignore in .gitattributes",
                   limit >> 20U);
    }
    return output.output;
  }

  const std::map<std::string, std::string>& variables_;
  const std::filesystem::path directory_;
  const StopToken& stop_;
  model::CloneRequest request_;
  os::Environment environment_;
};

}  // namespace

Result<BuildContext> fetch_build_context(const std::map<std::string, std::string>& variables,
                                         const std::string& dockerfile,
                                         const std::filesystem::path& directory,
                                         const StopToken& stop) {
  return Fetch(variables, directory, stop).run(dockerfile);
}

}  // namespace cirrus::isolation
