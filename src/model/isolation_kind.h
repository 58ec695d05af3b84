// SPDX-License-Identifier: MIT
// The kinds of isolation a task runs in, and sets of them.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::model {

/// Source: reference worker, `security.allowed-isolations`.
enum class IsolationKind : std::uint8_t { None, Container, Tart, Vetu, Parallels };

inline constexpr std::array kIsolationKinds = {IsolationKind::None, IsolationKind::Container,
                                               IsolationKind::Tart, IsolationKind::Vetu,
                                               IsolationKind::Parallels};

/// The configuration's word: `none`, `container`, …
std::string_view to_string(IsolationKind kind);

/// Some kinds, or any: what is added to `IsolationKind` later is in "any", and in no list.
class IsolationSet {
 public:
  /// Every kind.
  static IsolationSet any();
  /// From the words of kinds; `any` stands alone for all of them, an empty list for none of them.
  /// Errors: InvalidArgument, listing the words there are.
  static Result<IsolationSet> of(const std::vector<std::string>& words);

  bool allows(IsolationKind kind) const;
  /// Not a single kind.
  bool empty() const { return !any_ && kinds_ == 0; }
  /// What `of` reads: `any`, or each kind once, in the order of the kinds.
  std::vector<std::string> words() const;

  friend bool operator==(const IsolationSet&, const IsolationSet&) = default;

 private:
  bool any_ = false;
  std::uint32_t kinds_ = 0;  ///< a bit for each
};

}  // namespace cirrus::model
