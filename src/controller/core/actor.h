// SPDX-License-Identifier: MIT
// On whose behalf something is changed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::controller::core {

/// True if `repository` is one of `patterns`: `owner/name`, `owner/*` or `*`.
bool covers(const std::vector<std::string>& patterns, std::string_view repository);

/// Errors: InvalidArgument unless `pattern` is one of the three forms above.
Status check_repository_pattern(std::string_view pattern);

/// Who asks, and what the token that was shown allows. From a plain name: the controller itself,
/// which may do everything.
struct Actor {
  Actor() = default;
  // Implicit on purpose: most changes have no token behind them.
  // NOLINTNEXTLINE(google-explicit-constructor): see above
  Actor(std::string who) : name(std::move(who)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): see above
  Actor(const char* who) : name(who) {}

  std::string name;  ///< for the audit
  std::string token_id;
  std::vector<std::string> repositories = {"*"};
  bool trusted = true;
  /// As forges say it, and so tasks are told: `admin`, `write` or `none`.
  std::string permission = "admin";

  /// Errors: PermissionDenied, naming the repository, if the token does not cover it.
  Status check_may_act_on(std::string_view repository) const;
};

}  // namespace cirrus::controller::core
