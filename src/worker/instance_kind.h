// SPDX-License-Identifier: MIT
// What a task runs in, as monitoring systems count it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>

#include "cirrus_instances.pb.h"

namespace cirrus::worker {

/// Source: reference worker, attributes of the metric `images.total`.
struct InstanceKind {
  std::string image;
  std::string type;  ///< `none`, `container`, `tart`, `vetu`
  std::string cpus;  ///< as the task asked for; empty: it did not
  friend auto operator<=>(const InstanceKind&, const InstanceKind&) = default;
};
using InstanceCounts = std::map<InstanceKind, std::uint64_t>;

/// An isolation without a member is `none`.
InstanceKind instance_kind_of(
    const org::cirruslabs::ci::services::cirruscigrpc::Isolation& isolation);

}  // namespace cirrus::worker
