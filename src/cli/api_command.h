// SPDX-License-Identifier: MIT
// What commands that ask a controller have in common.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/api_client.h"
#include "cli/command.h"

namespace cirrus::cli {

/// Flags of every such command.
struct ApiCommandFlags {
  ApiFlags api;
  std::string output = "text";
  bool json() const { return output == "json"; }
};

/// Complains and returns the exit code that fits.
int report(const Error& failure);

/// Any text as one component of a path.
std::string path_component(const std::string& text);

/// Columns as wide as their widest cell; the last one is not padded. Control characters in cells
/// become `?`, because names come from other machines.
std::string render_columns(const std::vector<std::vector<std::string>>& rows);

/// Hands on each page of a list, until there is none or it returns false. `route` has a query, with
/// the `limit` of a page. Errors: those of `get`; DataLoss if the pages go round in circles.
Status each_page(const ApiClient& api, const std::string& route,
                 const std::function<bool(const nlohmann::json& page)>& on_page);

/// All of a list, page by page: what stands under `list` in each.
Result<nlohmann::json> whole_list(const ApiClient& api, const std::string& path, const char* list);

/// A task's artifacts with all their files. A name that pages share is one artifact.
Result<nlohmann::json> artifacts_of(const ApiClient& api, const std::string& task);

/// Prints a server's answer as it is, indented.
void print_json(const nlohmann::json& document);

/// What a command changed, to be printed: `action` as the audit names it, the thing under `kind`,
/// and whatever else the server answered.
nlohmann::json change_of(const char* action, const char* kind, nlohmann::json thing,
                         nlohmann::json answer = nlohmann::json::object());

/// A text of a JSON object; empty if it is absent or null.
std::string text_of(const nlohmann::json& object, const char* name);

/// `key=value key=value` of a JSON object.
std::string pairs_of(const nlohmann::json& object);

/// One command below `parent`: `body` runs with a client once parsing is done. `flags` must
/// outlive the parser.
CLI::App* add_api_command(CLI::App& parent, Invocation& invocation, ApiCommandFlags& flags,
                          const char* name, const char* help, const char* example,
                          std::function<int(const ApiClient&)> body);

/// Seconds written as `90`, `90s`, `15m`, `24h` or `7d`.
void read_duration(CLI::App& command, const char* flag, std::int64_t& seconds, const char* help);

}  // namespace cirrus::cli
