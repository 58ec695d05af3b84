// SPDX-License-Identifier: MIT
#include "controller/core/actor.h"

#include <algorithm>

#include "model/safe_name.h"

namespace cirrus::controller::core {

bool covers(const std::vector<std::string>& patterns, std::string_view repository) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    if (pattern == "*" || pattern == repository) return true;
    return pattern.ends_with("/*") &&
           repository.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
  });
}

Status check_repository_pattern(std::string_view pattern) {
  if (pattern == "*") return {};
  if (pattern.ends_with("/*")) {
    CIRRUS_TRY(model::SafeName::create(pattern.substr(0, pattern.size() - 2), "repository owner"));
    return {};
  }
  CIRRUS_TRY(model::RepositoryName::create(pattern));
  return {};
}

Status Actor::check_may_act_on(std::string_view repository) const {
  if (covers(repositories, repository)) return {};
  return error(Code::PermissionDenied,
               "this token is not for repository '{:.128}': use one that lists it, or ask an "
               "administrator for a new token with --repo {:.128}",
               repository, repository);
}

}  // namespace cirrus::controller::core
