// SPDX-License-Identifier: MIT
#include "lang/tasks/scope.h"

#include <algorithm>
#include <unordered_set>

#include "base/strings.h"
#include "lang/expand/units.h"

namespace cirrus::lang {
namespace {

std::string_view kind_name(const Node& node) {
  if (node.is_map()) return "a map";
  if (node.is_list()) return "a list";
  return node.is_blank() ? "nothing" : "a text";
}

/// Whether the two differ in one spot of at most two letters. Names that only share their ending,
/// such as `linux_container`, are somebody's own.
bool is_one_slip(std::string_view name, std::string_view near) {
  std::size_t same = 0;
  const std::size_t shorter = std::min(name.size(), near.size());
  while (same < shorter && name[same] == near[same]) ++same;
  std::size_t end = 0;
  while (end < shorter - same && name[name.size() - 1 - end] == near[near.size() - 1 - end]) ++end;
  return name != near && same + end + 2 >= std::max(name.size(), near.size());
}

ConfigError located(const Node& node, const Error& failure, ErrorKind kind) {
  const bool limit = failure.code() == Code::ResourceExhausted;
  const std::string message =
      node.name.empty() ? failure.to_string()
                        : fmt::format("'{}': {}", shorten(node.name, 60), failure.to_string());
  return error_at(node, message, limit ? ErrorKind::Limit : kind);
}

}  // namespace

void Session::warn(const Node& node, std::string message) {
  if (!budget.spend_output(message.size() + 100)) {
    output_exhausted = true;
    return;
  }
  pb::Issue issue;
  issue.set_level(pb::Issue::WARNING);
  issue.set_message(std::move(message));
  issue.set_path(".cirrus.yml");
  issue.set_line(node.mark.line);
  issue.set_column(node.mark.column);
  issues.push_back(std::move(issue));
}

Located<void> Session::check_budget() const {
  if (output_exhausted) {
    return error_at(yaml::Mark{},
                    fmt::format("the tasks of this configuration are larger than {} bytes",
                                options.limits.max_output_bytes),
                    ErrorKind::Limit);
  }
  if (tree.overcharged() || tree.full()) {
    return error_at(yaml::Mark{}, "inherited settings are merged too often for their size",
                    ErrorKind::Limit);
  }
  return {};
}

void Scope::set_variable(const std::string& name, std::string_view value) {
  const auto [place, added] = environment_.try_emplace(name, value);
  if (!added && place->second == value) return;
  if (!added) place->second = value;
  variables_valid_ = false;
}

void Scope::remove_variable(const std::string& name) {
  environment_.erase(name);
  variables_valid_ = false;
}

const std::string& Scope::variable(const std::string& name) {
  static const std::string kEmpty;
  const auto& build = session_.options.environment;
  if (const auto found = build.find(name); found != build.end()) return found->second;
  const auto found = environment_.find(name);
  return found == environment_.end() ? kEmpty : found->second;
}

const Node* Scope::collect(std::string_view name) {
  for (const auto& [had, node] : collected_) {
    if (had == name) return node;
  }
  const Node* const node = session_.inheritance.collect(task_, name);
  if (node != nullptr) collected_.emplace_back(name, node);
  return node;
}

const Variables& Scope::variables() {
  if (!variables_valid_) {
    variables_.clear();
    for (const auto& [name, value] : environment_)
      variables_.emplace_hint(variables_.begin(), name, value);
    for (const auto& [name, value] : session_.options.environment) variables_[name] = value;
    variables_valid_ = true;
    session_.budget.spend_work(20 * variables_.size());
  }
  return variables_;
}

Located<std::string> Scope::text(const Node& node) const {
  if (!node.is_scalar()) return wrong_kind(node, "a text");
  return std::string(node.text);
}

Located<std::string> Scope::expand(const Node& node, std::string_view value) {
  if (value.find_first_of("$%") == std::string_view::npos) return std::string(value);
  Result<std::string> result =
      expand_text(value, variables(), session_.options.limits, session_.budget);
  if (!result.ok()) return located(node, result.error(), ErrorKind::Located);
  return std::move(result).value();
}

Located<std::string> Scope::expanded(const Node& node) {
  if (!node.is_scalar()) return wrong_kind(node, "a text");
  return expand(node, node.text);
}

Located<bool> Scope::condition(const Node& node) {
  if (!node.is_scalar()) return wrong_kind(node, "a condition");
  // Most conditions are constants; they must not cost a merged environment.
  if (node.text == "true") return true;
  if (node.text == "false") return false;
  const ExpressionScope scope{variables(), session_.functions, session_.patterns,
                              session_.options.limits, session_.budget};
  const Result<bool> result = evaluate_condition(node.text, scope);
  if (result.ok()) return result.value();
  ConfigError failure = located(node, result.error(), ErrorKind::Expression);
  if (node.tag.starts_with('!')) {
    failure.message = fmt::format(
        "'{}': the value begins with an unquoted '!', which YAML reads as a tag", node.name);
    failure.hint = fmt::format("put the condition in quotes: {}: \"{}\"", node.name, node.tag);
  } else if (node.is_blank()) {
    failure.message = fmt::format("'{}': the condition is empty", node.name);
  }
  return failure;
}

Located<std::vector<std::string>> Scope::raw_texts(const Node& node) const {
  if (node.is_scalar()) return std::vector<std::string>{std::string(node.text)};
  if (!node.is_list()) return wrong_kind(node, "a text or a list of texts");
  std::vector<std::string> result;
  for (const Node* item : node.children) {
    if (!item->is_scalar())
      return error_at(node, fmt::format("'{}' may hold texts only", node.name));
    result.emplace_back(item->text);
  }
  return result;
}

Located<std::vector<std::string>> Scope::texts(const Node& node) {
  std::vector<std::string> result;
  for (const std::string& item : CIRRUS_TRY(raw_texts(node))) {
    std::string value = CIRRUS_TRY(expand(node, item));
    if (value == item || !value.starts_with('[') || !value.ends_with(']') || value.size() < 2) {
      result.push_back(std::move(value));
      continue;
    }
    for (const std::string& part :
         split(std::string_view(value).substr(1, value.size() - 2), ',')) {
      result.emplace_back(trim(part));
    }
  }
  return result;
}

Located<TextMap> Scope::text_map(const Node& node, bool lists_allowed, bool expand_values) {
  if (lists_allowed && node.is_list()) {
    TextMap result;
    for (const Node* item : node.children) {
      if (!item->is_map()) return wrong_kind(node, "a map or a list of maps");
      for (auto& [key, value] : CIRRUS_TRY(text_map(*item, false, expand_values)))
        result[key] = value;
    }
    return result;
  }
  if (!node.is_map()) return wrong_kind(node, lists_allowed ? "a map or a list of maps" : "a map");
  TextMap result;
  for (const Node* child : node.children) {
    result[std::string(child->name)] =
        expand_values ? CIRRUS_TRY(expanded(*child)) : CIRRUS_TRY(text(*child));
  }
  return result;
}

Located<double> Scope::decimal(const Node& node, ErrorKind kind) {
  const Result<double> value = parse_decimal(CIRRUS_TRY(expanded(node)));
  if (!value.ok()) return located(node, value.error(), kind);
  return value.value();
}

Located<float> Scope::decimal32(const Node& node) {
  return static_cast<float>(CIRRUS_TRY(decimal(node, ErrorKind::Number)));
}

Located<std::uint32_t> Scope::megabytes(const Node& node) {
  const Result<std::uint32_t> value = parse_megabytes(CIRRUS_TRY(expanded(node)));
  if (!value.ok()) return located(node, value.error(), ErrorKind::Located);
  return value.value();
}

Located<std::int64_t> Scope::integer(const Node& node, std::int64_t low, std::int64_t high) {
  const Result<std::int64_t> value = parse_integer(CIRRUS_TRY(expanded(node)), low, high);
  if (!value.ok()) return located(node, value.error(), ErrorKind::Located);
  return value.value();
}

void Scope::expect_map(const Node& node) {
  if (node.is_map() || node.is_blank() || (node.is_list() && node.children.empty())) return;
  session_.warn(node, fmt::format("'{}' must be a map, found {}", node.name, kind_name(node)));
}

void Scope::expect_fields(const Node& node, const FieldNames& known) {
  expect_map(node);
  if (!session_.options.our_extensions || !node.is_map()) return;
  for (const Node* child : node.children) check_spelling(*child, known);
}

void Scope::check_spelling(const Node& field, const FieldNames& known, const FieldNames& suffixes) {
  constexpr std::size_t kLongestName = 60;
  constexpr std::size_t kShortestName = 3;  // shorter ones are near to too much
  constexpr std::size_t kMostReports = 100;
  const std::string name(field.name);
  if (!session_.options.our_extensions || name.size() > kLongestName ||
      name.size() < kShortestName || name.front() == '.' ||
      session_.misspelt.size() >= kMostReports ||
      std::find(known.begin(), known.end(), name) != known.end() ||
      !session_.budget.spend_work(name.size() * known.size())) {
    return;
  }
  std::string near = nearest_name(name, known);
  const std::size_t bar = name.rfind('_');
  if (near.empty() && bar != std::string::npos && name.size() - bar > kShortestName) {
    const std::string suffix = nearest_name(name.substr(bar + 1), suffixes);
    if (!suffix.empty()) near = name.substr(0, bar + 1) + suffix;
  }
  if (near.empty() || !is_one_slip(name, near)) return;
  const std::string place = fmt::format("{}:{}:{}", field.mark.line, field.mark.column, name);
  if (!session_.misspelt.insert(place).second) return;
  session_.warn(field, fmt::format("'{}' means nothing here; did you mean '{}'?", name, near));
}

std::vector<const Node*> fields_of(const Node& map) {
  std::vector<const Node*> result;
  if (!map.is_map()) return result;
  std::unordered_set<std::string_view> later;
  for (auto it = map.children.rbegin(); it != map.children.rend(); ++it) {
    if (later.insert((*it)->name).second) result.push_back(*it);
  }
  std::reverse(result.begin(), result.end());
  return result;
}

ConfigError wrong_kind(const Node& node, std::string_view wanted) {
  if (node.name.empty())
    return error_at(node, fmt::format("this must be {}, found {}", wanted, kind_name(node)));
  return error_at(node, fmt::format("'{}' must be {}, found {}", shorten(node.name, 60), wanted,
                                    kind_name(node)));
}

}  // namespace cirrus::lang
