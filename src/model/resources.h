// SPDX-License-Identifier: MIT
// Quantities a worker offers and a task books, by name.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace cirrus::model {

/// Name to amount; a name that is absent means none of it.
using Resources = std::map<std::string, double, std::less<>>;

/// What is missing of one resource.
struct Shortage {
  std::string name;
  double wanted = 0;
  double available = 0;
};

/// Errors: InvalidArgument for an empty name, a negative amount, infinity or not-a-number.
Status check_resources(const Resources& amounts);

/// The first resource, by name, of which `available` holds less than `wanted`; nullopt if all fit.
/// Amounts within 1e-9 of each other count as equal, so that thirds add up.
std::optional<Shortage> first_shortage(const Resources& wanted, const Resources& available);

/// Adds each amount of `more` to `amounts`.
void add(Resources& amounts, const Resources& more);
/// Takes each amount of `less` away; what falls to (about) zero or below becomes zero.
void subtract(Resources& amounts, const Resources& less);

}  // namespace cirrus::model
