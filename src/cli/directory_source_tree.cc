// SPDX-License-Identifier: MIT
#include "cli/directory_source_tree.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace cirrus::cli {

namespace {
constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{64} << 20;
}  // namespace

DirectorySourceTree::DirectorySourceTree(const std::filesystem::path& root) {
  std::error_code failure;
  root_ = std::filesystem::canonical(root, failure);
  if (failure) root_ = std::filesystem::absolute(root, failure);
}

std::optional<std::filesystem::path> DirectorySourceTree::locate(std::string_view path) const {
  std::error_code failure;
  const std::filesystem::path found = std::filesystem::canonical(root_ / path, failure);
  if (failure) return std::nullopt;
  const auto [end, rest] = std::mismatch(root_.begin(), root_.end(), found.begin(), found.end());
  return end == root_.end() ? std::optional(found) : std::nullopt;
}

Result<std::optional<std::string>> DirectorySourceTree::read(std::string_view path) const {
  const std::optional<std::filesystem::path> place = locate(path);
  std::error_code failure;
  if (!place || !std::filesystem::is_regular_file(*place, failure) ||
      std::filesystem::file_size(*place, failure) > kMaxFileBytes) {
    return std::optional<std::string>();
  }
  std::ifstream stream(*place, std::ios::binary);
  if (!stream) {
    return error(Code::PermissionDenied, "cannot read '{}'", place->string());
  }
  return std::optional(
      std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()));
}

Result<std::optional<std::vector<std::string>>> DirectorySourceTree::list(
    std::string_view path) const {
  const std::optional<std::filesystem::path> place = locate(path);
  std::error_code failure;
  if (!place || !std::filesystem::is_directory(*place, failure)) {
    return std::optional<std::vector<std::string>>();
  }
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator entry(*place, failure), end; entry != end && !failure;
       entry.increment(failure)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return std::optional(std::move(names));
}

}  // namespace cirrus::cli
