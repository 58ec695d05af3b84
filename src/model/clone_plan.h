// SPDX-License-Identifier: MIT
// What a clone instruction has to fetch and check out; no process is started here.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace cirrus::model {

/// A repository's address without what must not be written down.
struct CloneUrl {
  std::string clean;   ///< without userinfo: goes to .git/config and to command lines
  std::string origin;  ///< scheme and host of `clean`; empty if it is no http(s) address
  std::string user;
  Secret password;  ///< empty: none needed
};

/// What the task's variables ask for. Source: reference agent, clone instruction.
struct CloneRequest {
  CloneUrl url;
  std::string ref;       ///< on the server: refs/heads/x, refs/tags/x, refs/pull/1/head
  std::string tracking;  ///< where it goes here: refs/remotes/origin/x, refs/tags/x
  std::string branch;    ///< to check out by name; empty: detached
  std::string change;    ///< the commit to build; empty: whatever `ref` is
  unsigned depth = 0;    ///< 0: the whole history
  bool all_tags = false;
  bool submodules = false;
};

using VariableLookup = std::function<std::optional<std::string>(std::string_view name)>;

/// Reads the request. Variables that are present count even if they are empty: whoever has no
/// pull request leaves CIRRUS_PR out. Errors: InvalidArgument, naming the variable.
Result<CloneRequest> read_clone_request(const VariableLookup& variable);

/// Whether names and commit of a request are such as git accepts and reads as nothing else.
/// Errors: InvalidArgument.
Status check_clone_request(const CloneRequest& request);

/// Takes user and password (percent-decoded) out of an address.
CloneUrl split_clone_url(std::string_view url);

/// Arguments of `git` that fetch exactly the commit to build, and those that fetch its ref, from a
/// remote or an address.
std::vector<std::string> fetch_commit_arguments(const CloneRequest& request,
                                                const std::string& from = "origin");
std::vector<std::string> fetch_ref_arguments(const CloneRequest& request,
                                             const std::string& from = "origin");
/// Arguments that put the working directory at `commit` whatever lies there.
std::vector<std::string> checkout_arguments(const CloneRequest& request);

/// Git settings for the clone itself, as GIT_CONFIG_KEY/VALUE pairs: the credential, where no
/// file and no command line shows it.
std::vector<std::pair<std::string, std::string>> credential_settings(const CloneUrl& url);

/// Settings as the text of a git configuration file; keys are `section.name` or
/// `section.subsection.name`. Source: git-config(1), syntax.
std::string git_config_text(const std::vector<std::pair<std::string, std::string>>& settings);

/// Adds settings to those an environment has already. Source: git-config(1), GIT_CONFIG_COUNT.
void add_git_settings(std::map<std::string, std::string, std::less<>>& environment,
                      const std::vector<std::pair<std::string, std::string>>& settings);

/// What a git of the worker's own is run with: `ours` less everything but PATH, proxies and
/// certificates; no system or user settings, no questions, only http and https.
std::map<std::string, std::string, std::less<>> clean_git_environment(
    const std::map<std::string, std::string, std::less<>>& ours);

/// A credential helper for .git/config that reads the task's environment, so that `git fetch`
/// works in later scripts although the token is written nowhere. Empty if there is no password.
std::string credential_helper(const CloneUrl& url, bool has_token_variable);

}  // namespace cirrus::model
