// SPDX-License-Identifier: MIT
#include "case_result.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace cirrus::corpus {
namespace {

constexpr std::size_t kMaxProblems = 20;

std::string shown(const Json& value) {
  std::string text = value.dump();
  if (text.size() > 300) text = text.substr(0, 300) + "...";
  return text;
}

void compare_at(const std::string& path, const Json& expected, const Json& actual,
                std::vector<std::string>& problems) {
  if (problems.size() >= kMaxProblems) return;
  if (expected.is_object() && actual.is_object()) {
    for (const auto& [key, value] : expected.items()) {
      if (actual.contains(key)) {
        compare_at(path + "/" + key, value, actual.at(key), problems);
      } else {
        problems.push_back(path + "/" + key + ": expected " + shown(value) + ", found nothing");
      }
    }
    for (const auto& [key, value] : actual.items()) {
      if (!expected.contains(key))
        problems.push_back(path + "/" + key + ": expected nothing, found " + shown(value));
    }
    return;
  }
  if (expected.is_array() && actual.is_array()) {
    if (expected.size() != actual.size()) {
      problems.push_back(path + ": expected " + std::to_string(expected.size()) + " items, found " +
                         std::to_string(actual.size()));
    }
    for (std::size_t i = 0; i < std::min(expected.size(), actual.size()); ++i) {
      compare_at(path + "/" + std::to_string(i), expected[i], actual[i], problems);
    }
    return;
  }
  if (expected != actual)
    problems.push_back(path + ": expected " + shown(expected) + ", found " + shown(actual));
}

}  // namespace

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return std::nullopt;
  std::ostringstream content;
  content << stream.rdbuf();
  return content.str();
}

std::optional<Json> read_json(const std::filesystem::path& path) {
  const std::optional<std::string> text = read_file(path);
  if (!text) return std::nullopt;
  return Json::parse(*text, nullptr, /*allow_exceptions=*/false);
}

std::vector<std::filesystem::path> directories(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> result;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(path, failure)) {
    if (entry.is_directory()) result.push_back(entry.path());
  }
  std::sort(result.begin(), result.end());
  return result;
}

void compare_json(const Json& expected, const Json& actual, std::vector<std::string>& problems) {
  compare_at("", expected, actual, problems);
}

std::optional<ExpectedError> read_expected_error(const std::filesystem::path& path) {
  const std::optional<std::string> text = read_file(path);
  if (!text) return std::nullopt;
  ExpectedError result;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, colon);
    const std::string value = line.substr(colon + 2);
    if (key == "kind") result.kind = value;
    if (key == "line") result.line = std::strtoul(value.c_str(), nullptr, 10);
    if (key == "column") result.column = std::strtoul(value.c_str(), nullptr, 10);
    if (key == "meaning") result.meaning = value;
  }
  return result;
}

}  // namespace cirrus::corpus
