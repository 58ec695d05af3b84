// SPDX-License-Identifier: MIT
#include "cli/known_names.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/api_client.h"
#include "cli/api_command.h"
#include "cli/contexts.h"
#include "cli/directory_source_tree.h"
#include "lang/evaluate.h"
#include "os/files.h"

namespace cirrus::cli {

namespace {

using nlohmann::json;
using Names = std::vector<std::string>;

/// Of one kind: where the controller lists them (the newest builds, else page by page), under which
/// field, and what of an entry is a name.
struct Source {
  std::string path;
  const char* list;
  std::function<void(const json& entry, Names& names)> add;
};

std::function<void(const json&, Names&)> field(const char* name) {
  return [name](const json& entry, Names& names) { names.push_back(text_of(entry, name)); };
}

Source source_of(const std::string& kind, const Names& given) {
  const std::string first = given.empty() ? "" : given.front();
  if (kind == "build") return {"/api/v1/builds?limit=50", "builds", field("id")};
  if (kind == "repository") return {"/api/v1/builds?limit=50", "builds", field("repository")};
  if (kind == "worker") return {"/api/v1/workers?limit=5000", "workers", field("name")};
  if (kind == "pool") return {"/api/v1/pools?limit=5000", "pools", field("name")};
  if (kind == "artifact" && !first.empty()) {
    return {"/api/v1/tasks/" + path_component(first) + "/artifacts?limit=5000", "artifacts",
            field("name")};
  }
  if (kind == "cache") {
    const std::size_t slash = first.find('/');
    if (slash == std::string::npos) return {};
    return {"/api/v1/caches/" + path_component(first.substr(0, slash)) + "/" +
                path_component(first.substr(slash + 1)) + "?limit=5000",
            "caches", field("key")};
  }
  if (kind == "task") {
    return {"/api/v1/builds?limit=10", "builds", [](const json& build, Names& names) {
              for (const json& task : build.value("tasks", json::array())) {
                names.push_back(text_of(task, "id"));
              }
            }};
  }
  const auto add_living = [](const json& token, const char* name, Names& names) {
    if (text_of(token, "revoked_at").empty()) names.push_back(text_of(token, name));
  };
  if (kind == "token") {
    return {"/api/v1/tokens?limit=5000", "tokens",
            [add_living](const json& token, Names& names) { add_living(token, "name", names); }};
  }
  if (kind == "registration_token") {
    return {"/api/v1/registration-tokens?limit=5000", "tokens",
            [add_living](const json& token, Names& names) { add_living(token, "id", names); }};
  }
  return {};
}

Names of_the_controller(const std::string& kind, const Names& given) {
  Result<ApiClient> api = ApiClient::create(ApiFlags{});
  if (!api.ok()) return {};
  const Monotonic limit = system_clock().now() + std::chrono::milliseconds(1500);
  const auto left = [limit] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(limit - system_clock().now());
  };
  api.value().set_timeout(left());
  Names names;
  if (kind == "step") {
    if (given.empty()) return {};
    const Result<json> answer = api.value().get("/api/v1/tasks/" + path_component(given.front()));
    if (!answer.ok()) return {};
    const json task = answer.value().value("task", json::object());
    for (const json& step : task.value("steps", json::array())) {
      names.push_back(text_of(step, "name"));
    }
    return names;
  }
  const Source source = source_of(kind, given);
  if (source.path.empty()) return {};
  // What came before the time was over is offered.
  (void)each_page(api.value(), source.path, [&](const json& page) {
    for (const json& entry : page.value(source.list, json::array())) source.add(entry, names);
    api.value().set_timeout(left());
    return left() > std::chrono::milliseconds(0);
  });
  return names;
}

Names of_contexts() {
  Names names;
  const Result<Contexts> contexts = load_contexts(contexts_file());
  if (!contexts.ok()) return names;
  for (const auto& [name, context] : contexts.value().known) names.push_back(name);
  return names;
}

Names of_this_directory() {
  Names names;
  for (const char* file : {".cirrus.yml", ".cirrus.yaml"}) {
    const Result<std::string> text = os::read_file(file);
    if (!text.ok()) continue;
    const lang::Outcome outcome =
        lang::evaluate(text.value(), DirectorySourceTree("."), lang::controller_options());
    for (const lang::pb::Task& task : outcome.evaluation.tasks) names.push_back(task.name());
    break;
  }
  return names;
}

}  // namespace

std::vector<std::string> known_names(const std::string& kind,
                                     const std::vector<std::string>& given) {
  Names names = kind == "context"      ? of_contexts()
                : kind == "local_task" ? of_this_directory()
                                       : of_the_controller(kind, given);
  Names kept;
  for (std::string& name : names) {
    const bool one_line = std::none_of(name.begin(), name.end(), [](char c) {
      return static_cast<unsigned char>(c) < ' ' || c == 127;
    });
    if (name.empty() || !one_line) continue;
    if (std::find(kept.begin(), kept.end(), name) == kept.end()) kept.push_back(std::move(name));
  }
  return kept;
}

}  // namespace cirrus::cli
