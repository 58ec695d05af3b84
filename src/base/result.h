// SPDX-License-Identifier: MIT
// Result<T>: a value or the reason there is none, for everything the outside world can cause.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"

namespace cirrus {

/// What programs branch on. The numbers are gRPC's status codes, so that the two convert by cast.
enum class Code {
  Ok = 0,
  Cancelled = 1,
  Unknown = 2,
  InvalidArgument = 3,
  DeadlineExceeded = 4,
  NotFound = 5,
  AlreadyExists = 6,
  PermissionDenied = 7,
  ResourceExhausted = 8,
  FailedPrecondition = 9,
  Aborted = 10,
  OutOfRange = 11,
  Unimplemented = 12,
  Internal = 13,
  Unavailable = 14,
  DataLoss = 15,
  Unauthenticated = 16,
};

/// The code's name in lower snake case, such as `not_found`; `unknown` for a number without one.
std::string_view to_string(Code code);

/// Why something failed: a code for programs, one lower-case sentence for people, and the notes
/// callers added on the way up, innermost first.
class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::vector<std::string>& notes() const { return notes_; }

  /// Adds what the caller was doing; shown before everything that is there already.
  void add_note(std::string note) { notes_.push_back(std::move(note)); }

  /// The whole story, outermost note first: `starting task 12: image 'x' not found`.
  std::string to_string() const;

 private:
  Code code_;
  std::string message_;
  std::vector<std::string> notes_;
};

/// Makes an error: `return error(Code::NotFound, "image '{}' not found", name);`
template <typename... Args>
Error error(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// The code that fits an errno value (ENOENT is NotFound, EACCES PermissionDenied, ...).
Code code_of_errno(int number);

/// An error from a failed system call; the text of `number` is appended: `...: No such file`.
template <typename... Args>
Error errno_error(int number, fmt::format_string<Args...> format, Args&&... args);

/// A value or an Error. No conversion to bool, so that a Result<bool> cannot be misread.
template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  // Implicit on purpose: `return value;` and `return error(…);` are the point of the type.
  // NOLINTNEXTLINE(google-explicit-constructor): see above
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): see above
  Result(Error failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  bool ok() const { return state_.index() == 0; }

  T& value() & {
    CIRRUS_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(state_);
  }
  const T& value() const& {
    CIRRUS_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(state_);
  }
  T&& value() && {
    CIRRUS_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(std::move(state_));
  }
  /// The value, or `fallback` if there is none.
  T value_or(T fallback) && { return ok() ? std::get<0>(std::move(state_)) : std::move(fallback); }
  const Error& error() const& {
    CIRRUS_CHECK(!ok(), "error() of a good Result");
    return std::get<1>(state_);
  }
  Error&& error() && {
    CIRRUS_CHECK(!ok(), "error() of a good Result");
    return std::get<1>(std::move(state_));
  }

  /// Adds a note if this is a failure; free of cost if not (nothing is formatted).
  template <typename... Args>
  Result&& note(fmt::format_string<Args...> format, Args&&... args) && {
    if (!ok()) std::get<1>(state_).add_note(fmt::format(format, std::forward<Args>(args)...));
    return std::move(*this);
  }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): as above
  Result(Error failure) : failure_(std::move(failure)) {}

  bool ok() const { return !failure_.has_value(); }
  void value() const { CIRRUS_CHECK(ok(), "value() of a failed Result"); }
  const Error& error() const& {
    CIRRUS_CHECK(!ok(), "error() of a good Result");
    return *failure_;
  }
  Error&& error() && {
    CIRRUS_CHECK(!ok(), "error() of a good Result");
    return *std::move(failure_);
  }
  template <typename... Args>
  Result&& note(fmt::format_string<Args...> format, Args&&... args) && {
    if (failure_) failure_->add_note(fmt::format(format, std::forward<Args>(args)...));
    return std::move(*this);
  }

 private:
  std::optional<Error> failure_;
};

using Status = Result<void>;

namespace detail {
std::string errno_text(int number);
}  // namespace detail

template <typename... Args>
Error errno_error(int number, fmt::format_string<Args...> format, Args&&... args) {
  return Error(code_of_errno(number), fmt::format(format, std::forward<Args>(args)...) + ": " +
                                          detail::errno_text(number));
}

}  // namespace cirrus

/// Unwraps a Result or returns its Error from the enclosing function. A GNU statement expression:
/// both compilers we support have it, and it lets the macro stand inside an expression.
#define CIRRUS_TRY(expression) CIRRUS_TRY_NAMED_(expression, CIRRUS_TRY_NAME_(__COUNTER__))
#define CIRRUS_TRY_NAME_(counter) CIRRUS_TRY_JOIN_(counter)
#define CIRRUS_TRY_JOIN_(counter) cirrus_try_##counter
#define CIRRUS_TRY_NAMED_(expression, name)         \
  __extension__({                                   \
    auto name = (expression);                       \
    if (!name.ok()) return std::move(name).error(); \
    std::move(name).value();                        \
  })
