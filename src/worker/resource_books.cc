// SPDX-License-Identifier: MIT
#include "worker/resource_books.h"

namespace cirrus::worker {

namespace {
// Amounts such as 0.1 do not add up exactly.
constexpr double kTolerance = 1e-9;

double amount_of(const Amounts& amounts, const std::string& name) {
  const auto found = amounts.find(name);
  return found == amounts.end() ? 0 : found->second;
}
}  // namespace

void ResourceBooks::book(const Amounts& amounts) {
  ++running_;
  alone_ = alone_ || amounts.empty();
  for (const auto& [name, amount] : amounts) used_[name] += amount;
}

bool ResourceBooks::fits(const Amounts& wanted, const Amounts& standing) const {
  if (running_ > 0 && (alone_ || wanted.empty())) return false;
  for (const auto& [name, amount] : wanted) {
    const double held = amount_of(standing, name);
    if (running_ == 0 && held == 0) continue;
    const double needed = amount_of(used_, name) + held + amount;
    if (needed > amount_of(total_, name) * (1 + kTolerance)) return false;
  }
  return true;
}

}  // namespace cirrus::worker
