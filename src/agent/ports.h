// SPDX-License-Identifier: MIT
// Waiting for what listens beside the task: CIRRUS_PORTS_WAIT_FOR.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

#include "agent/task_control.h"

namespace cirrus::agent {

/// Source: reference agent, per port. Ours: all ports at once, so that it is the time of the whole.
inline constexpr std::chrono::seconds kPortPatience{60};

/// The ports of a comma list; what is no port number is left out. Source: reference agent.
std::vector<std::uint16_t> parse_ports(std::string_view list);

/// Waits until something accepts connections at every port of the loopback, `patience` at most, or
/// a stop order. Returns the ports where nothing does. A port that never opens is no error: the
/// task goes on and finds out. Source: reference agent.
std::vector<std::uint16_t> wait_for_ports(std::vector<std::uint16_t> ports, Duration patience,
                                          const TaskControl& control);

}  // namespace cirrus::agent
