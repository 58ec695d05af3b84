// SPDX-License-Identifier: MIT
// Why a task does not run yet: one fact for programs, with a sentence for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/entity_ids.h"

namespace cirrus::model {

/// One reason. `text` always says it all; the other fields are set where they mean something.
struct WaitingReason {
  enum class Kind {
    NoWorkers,     ///< nothing has registered yet
    MissingLabel,  ///< `label`, `wanted`; `worker` is the nearest, `offered` what it has
    TooSmall,      ///< `resource`, `missing` even on an idle `worker`
    Busy,          ///< matching workers have no room at the moment; `resource`, `missing`, `worker`
    BetweenPolls,  ///< a matching worker has room and is about to ask
    Kept,          ///< `worker` is kept free for `task`, which has waited too long
    Paused,        ///< matching workers are paused or cordoned
    PoolPaused,    ///< `pool`
    Draining,      ///< matching workers drain
    NotConnected,  ///< matching workers are not heard of
    Avoided,       ///< matching workers lost or refused it before
    Untrusted,     ///< matching workers are in pools, as `pool`, that want a trusted build for it
    Lock,          ///< execution lock `label` is held by `task`
    DependsOn,     ///< `task` has not ended
    Manual,        ///< a person has to trigger it
    Unreachable,   ///< it runs, but `worker` is not heard of
  };
  Kind kind = Kind::NoWorkers;
  std::string text;
  int workers = 0;  ///< how many the reason is about; 0: not about workers
  std::string worker;
  std::string pool;
  std::string label;
  std::string wanted;
  std::string offered;
  std::string resource;
  double missing = 0;
  TaskId task;  ///< 0: none
};

using WaitingReasons = std::vector<WaitingReason>;

/// The API's word: `no_workers`, `missing_label`, …
std::string_view to_string(WaitingReason::Kind kind);

}  // namespace cirrus::model
