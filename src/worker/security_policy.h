// SPDX-License-Identifier: MIT
// SecurityPolicy: what a worker's owner allows tasks to ask for. Source: reference worker,
// security.
#pragma once

#include <chrono>
#include <map>
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

/// Where rules are written, by key, such as `allowed-images` -> `worker.yml:5:7`.
using RulePlaces = std::map<std::string, std::string, std::less<>>;

struct TartPolicy {
  RulePlaces places;
  std::vector<std::string> allowed_images;  ///< empty: any
  std::vector<VolumeRule> allowed_volumes;  ///< empty: none
  bool force_softnet = false;
  std::vector<std::string> softnet_allow;
};

struct VetuPolicy {
  RulePlaces places;
  std::vector<std::string> allowed_images;  ///< empty: any
};

/// Ours: the reference has no rules for containers, so absent means what it did: anything.
struct ContainerPolicy {
  RulePlaces places;
  std::vector<std::string> allowed_images;                 ///< empty: any
  std::optional<std::vector<VolumeRule>> allowed_volumes;  ///< absent: any
  std::vector<std::string> allowed_networks;               ///< empty: the engine's default only
  bool allow_privileged = false;
};

/// Immutable after reading. Every refusal names the rule and where it is written.
class SecurityPolicy {
 public:
  using Isolation = org::cirruslabs::ci::services::cirruscigrpc::Isolation;

  /// Everything is allowed (Tart without volumes), as without a `security:` key.
  SecurityPolicy() = default;
  /// Reads the value of `security:`. Errors: InvalidArgument with the position: a typo must never
  /// open a worker.
  static Result<SecurityPolicy> read(const yaml::Node& node, const std::string& file);

  /// Errors: PermissionDenied: `isolation 'x' is not allowed by this Persistent Worker's security
  /// settings (worker.yml:3:5)`; InvalidArgument for an isolation without a known kind.
  /// `isolation` null: none was asked for, which counts as isolation `none`.
  /// Volumes are judged as they are written and, where the path exists, as it resolves: a link
  /// inside an allowed directory does not lead out of it.
  Status check(const Isolation* isolation) const;

  /// What a plain container wants beyond its isolation: companions (their images) and privilege.
  /// Errors: PermissionDenied.
  Status check_container(
      const org::cirruslabs::ci::services::cirruscigrpc::ContainerInstance& container) const;

  /// What became known with the commands: the repository (`CIRRUS_REPO_FULL_NAME`), how long the
  /// task may run, and the names of the variables it sets. Errors: PermissionDenied.
  Status check_task(const std::map<std::string, std::string>& environment,
                    std::chrono::seconds timeout) const;

  /// The isolation as it is to be carried out: Softnet is switched on where the owner forces it,
  /// and a volume that was judged by where its links lead is mounted from there, whatever the links
  /// become meanwhile.
  Isolation enforced(Isolation isolation) const;
  /// CIDRs that Softnet lets through.
  std::vector<std::string> softnet_allow() const;
  const ContainerPolicy* container() const { return container_ ? &*container_ : nullptr; }

 private:
  // `places` and `rule`: where the refusing rule is written, if it is one of its own.
  Status denied(std::string what, const RulePlaces* places = nullptr,
                std::string_view rule = {}) const;

  bool none_ = true;
  bool parallels_ = true;
  std::optional<ContainerPolicy> container_ = ContainerPolicy{};
  std::optional<TartPolicy> tart_ = TartPolicy{};
  std::optional<VetuPolicy> vetu_ = VetuPolicy{};
  std::vector<std::string> allowed_repositories_;  ///< empty: any
  std::optional<std::chrono::seconds> max_timeout_;
  std::optional<std::vector<std::string>> allowed_variables_;  ///< absent: any
  std::string isolations_at_;  ///< where `allowed-isolations` is written; empty: nowhere
  std::string place_;          ///< where `security` is written
  RulePlaces places_;          ///< of the rules directly below `security`
};

}  // namespace cirrus::worker
