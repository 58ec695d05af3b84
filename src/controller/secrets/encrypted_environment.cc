// SPDX-License-Identifier: MIT
#include "controller/secrets/encrypted_environment.h"

namespace cirrus::controller::secrets {

int line_of_encrypted(std::string_view configuration, std::string_view name) {
  int number = 0;
  while (!configuration.empty()) {
    ++number;
    const std::size_t end = configuration.find('\n');
    const std::string_view line = configuration.substr(0, end);
    configuration.remove_prefix(end == std::string_view::npos ? configuration.size() : end + 1);
    const std::size_t value = line.find("ENCRYPTED[");
    if (value == std::string_view::npos) continue;
    // What stands before a value is its name, a colon, and quotes: `"NAME": 'ENCRYPTED[…`.
    std::string_view before = line.substr(0, value);
    const auto strip = [&before](std::string_view what) {
      while (!before.empty() && what.find(before.back()) != std::string_view::npos) {
        before.remove_suffix(1);
      }
    };
    strip(" \t\"'");
    if (!before.ends_with(':')) continue;
    before.remove_suffix(1);
    strip(" \t\"'");
    if (!before.ends_with(name)) continue;
    before.remove_suffix(name.size());
    if (before.empty() ||
        std::string_view(" \t\"'{,-").find(before.back()) != std::string_view::npos) {
      return number;
    }
  }
  return 0;
}

}  // namespace cirrus::controller::secrets
