// SPDX-License-Identifier: MIT
// ResourceBooks: whether one more task fits beside those that run.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace cirrus::worker {

/// Amounts by resource name, such as `tart-vms: 1`.
using Amounts = std::map<std::string, double>;

/// What runs, against what the owner has. Rules (Source: protocol, scheduling semantics; the
/// reference leaves them to the server, ours also keeps them among several servers):
///   1. the sum of amounts never exceeds the total;
///   2. a task without amounts runs alone;
///   3. what nothing runs beside is admitted whatever it asks for: its controller knew the total,
///      and would otherwise wait for ever after the owner lowered it.
class ResourceBooks {
 public:
  explicit ResourceBooks(Amounts total) : total_(std::move(total)) {}

  /// A task runs. It is counted, whether it fits or not: the owner may have lowered the total.
  void book(const Amounts& amounts);
  /// Whether a task may start beside what is booked. `standing` is held by instances that wait for
  /// a task; they give way, but until then their amounts are theirs.
  bool fits(const Amounts& wanted, const Amounts& standing) const;

  const Amounts& used() const { return used_; }

 private:
  const Amounts total_;
  Amounts used_;
  std::size_t running_ = 0;
  bool alone_ = false;  ///< one of them must not have company
};

}  // namespace cirrus::worker
