// SPDX-License-Identifier: MIT
#include "model/resources.h"

#include <cmath>

namespace cirrus::model {

namespace {
constexpr double kTolerance = 1e-9;
}

Status check_resources(const Resources& amounts) {
  for (const auto& [name, amount] : amounts) {
    if (name.empty()) return error(Code::InvalidArgument, "resource with empty name");
    if (!std::isfinite(amount) || amount < 0) {
      return error(Code::InvalidArgument, "resource '{:.64}' has amount {}", name, amount);
    }
  }
  return {};
}

std::optional<Shortage> first_shortage(const Resources& wanted, const Resources& available) {
  for (const auto& [name, amount] : wanted) {
    const auto found = available.find(name);
    const double offered = found == available.end() ? 0 : found->second;
    if (amount > offered + kTolerance) return Shortage{name, amount, offered};
  }
  return std::nullopt;
}

void add(Resources& amounts, const Resources& more) {
  for (const auto& [name, amount] : more) amounts[name] += amount;
}

void subtract(Resources& amounts, const Resources& less) {
  for (const auto& [name, amount] : less) {
    double& left = amounts[name];
    left -= amount;
    if (left < kTolerance) left = 0;
  }
}

}  // namespace cirrus::model
