// SPDX-License-Identifier: MIT
// Typed reading of the settings file, with `file:line:column` in every error.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "yaml/strict_map.h"
#include "yaml/tree.h"

namespace cirrus::worker {

/// `worker.yml:3:5: <message>`.
Error at(const std::string& file, yaml::Mark mark, std::string_view message);

Result<yaml::StrictMap> open_map(const yaml::Node& node, const std::string& file,
                                 const std::string& what);
Status close_map(const yaml::StrictMap& map, const std::string& file);

// Each takes a key; absent or null gives the fallback. A value of the wrong type is an error.
Result<std::string> take_text(yaml::StrictMap& map, std::string_view key, std::string fallback,
                              const std::string& file);
/// Unquoted true/false in three spellings; y/yes/on and n/no/off also quoted.
/// Source: reference worker, scalar typing.
Result<bool> take_bool(yaml::StrictMap& map, std::string_view key, bool fallback,
                       const std::string& file);
Result<std::vector<std::string>> take_list(yaml::StrictMap& map, std::string_view key,
                                           const std::string& file);
/// nullopt if absent; an empty map for a null value.
Result<std::optional<std::map<std::string, std::string>>> take_text_map(yaml::StrictMap& map,
                                                                        std::string_view key,
                                                                        const std::string& file);
Result<std::optional<std::map<std::string, double>>> take_number_map(yaml::StrictMap& map,
                                                                     std::string_view key,
                                                                     const std::string& file);
/// Every key of a settings file with its value in one canonical text: two files that mean the same
/// give the same. Keys of maps are joined by dots; what holds a token is left out. The tree must
/// not hold an alias of one of its own ancestors.
std::map<std::string, std::string> written_keys(const yaml::Node& root);

/// Go syntax: `3h`, `90m`, `1h30m`, `500ms`. A bare number is an error.
Result<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace cirrus::worker
