// SPDX-License-Identifier: MIT
#include "cli/api_command.h"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

namespace cirrus::cli {

using nlohmann::json;

namespace {
/// `path` with pages as large as they can be.
std::string in_whole_pages(const std::string& path) {
  return path + (path.find('?') == std::string::npos ? "?" : "&") + "limit=5000";
}
}  // namespace

int report(const Error& failure) {
  complain(failure.to_string());
  return exit_code_for(failure);
}

std::string path_component(const std::string& text) {
  std::string path;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-';
    path += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return path;
}

std::string render_columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> cells = rows;
  std::vector<std::size_t> widths;
  for (std::vector<std::string>& row : cells) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::replace_if(
          row[i].begin(), row[i].end(),
          [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const std::vector<std::string>& row : cells) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text += std::string(widths[i] - row[i].size() + 2, ' ');
    }
    text += "\n";
  }
  return text;
}

Status each_page(const ApiClient& api, const std::string& route,
                 const std::function<bool(const json& page)>& on_page) {
  for (std::string after;;) {
    const json page =
        CIRRUS_TRY(api.get(route + (after.empty() ? "" : "&after=" + path_component(after))));
    const std::string next = text_of(page, "next_after");
    if (!on_page(page) || next.empty()) return {};
    if (next == after) {
      return error(Code::DataLoss, "the controller's list '{}' has no end: is it one of ours?",
                   route);
    }
    after = next;
  }
}

Result<json> whole_list(const ApiClient& api, const std::string& path, const char* list) {
  json all = json::array();
  CIRRUS_TRY(each_page(api, in_whole_pages(path), [&](const json& page) {
    for (const json& entry : page.value(list, json::array())) all.push_back(entry);
    return true;
  }));
  return all;
}

Result<json> artifacts_of(const ApiClient& api, const std::string& task) {
  json all = json::array();
  const auto add = [&all](const json& page) {
    for (const json& artifact : page.value("artifacts", json::array())) {
      // Only the last one can go on.
      if (all.empty() || text_of(all.back(), "name") != text_of(artifact, "name")) {
        all.push_back(artifact);
        continue;
      }
      for (const json& file : artifact.value("files", json::array())) {
        all.back()["files"].push_back(file);
      }
    }
    return true;
  };
  CIRRUS_TRY(
      each_page(api, in_whole_pages("/api/v1/tasks/" + path_component(task) + "/artifacts"), add));
  return all;
}

void print_json(const json& document) {
  std::printf("%s\n", document.dump(2, ' ', false, json::error_handler_t::replace).c_str());
}

json change_of(const char* action, const char* kind, json thing, json answer) {
  answer["schema_version"] = 1;
  answer["action"] = action;
  answer[kind] = std::move(thing);
  return answer;
}

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string pairs_of(const json& object) {
  std::string text;
  for (const auto& [key, value] : object.items()) {
    if (!text.empty()) text += " ";
    text += key + "=" + (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

CLI::App* add_api_command(CLI::App& parent, Invocation& invocation, ApiCommandFlags& flags,
                          const char* name, const char* help, const char* example,
                          std::function<int(const ApiClient&)> body) {
  CLI::App* const command = parent.add_subcommand(name, help);
  add_api_flags(*command, flags.api);
  command->add_option("--output", flags.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  command->footer(std::string("Example:\n  ") + example + "\n");
  command->callback([&invocation, &flags, body = std::move(body)] {
    invocation.run = [&flags, body] {
      const Result<ApiClient> api = ApiClient::create(flags.api);
      return api.ok() ? body(api.value()) : report(api.error());
    };
  });
  return command;
}

void read_duration(CLI::App& command, const char* flag, std::int64_t& seconds, const char* help) {
  const std::map<std::string, std::int64_t> units = {
      {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
  command
      .add_option(flag, seconds, help)
      // Without descriptions: the help says TIME and not how it is parsed.
      ->transform(
          CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::CASE_SENSITIVE).description(""))
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{3650} * 86400).description(""))
      ->type_name("TIME");
}

}  // namespace cirrus::cli
