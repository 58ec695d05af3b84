// SPDX-License-Identifier: MIT
// SecurityPolicy: which isolations a worker's owner allows. Source: reference worker, security.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cirrus_instances.pb.h"
#include "yaml/tree.h"

namespace cirrus::worker {

/// True if `pattern` matches the whole `text`; `*` is any run of characters, `/` included, and
/// everything else stands for itself (the reference's `?` is not a wildcard here, as documented).
bool matches_wildcard(std::string_view pattern, std::string_view text);

struct VolumeRule {
  std::string source;
  bool force_readonly = false;
};

struct TartPolicy {
  std::vector<std::string> allowed_images;  ///< empty: any
  std::vector<VolumeRule> allowed_volumes;  ///< empty: none
  bool force_softnet = false;
  std::vector<std::string> softnet_allow;
};

struct VetuPolicy {
  std::vector<std::string> allowed_images;  ///< empty: any
};

/// Immutable after reading.
class SecurityPolicy {
 public:
  /// Everything is allowed (Tart without volumes), as without a `security:` key.
  SecurityPolicy() = default;
  /// Reads the value of `security:`. Errors: InvalidArgument with the position: a typo must never
  /// open a worker.
  static Result<SecurityPolicy> read(const yaml::Node& node, const std::string& file);

  /// Errors: PermissionDenied: `isolation 'x' is not allowed by this Persistent Worker's security
  /// settings`; InvalidArgument for an isolation without a known kind.
  /// `isolation` null: none was asked for, which counts as isolation `none`.
  Status check(const org::cirruslabs::ci::services::cirruscigrpc::Isolation* isolation) const;

 private:
  bool none_ = true;
  bool container_ = true;
  bool parallels_ = true;
  std::optional<TartPolicy> tart_ = TartPolicy{};
  std::optional<VetuPolicy> vetu_ = VetuPolicy{};
};

}  // namespace cirrus::worker
