// SPDX-License-Identifier: MIT
#include "cli/contexts.h"

#include <sys/stat.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "os/files.h"
#include "os/host.h"
#include "yaml/strict_map.h"

namespace cirrus::cli {

namespace {
// A JSON string is a YAML string.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

Result<Contexts> read_contexts(const std::string& text) {
  Contexts contexts;
  const yaml::Document document = CIRRUS_TRY(yaml::parse(text));
  if (document.root() == nullptr) return contexts;
  yaml::StrictMap top = CIRRUS_TRY(yaml::StrictMap::create(*document.root(), "the contexts"));
  contexts.current = CIRRUS_TRY(top.take_text("current"));
  if (const yaml::Node* list = top.take("contexts")) {
    const yaml::StrictMap named = CIRRUS_TRY(yaml::StrictMap::create(*list, "'contexts'"));
    for (const yaml::Entry& entry : named.entries()) {
      const std::string& name = entry.key->text;
      CIRRUS_TRY(check_context_name(name));
      yaml::StrictMap fields =
          CIRRUS_TRY(yaml::StrictMap::create(*entry.value, fmt::format("context '{}'", name)));
      Context context;
      context.url = CIRRUS_TRY(fields.take_text("url"));
      context.token = Secret(CIRRUS_TRY(fields.take_text("token")));
      context.ca_file = CIRRUS_TRY(fields.take_text("ca-file"));
      CIRRUS_TRY(fields.finish());
      contexts.known[name] = std::move(context);
    }
  }
  CIRRUS_TRY(top.finish());
  if (!contexts.known.contains(contexts.current)) contexts.current.clear();
  return contexts;
}
}  // namespace

std::filesystem::path contexts_file() {
  return os::user_config_directory() / "contexts.yml";
}

Status check_context_name(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (name.empty() || name.size() > 64 || !plain) {
    return error(Code::InvalidArgument,
                 "'{:.80}' is no name for a context: use letters, digits, '-', '_' and '.'", name);
  }
  return {};
}

Result<Contexts> load_contexts(const std::filesystem::path& file) {
  struct ::stat status {};
  if (::stat(file.c_str(), &status) != 0) return Contexts{};
  if ((status.st_mode & 077U) != 0) {
    return error(Code::PermissionDenied, "others may read {}, which holds tokens: chmod 600 it",
                 file.string());
  }
  const std::string text = CIRRUS_TRY(os::read_file(file));
  return read_contexts(text).note("reading {}", file.string());
}

Status save_contexts(const std::filesystem::path& file, const Contexts& contexts) {
  std::string text = "# Written by 'cirrus context'. Holds tokens: keep it to yourself.\n";
  if (!contexts.current.empty()) text += "current: " + quoted(contexts.current) + "\n";
  text += contexts.known.empty() ? "contexts: {}\n" : "contexts:\n";
  for (const auto& [name, context] : contexts.known) {
    text += fmt::format("  {}:\n    url: {}\n    token: {}\n", quoted(name), quoted(context.url),
                        quoted(context.token.reveal()));
    if (!context.ca_file.empty()) text += "    ca-file: " + quoted(context.ca_file) + "\n";
  }
  CIRRUS_TRY(os::make_directories(file.parent_path(), 0700));
  return os::write_file(file, text, 0600, true);
}

}  // namespace cirrus::cli
