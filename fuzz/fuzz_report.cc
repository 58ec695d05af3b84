// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>

#include "agent_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  cirrus::fuzz::run_report({reinterpret_cast<const char*>(data), size});
  return 0;
}
