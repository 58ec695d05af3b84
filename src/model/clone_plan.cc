// SPDX-License-Identifier: MIT
#include "model/clone_plan.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <fmt/format.h>

#include "base/encoding.h"

namespace cirrus::model {
namespace {

std::string percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned byte = 0;
    if (text[at] == '%' && at + 2 < text.size() &&
        std::from_chars(text.data() + at + 1, text.data() + at + 3, byte, 16).ptr ==
            text.data() + at + 3) {
      result += static_cast<char>(byte);
      at += 2;
    } else {
      result += text[at];
    }
  }
  return result;
}

/// Names go into refspecs and command lines: nothing git would read as an option or a pattern.
Status check_ref_name(std::string_view variable, std::string_view name) {
  const bool bad = name.empty() || name.front() == '-' || name.front() == '/' ||
                   name.find("..") != std::string_view::npos ||
                   name.find_first_of(" ~^:?*[\\\x7f") != std::string_view::npos ||
                   std::any_of(name.begin(), name.end(),
                               [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (bad) return error(Code::InvalidArgument, "{} '{}' is no name git accepts", variable, name);
  return {};
}

Status check_commit(std::string_view commit) {
  const bool hex = std::all_of(commit.begin(), commit.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
  if (!hex || (commit.size() != 40 && commit.size() != 64)) {
    return error(Code::InvalidArgument, "CIRRUS_CHANGE_IN_REPO '{}' is no commit hash", commit);
  }
  return {};
}

void add_depth(const CloneRequest& request, std::vector<std::string>& arguments) {
  if (request.depth > 0) arguments.push_back(fmt::format("--depth={}", request.depth));
  arguments.emplace_back(request.all_tags ? "--tags" : "--no-tags");
}

Result<CloneUrl> read_url(const VariableLookup& variable) {
  const std::optional<std::string> token = variable("CIRRUS_REPO_CLONE_TOKEN");
  if (token && !token->empty()) {
    const std::string host = variable("CIRRUS_REPO_CLONE_HOST").value_or("");
    const std::string name = variable("CIRRUS_REPO_FULL_NAME").value_or("");
    if (!host.empty() && !name.empty()) {
      return CloneUrl{.clean = "https://" + host + "/" + name + ".git",
                      .origin = "https://" + host,
                      .user = "x-access-token",
                      .password = Secret(*token)};
    }
  }
  const std::string given = variable("CIRRUS_REPO_CLONE_URL").value_or("");
  if (given.empty()) {
    return error(Code::InvalidArgument,
                 "CIRRUS_REPO_CLONE_URL is not set, so there is nothing to clone");
  }
  if (given.front() == '-') {
    return error(Code::InvalidArgument, "CIRRUS_REPO_CLONE_URL '{}' is no address", given);
  }
  CloneUrl url = split_clone_url(given);
  if (token && !token->empty() && url.password.empty() && !url.origin.empty()) {
    url.user = "x-access-token";
    url.password = Secret(*token);
  }
  return url;
}

}  // namespace

Status check_clone_request(const CloneRequest& request) {
  if (!request.change.empty()) CIRRUS_TRY(check_commit(request.change));
  CIRRUS_TRY(check_ref_name("the ref", request.ref));
  if (!request.branch.empty()) CIRRUS_TRY(check_ref_name("the branch", request.branch));
  return check_ref_name("the tracking ref", request.tracking);
}

CloneUrl split_clone_url(std::string_view url) {
  CloneUrl result;
  result.clean = std::string(url);
  const std::size_t scheme_end = url.find("://");
  const std::string_view scheme = url.substr(0, std::min(scheme_end, url.size()));
  if (scheme_end == std::string_view::npos || (scheme != "http" && scheme != "https")) {
    return result;
  }
  const std::string_view rest = url.substr(scheme_end + 3);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  const std::size_t at = authority.rfind('@');
  const std::string_view host = at == std::string_view::npos ? authority : authority.substr(at + 1);
  result.origin = std::string(scheme) + "://" + std::string(host);
  result.clean = result.origin + std::string(rest.substr(authority.size()));
  if (at == std::string_view::npos) return result;
  const std::string_view userinfo = authority.substr(0, at);
  const std::size_t colon = userinfo.find(':');
  result.user = percent_decoded(userinfo.substr(0, colon));
  if (colon != std::string_view::npos) {
    result.password = Secret(percent_decoded(userinfo.substr(colon + 1)));
  } else {
    // A token alone in place of the user: git sends it with an empty password.
    result.password = Secret(result.user);
  }
  return result;
}

Result<CloneRequest> read_clone_request(const VariableLookup& variable) {
  CloneRequest request;
  request.url = CIRRUS_TRY(read_url(variable));
  request.change = variable("CIRRUS_CHANGE_IN_REPO").value_or("");
  if (!request.change.empty()) CIRRUS_TRY(check_commit(request.change));
  const std::string depth = variable("CIRRUS_CLONE_DEPTH").value_or("");
  (void)std::from_chars(depth.data(), depth.data() + depth.size(), request.depth);
  request.all_tags = variable("CIRRUS_CLONE_TAGS") == "true";
  request.submodules = variable("CIRRUS_CLONE_SUBMODULES") == "true";

  if (const std::optional<std::string> number = variable("CIRRUS_PR")) {
    CIRRUS_TRY(check_ref_name("CIRRUS_PR", *number));
    const bool merge = variable("CIRRUS_RESOLUTION_STRATEGY") == "MERGE_FOR_PRS";
    request.ref = "refs/pull/" + *number + (merge ? "/merge" : "/head");
    request.tracking = "refs/remotes/origin/pull/" + *number;
    if (merge) {
      // The merge commit is what is built, and its parents are one further away.
      request.change.clear();
      if (request.depth > 0) ++request.depth;
    }
    return request;
  }
  if (const std::optional<std::string> tag = variable("CIRRUS_TAG")) {
    CIRRUS_TRY(check_ref_name("CIRRUS_TAG", *tag));
    request.ref = "refs/tags/" + *tag;
    request.tracking = request.ref;
    request.all_tags = true;
    return request;
  }
  const std::string branch = variable("CIRRUS_BRANCH").value_or("");
  if (branch.empty()) {
    request.ref = "HEAD";
    request.tracking = "refs/remotes/origin/HEAD";
    return request;
  }
  CIRRUS_TRY(check_ref_name("CIRRUS_BRANCH", branch));
  request.ref = "refs/heads/" + branch;
  request.tracking = "refs/remotes/origin/" + branch;
  request.branch = branch;
  return request;
}

std::vector<std::string> fetch_commit_arguments(const CloneRequest& request,
                                                const std::string& from) {
  std::vector<std::string> arguments{"fetch", "--progress", "--force"};
  add_depth(request, arguments);
  // A tag keeps its own object; the commit alone would lose an annotation.
  const bool is_tag = request.tracking == request.ref;
  arguments.insert(arguments.end(),
                   {from, "+" + request.change + (is_tag ? "" : ":" + request.tracking)});
  if (is_tag) arguments.push_back("+" + request.ref + ":" + request.tracking);
  return arguments;
}

std::vector<std::string> fetch_ref_arguments(const CloneRequest& request, const std::string& from) {
  std::vector<std::string> arguments{"fetch", "--progress", "--force"};
  add_depth(request, arguments);
  arguments.insert(arguments.end(), {from, "+" + request.ref + ":" + request.tracking});
  return arguments;
}

std::vector<std::string> checkout_arguments(const CloneRequest& request) {
  const std::string target = request.change.empty() ? request.tracking : request.change;
  if (request.branch.empty()) return {"checkout", "--quiet", "--force", "--detach", target};
  return {"checkout", "--quiet", "--force", "--no-track", "-B", request.branch, target};
}

std::vector<std::pair<std::string, std::string>> credential_settings(const CloneUrl& url) {
  if (url.password.empty() || url.origin.empty()) return {};
  return {{"http." + url.origin + "/.extraHeader",
           "Authorization: Basic " + base64_encode(url.user + ":" + url.password.reveal())}};
}

std::string git_config_text(const std::vector<std::pair<std::string, std::string>>& settings) {
  const auto escaped = [](std::string_view value) {
    std::string text;
    for (const char c : value) {
      if (c == '"' || c == '\\') text += '\\';
      text += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    return text;
  };
  std::string text;
  std::string last;
  for (const auto& [key, value] : settings) {
    const std::size_t section = key.find('.');
    const std::size_t name = key.rfind('.');
    std::string header = "[" + key.substr(0, section);
    if (name != section) {
      header += " \"" + escaped(key.substr(section + 1, name - section - 1)) + "\"";
    }
    header += "]\n";
    if (std::exchange(last, header) != header) text += header;
    // As git writes it, for scripts that look: quotes only where they are needed.
    const bool quoted = value.find_first_of(";#") != std::string::npos || value.starts_with(' ') ||
                        value.ends_with(' ');
    const char* const quote = quoted ? "\"" : "";
    text += "\t" + key.substr(name + 1) + " = " + quote + escaped(value) + quote + "\n";
  }
  return text;
}

void add_git_settings(std::map<std::string, std::string, std::less<>>& environment,
                      const std::vector<std::pair<std::string, std::string>>& settings) {
  const auto found = environment.find("GIT_CONFIG_COUNT");
  unsigned long count =
      found == environment.end() ? 0 : std::strtoul(found->second.c_str(), nullptr, 10);
  for (const auto& [key, value] : settings) {
    environment["GIT_CONFIG_KEY_" + std::to_string(count)] = key;
    environment["GIT_CONFIG_VALUE_" + std::to_string(count)] = value;
    ++count;
  }
  environment["GIT_CONFIG_COUNT"] = std::to_string(count);
}

std::map<std::string, std::string, std::less<>> clean_git_environment(
    const std::map<std::string, std::string, std::less<>>& ours) {
  std::map<std::string, std::string, std::less<>> environment;
  for (const char* name : {"PATH", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY",
                           "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}) {
    const auto found = ours.find(name);
    if (found != ours.end()) environment[name] = found->second;
  }
  environment["GIT_CONFIG_NOSYSTEM"] = "1";
  environment["GIT_TERMINAL_PROMPT"] = "0";
  environment["GIT_ALLOW_PROTOCOL"] = "http:https";
  return environment;
}

std::string credential_helper(const CloneUrl& url, bool has_token_variable) {
  if (url.password.empty() || url.origin.empty()) return {};
  if (has_token_variable) {
    return "!f() { test \"$1\" = get && echo username=x-access-token && "
           "echo \"password=$CIRRUS_REPO_CLONE_TOKEN\"; }; f";
  }
  return "!f() { test \"$1\" = get || return 0; u=${CIRRUS_REPO_CLONE_URL#*://}; u=${u%%@*}; "
         "echo \"username=${u%%:*}\"; echo \"password=${u#*:}\"; }; f";
}

}  // namespace cirrus::model
