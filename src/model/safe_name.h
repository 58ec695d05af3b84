// SPDX-License-Identifier: MIT
// Names that come from outside and end up in keys, paths and messages.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cirrus::model {

/// A name that is safe as a path component, in a URL and on a terminal: 1 to 128 characters of
/// `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
class SafeName {
 public:
  static constexpr std::size_t kMaxBytes = 128;  ///< Ours.
  /// Errors: InvalidArgument, naming `what` and the first character that is not allowed.
  static Result<SafeName> create(std::string_view text, std::string_view what);

  const std::string& text() const { return text_; }
  friend auto operator<=>(const SafeName&, const SafeName&) = default;

 private:
  explicit SafeName(std::string text) : text_(std::move(text)) {}
  std::string text_;  // constant after construction
};

/// `owner/name` of a source repository; both halves are safe names.
class RepositoryName {
 public:
  /// Errors: InvalidArgument unless there are exactly two safe parts; `name` may not end in `.git`.
  static Result<RepositoryName> create(std::string_view text);

  const std::string& owner() const { return owner_.text(); }
  const std::string& name() const { return name_.text(); }
  std::string full() const { return owner() + "/" + name(); }
  friend auto operator<=>(const RepositoryName&, const RepositoryName&) = default;

 private:
  RepositoryName(SafeName owner, SafeName name)
      : owner_(std::move(owner)), name_(std::move(name)) {}
  SafeName owner_;
  SafeName name_;
};

/// A worker's name, chosen on its host: 1 to 256 bytes without control characters. It is a key and
/// shown to people, never a path.
/// Errors: InvalidArgument.
Status check_worker_name(std::string_view text);

/// A git branch or tag as sent by a client: not empty, at most 512 bytes, and of the form git
/// itself demands (`git check-ref-format --branch`). Errors: InvalidArgument.
Status check_ref_name(std::string_view text);

/// A full object id: 40 or 64 lower-case hex digits. Errors: InvalidArgument.
Status check_commit(std::string_view text);

}  // namespace cirrus::model
