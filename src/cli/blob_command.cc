// SPDX-License-Identifier: MIT
// `cirrus artifact list|get` and `cirrus cache list|delete`.

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "base/strings.h"
#include "cli/api_client.h"
#include "cli/api_command.h"
#include "cli/artifact_download.h"
#include "cli/command.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;

struct BlobFlags {
  ApiFlags api;
  std::string task;
  std::string artifact;
  std::string path;
  std::string repository;
  std::string key;
  std::string into = ".";
  bool force = false;
  std::string output = "text";
};

/// With its slashes, which separate parts of a path.
std::string escaped_path(const std::string& path) {
  std::vector<std::string> parts;
  for (const std::string& part : split(path, '/')) parts.push_back(net::percent_encode(part));
  return join(parts, "/");
}

std::string human_size(std::uint64_t bytes) {
  constexpr double kStep = 1000;
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  for (const char* unit : {"kB", "MB", "GB"}) {
    value /= kStep;
    if (value < kStep) return fmt::format("{:.1f} {}", value, unit);
  }
  return fmt::format("{:.1f} TB", value / kStep);
}

int list_artifacts(const BlobFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> artifacts = artifacts_of(api.value(), flags.task);
  if (!artifacts.ok()) return report(artifacts.error());
  if (flags.output == "json") {
    const json document = {{"schema_version", 1}, {"artifacts", artifacts.value()}};
    std::printf("%s\n", document.dump(2).c_str());
    return kOk;
  }
  for (const json& artifact : artifacts.value()) {
    std::printf("%s\n", artifact.value("name", "").c_str());
    for (const json& file : artifact.value("files", json::array())) {
      std::printf("  %10s  %s\n", human_size(file.value("size", std::uint64_t{0})).c_str(),
                  file.value("path", "").c_str());
    }
  }
  if (artifacts.value().empty()) std::printf("task %s has no artifacts\n", flags.task.c_str());
  return kOk;
}

int get_artifact(const BlobFlags& flags) {
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> artifacts = artifacts_of(api.value(), flags.task);
  if (!artifacts.ok()) return report(artifacts.error());
  std::vector<std::string> names;
  for (const json& artifact : artifacts.value()) {
    names.push_back(artifact.value("name", ""));
    if (names.back() != flags.artifact) continue;
    json files = json::array();
    for (const json& file : artifact.value("files", json::array())) {
      if (!flags.path.empty() && file.value("path", "") != flags.path) continue;
      const Status got = download_artifact_file(
          api.value(), {flags.task, flags.artifact, flags.into, flags.force}, file);
      if (!got.ok()) return report(got.error());
      files.push_back(file);
      if (flags.output == "json") continue;
      std::printf("%10s  %s\n", human_size(file.value("size", std::uint64_t{0})).c_str(),
                  file.value("path", "").c_str());
    }
    if (!files.empty() || flags.path.empty()) {
      if (flags.output == "json") {
        print_json({{"schema_version", 1}, {"into", flags.into}, {"files", files}});
      }
      return kOk;
    }
    complain("artifact '" + flags.artifact + "' has no file '" + flags.path + "'");
    return kFailed;
  }
  complain(fmt::format("task {} has no artifact '{}'{}", flags.task, flags.artifact,
                       names.empty() ? "" : ", only: " + join(names, ", ")));
  return kFailed;
}

Result<std::string> caches_route(const std::string& repository) {
  const std::vector<std::string> parts = split(repository, '/');
  if (parts.size() != 2) {
    return error(Code::InvalidArgument, "'{}' is no repository: write OWNER/NAME", repository);
  }
  return "/api/v1/caches/" + escaped_path(repository);
}

int list_caches(const BlobFlags& flags) {
  const Result<std::string> route = caches_route(flags.repository);
  if (!route.ok()) return report(route.error());
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> caches = whole_list(api.value(), route.value(), "caches");
  if (!caches.ok()) return report(caches.error());
  if (flags.output == "json") {
    print_json({{"schema_version", 1}, {"caches", caches.value()}});
    return kOk;
  }
  for (const json& cache : caches.value()) {
    std::printf("%10s  %s  task %-8s %s\n",
                human_size(cache.value("size", std::uint64_t{0})).c_str(),
                cache.value("created_at", "").c_str(), cache.value("task_id", "").c_str(),
                cache.value("key", "").c_str());
  }
  return kOk;
}

int delete_cache(const BlobFlags& flags) {
  const Result<std::string> route = caches_route(flags.repository);
  if (!route.ok()) return report(route.error());
  const Result<ApiClient> api = ApiClient::create(flags.api);
  if (!api.ok()) return report(api.error());
  const Result<json> answer =
      api.value().remove(route.value() + "?key=" + net::percent_encode(flags.key));
  if (!answer.ok()) return report(answer.error());
  if (flags.output == "json") {
    print_json(change_of("cache.delete", "cache",
                         {{"repository", flags.repository}, {"key", flags.key}}, answer.value()));
    return kOk;
  }
  std::printf("cache '%s' of %s is gone\n", flags.key.c_str(), flags.repository.c_str());
  return kOk;
}

CLI::App* add(CLI::App& parent, Invocation& invocation, BlobFlags& flags, const char* name,
              const char* help, const char* example, int (*body)(const BlobFlags&)) {
  CLI::App* command = parent.add_subcommand(name, help);
  add_api_flags(*command, flags.api);
  command->footer(std::string("Example:\n  ") + example + "\n");
  command->callback(
      [&invocation, &flags, body] { invocation.run = [&flags, body] { return body(flags); }; });
  return command;
}

void add_output(CLI::App& command, BlobFlags& flags) {
  command.add_option("--output", flags.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
}

}  // namespace

void add_artifact_commands(CLI::App& root, Invocation& invocation) {
  static BlobFlags flags;
  CLI::App* artifact = root.add_subcommand("artifact", "Look at and fetch what tasks kept");
  artifact->require_subcommand(1);
  CLI::App* list = add(*artifact, invocation, flags, "list", "List a task's artifacts",
                       "cirrus artifact list 7", list_artifacts);
  list->add_option("task", flags.task, "task")->required();
  add_output(*list, flags);
  CLI::App* get = add(*artifact, invocation, flags, "get", "Download an artifact or one file of it",
                      "cirrus artifact get 7 binaries --into out", get_artifact);
  get->add_option("task", flags.task, "task")->required();
  get->add_option("artifact", flags.artifact, "its name")->required();
  get->add_option("path", flags.path, "one file (default: all)");
  get->add_option("--into", flags.into, "directory to put the files into (default: this one)");
  add_output(*get, flags);
  get->add_flag("--force", flags.force, "replace files that are there already");
}

void add_cache_commands(CLI::App& root, Invocation& invocation) {
  static BlobFlags flags;
  CLI::App* cache = root.add_subcommand("cache", "Look at and remove caches of a repository");
  cache->require_subcommand(1);
  CLI::App* list = add(*cache, invocation, flags, "list", "List a repository's caches",
                       "cirrus cache list acme/app", list_caches);
  list->add_option("repository", flags.repository, "OWNER/NAME")->required();
  add_output(*list, flags);
  CLI::App* remove = add(*cache, invocation, flags, "delete", "Remove a cache",
                         "cirrus cache delete acme/app node_modules-1a2b", delete_cache);
  add_output(*remove, flags);
  remove->add_option("repository", flags.repository, "OWNER/NAME")->required();
  remove->add_option("key", flags.key, "its key")->required();
}

}  // namespace cirrus::cli
