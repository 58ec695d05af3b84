// SPDX-License-Identifier: MIT
#pragma once

#include "base/work_pool.h"

namespace cirrus::controller::blobs {

/// For what may block: opening files, waiting for `git`.
using cirrus::WorkPool;

}  // namespace cirrus::controller::blobs
