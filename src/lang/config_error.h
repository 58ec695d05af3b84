// SPDX-License-Identifier: MIT
// What is wrong with a configuration, and where; and Located<T>, a value or such an error.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace cirrus::lang {

/// How the reference reports a problem. It decides what the evaluation service answers: Located
/// becomes an issue, everything else fails the call. Source: reference CLI, evaluator service.
enum class ErrorKind {
  Located,     ///< a field is wrong
  Basic,       ///< tasks do not fit together
  Expression,  ///< a condition cannot be evaluated
  Syntax,      ///< not YAML
  Number,      ///< not a number
  Limit,       ///< ours: larger or costlier than we accept
};

/// One configuration error. Unlike base Error it has a place, and it is never passed on by code:
/// whoever gets it shows it.
struct ConfigError {
  std::string message;  ///< one lower-case sentence without full stop
  std::string path = ".cirrus.yml";
  std::size_t line = 0;  ///< 1-based; 0 if the problem has no single place
  std::size_t column = 0;
  std::string excerpt;  ///< the source line, a newline, and a caret below the column
  std::string hint;     ///< what to do about it; may be empty
  ErrorKind kind = ErrorKind::Located;
};

/// A value or a ConfigError; works with CIRRUS_TRY.
template <typename T>
class [[nodiscard]] Located {
 public:
  Located(T value)
      : state_(std::in_place_index<0>, std::move(value)) {
  }  // NOLINT(google-explicit-constructor): the point of the type
  Located(ConfigError failure)
      : state_(std::in_place_index<1>, std::move(failure)) {
  }  // NOLINT(google-explicit-constructor): the point of the type

  bool ok() const { return state_.index() == 0; }
  T& value() & {
    CIRRUS_CHECK(ok(), "value() of a failed Located");
    return std::get<0>(state_);
  }
  T&& value() && {
    CIRRUS_CHECK(ok(), "value() of a failed Located");
    return std::get<0>(std::move(state_));
  }
  const ConfigError& error() const& {
    CIRRUS_CHECK(!ok(), "error() of a good Located");
    return std::get<1>(state_);
  }
  ConfigError&& error() && {
    CIRRUS_CHECK(!ok(), "error() of a good Located");
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, ConfigError> state_;
};

/// Success without a value, or a ConfigError.
template <>
class [[nodiscard]] Located<void> {
 public:
  Located() = default;
  Located(ConfigError failure)
      : state_(std::in_place_index<1>, std::move(failure)) {
  }  // NOLINT(google-explicit-constructor): the point of the type

  bool ok() const { return state_.index() == 0; }
  void value() const { CIRRUS_CHECK(ok(), "value() of a failed Located"); }
  const ConfigError& error() const& {
    CIRRUS_CHECK(!ok(), "error() of a good Located");
    return std::get<1>(state_);
  }
  ConfigError&& error() && {
    CIRRUS_CHECK(!ok(), "error() of a good Located");
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<std::monostate, ConfigError> state_;
};

}  // namespace cirrus::lang
