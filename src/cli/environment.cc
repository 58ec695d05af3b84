// SPDX-License-Identifier: MIT
#include "cli/environment.h"

#include <cstdlib>

#include "base/strings.h"
#include "os/files.h"

namespace cirrus::cli {

std::optional<std::string> variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

Result<Secret> read_secret_file(const std::string& path) {
  const std::string text = CIRRUS_TRY(os::read_file(path, 64U << 10U));
  const std::string_view token = trim(text);
  if (token.empty()) return error(Code::InvalidArgument, "'{}' is empty", path);
  return Secret(std::string(token));
}

Result<std::optional<Secret>> secret_variable(const std::string& name) {
  if (const std::optional<std::string> value = variable(name)) return std::optional(Secret(*value));
  const std::optional<std::string> file = variable(name + "_FILE");
  if (!file) return std::optional<Secret>();
  return std::optional(CIRRUS_TRY(read_secret_file(*file).note("reading {}_FILE", name)));
}

}  // namespace cirrus::cli
