// SPDX-License-Identifier: MIT
// Identifiers of builds and tasks: positive decimal numbers, as the reference's peers expect.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/result.h"

namespace cirrus::model {

/// Errors: InvalidArgument unless `text` is a positive decimal without sign that fits 63 bits.
Result<std::int64_t> parse_positive(std::string_view text, std::string_view what);

/// A number that names one thing of kind `Tag`. 0 names nothing.
/// Source: reference peers print ids as text and as int64; positive decimals suit both.
template <typename Tag>
struct EntityId {
  std::int64_t value = 0;

  friend auto operator<=>(const EntityId&, const EntityId&) = default;
  bool valid() const { return value > 0; }
  std::string to_string() const { return std::to_string(value); }
  static Result<EntityId> parse(std::string_view text) {
    return EntityId{CIRRUS_TRY(parse_positive(text, Tag::kName))};
  }
};

struct BuildTag {
  static constexpr std::string_view kName = "build";
};
struct TaskTag {
  static constexpr std::string_view kName = "task";
};
using BuildId = EntityId<BuildTag>;
using TaskId = EntityId<TaskTag>;

}  // namespace cirrus::model

template <typename Tag>
struct std::hash<cirrus::model::EntityId<Tag>> {
  std::size_t operator()(const cirrus::model::EntityId<Tag>& id) const noexcept {
    return std::hash<std::int64_t>{}(id.value);
  }
};

template <typename Tag>
struct fmt::formatter<cirrus::model::EntityId<Tag>> : fmt::formatter<std::int64_t> {
  template <typename Context>
  auto format(const cirrus::model::EntityId<Tag>& id, Context& context) const {
    return fmt::formatter<std::int64_t>::format(id.value, context);
  }
};
