// SPDX-License-Identifier: MIT
#include "lang/source_tree.h"

#include <set>

namespace cirrus::lang {

MemorySourceTree::MemorySourceTree(std::map<std::string, std::string> files) {
  for (auto& [path, content] : files) {
    const std::size_t begin = std::min(path.find_first_not_of('/'), path.size());
    files_.emplace(path.substr(begin), std::move(content));
  }
}

Result<std::optional<std::string>> MemorySourceTree::read(std::string_view path) const {
  const auto found = files_.find(path);
  if (found == files_.end()) return std::optional<std::string>();
  return std::optional(found->second);
}

Result<std::optional<std::vector<std::string>>> MemorySourceTree::list(
    std::string_view path) const {
  std::string prefix(path);
  if (!prefix.empty()) prefix += '/';
  std::set<std::string> names;
  for (auto it = files_.lower_bound(prefix); it != files_.end() && it->first.starts_with(prefix);
       ++it) {
    const std::string rest = it->first.substr(prefix.size());
    names.insert(rest.substr(0, rest.find('/')));
  }
  if (names.empty()) return std::optional<std::vector<std::string>>();
  return std::optional(std::vector<std::string>(names.begin(), names.end()));
}

}  // namespace cirrus::lang
