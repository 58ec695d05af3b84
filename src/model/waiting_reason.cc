// SPDX-License-Identifier: MIT
#include "model/waiting_reason.h"

namespace cirrus::model {

std::string_view to_string(WaitingReason::Kind kind) {
  using Kind = WaitingReason::Kind;
  switch (kind) {
    case Kind::NoWorkers: return "no_workers";
    case Kind::MissingLabel: return "missing_label";
    case Kind::TooSmall: return "too_small";
    case Kind::Busy: return "busy";
    case Kind::BetweenPolls: return "between_polls";
    case Kind::Kept: return "kept_free";
    case Kind::Paused: return "paused";
    case Kind::PoolPaused: return "pool_paused";
    case Kind::Draining: return "draining";
    case Kind::NotConnected: return "not_connected";
    case Kind::Avoided: return "avoided";
    case Kind::Untrusted: return "untrusted";
    case Kind::Lock: return "lock";
    case Kind::DependsOn: return "depends_on";
    case Kind::Manual: return "manual";
    case Kind::Unreachable: return "unreachable";
  }
  return "";
}

}  // namespace cirrus::model
