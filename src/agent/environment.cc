// SPDX-License-Identifier: MIT
#include "agent/environment.h"

#include <utility>

namespace cirrus::agent {
namespace {

// Two bytes no environment variable in its right mind holds stand for `$` and `%` of secrets, so
// that every later expansion passes them by.
constexpr char kDollar = '\x01';
constexpr char kPercent = '\x02';

std::string guard(std::string text) {
  for (char& c : text) {
    if (c == '$') c = kDollar;
    if (c == '%') c = kPercent;
  }
  return text;
}

std::string unguard(std::string text) {
  for (char& c : text) {
    if (c == kDollar) c = '$';
    if (c == kPercent) c = '%';
  }
  return text;
}

}  // namespace

TaskEnvironment::TaskEnvironment(os::Environment process, std::set<std::string> secrets)
    : process_(std::move(process)), secrets_(std::move(secrets)) {}

void TaskEnvironment::merge(const Variables& added) {
  for (const auto& [name, value] : added) {
    variables_[name] = secrets_.contains(value) ? guard(value) : value;
  }
  expand_map(variables_, [this](std::string_view name) { return process_value(name); });
}

std::optional<std::string> TaskEnvironment::get(std::string_view name) const {
  const auto found = variables_.find(name);
  if (found == variables_.end()) return std::nullopt;
  return unguard(found->second);
}

std::optional<std::string> TaskEnvironment::process_value(std::string_view name) const {
  const auto found = process_.find(name);
  if (found == process_.end()) return std::nullopt;
  return found->second;
}

std::string TaskEnvironment::expand_text(std::string_view text) const {
  return expand(text, [this](std::string_view name) {
    std::optional<std::string> value = get(name);
    return value ? value : process_value(name);
  });
}

os::Environment TaskEnvironment::for_process() const {
  os::Environment result = process_;
  for (const auto& [name, value] : variables_) result[name] = unguard(value);
  const auto shell = variables_.find("CIRRUS_SHELL");
  if (process_.contains("SHELL") && shell != variables_.end() && !variables_.contains("SHELL")) {
    result["SHELL"] = unguard(shell->second);
  }
  return result;
}

Variables TaskEnvironment::variables() const {
  Variables result;
  for (const auto& [name, value] : variables_) result.emplace(name, unguard(value));
  return result;
}

}  // namespace cirrus::agent
