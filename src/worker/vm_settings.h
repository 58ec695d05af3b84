// SPDX-License-Identifier: MIT
// What a worker's owner says about VMs: standby, pre-pulled images, resource modifiers, tuning.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cirrus_instances.pb.h"
#include "yaml/strict_map.h"

namespace cirrus::worker {

/// One kind of VM that is kept running for a task that asks for exactly it.
struct StandbySettings {
  org::cirruslabs::ci::services::cirruscigrpc::Isolation isolation;
  /// Booked on the worker while it stands by, so that it never takes what a task was promised.
  std::map<std::string, double> resources;
  std::string warmup_script;
  /// 0: no limit. Source: reference worker, standby; ours rounds parts of a second up.
  std::chrono::seconds warmup_timeout{0};
  /// How many of them. Ours; only the list form can say more than one.
  std::uint32_t count = 1;
};

/// Words put before the VM's name on `vetu run`, for one task at a time that wants these amounts.
struct ResourceModifier {
  std::map<std::string, double> match;
  std::vector<std::string> run;
};

struct TartPrePull {
  std::vector<std::string> images;
  std::chrono::nanoseconds check_interval{0};
  std::chrono::nanoseconds jitter{0};
};

struct VmSettings {
  std::vector<StandbySettings> standby;
  /// `standby:` was a list: a task that matches none of them ends one only for its resources.
  /// In the single forms any other task ends it. Source: the product's document, Standby VM.
  bool standby_is_list = false;
  std::optional<TartPrePull> tart_pre_pull;
  std::vector<ResourceModifier> modifiers;
  /// 0: unset. Source: reference worker, tuning.
  std::uint32_t vetu_mtu = 0;
};

/// Takes `standby`, `tart-pre-pull`, `tuning` and `resource-modifiers` from the settings' map.
/// Errors: InvalidArgument with `file:line:column`.
Result<VmSettings> take_vm_settings(yaml::StrictMap& map, const std::string& file);

/// Memory as in `.cirrus.yml`, in MiB: `16G`, `512Mi`; a bare number below 100 means GiB.
/// Source: reference, configuration language, sizes.
Result<std::uint32_t> parse_megabytes(std::string_view text);

}  // namespace cirrus::worker
