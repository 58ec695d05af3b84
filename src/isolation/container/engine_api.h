// SPDX-License-Identifier: MIT
// The Engine API, as Docker and Podman both speak it.
#pragma once

#include <memory>
#include <string>

#include "isolation/container/engine.h"

namespace cirrus::isolation {

/// Speaks to the engine on a unix socket, in API version 1.41 or the oldest one the engine still
/// takes. Errors: Unavailable if nobody answers there.
/// Source: Engine API reference 1.41.
Result<std::unique_ptr<ContainerEngine>> connect_engine(const std::string& socket,
                                                        const StopToken& stop);

}  // namespace cirrus::isolation
