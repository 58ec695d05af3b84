// SPDX-License-Identifier: MIT
#include "agent/annotations/path_index.h"

#include <utility>

namespace cirrus::agent {

namespace fs = std::filesystem;

PathIndex::PathIndex(fs::path root, const StopToken& stop)
    : root_((std::move(root) / "").lexically_normal().parent_path()) {
  std::error_code failure;
  fs::recursive_directory_iterator at(root_, fs::directory_options::skip_permission_denied,
                                      failure);
  std::size_t files = 0;
  for (; !failure && at != fs::recursive_directory_iterator() && files < kMostFiles;
       at.increment(failure)) {
    if (stop.stop_requested()) return;
    std::error_code ignored;
    const fs::file_status status = at->symlink_status(ignored);
    if (fs::is_directory(status)) {
      if (at->path().filename() == ".git") at.disable_recursion_pending();
      continue;
    }
    if (!fs::is_regular_file(status)) continue;
    ++files;
    by_name_.emplace(at->path().filename().string(),
                     at->path().lexically_relative(root_).generic_string());
  }
}

std::string PathIndex::fix(const std::string& path) const {
  if (path.empty()) return path;
  fs::path relative = fs::path(path).lexically_normal();
  if (relative.is_absolute()) {
    const fs::path inside = relative.lexically_relative(root_);
    if (!inside.empty() && *inside.begin() != "..") relative = inside;
  }
  std::error_code ignored;
  if (relative.is_relative() && fs::exists(root_ / relative, ignored)) {
    return relative.generic_string();
  }
  const auto found = by_name_.find(relative.filename().string());
  return found == by_name_.end() ? relative.generic_string() : found->second;
}

}  // namespace cirrus::agent
