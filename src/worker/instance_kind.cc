// SPDX-License-Identifier: MIT
#include "worker/instance_kind.h"

#include <fmt/format.h>

namespace cirrus::worker {

InstanceKind instance_kind_of(
    const org::cirruslabs::ci::services::cirruscigrpc::Isolation& isolation) {
  const auto cpus = [](auto count) { return count > 0 ? fmt::format("{}", count) : std::string(); };
  if (isolation.has_container()) {
    return {isolation.container().image(), "container", cpus(isolation.container().cpu())};
  }
  if (isolation.has_tart()) return {isolation.tart().image(), "tart", cpus(isolation.tart().cpu())};
  if (isolation.has_vetu()) return {isolation.vetu().image(), "vetu", cpus(isolation.vetu().cpu())};
  return {"", "none", ""};
}

}  // namespace cirrus::worker
