// SPDX-License-Identifier: MIT
// Which byte strings of a task must not appear in its logs.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/masker.h"

namespace cirrus::model {

/// Ours: shorter values would hide half of every log.
inline constexpr std::size_t kShortestSecret = 4;

/// The forms in which `secret` is searched for: itself, each line of it, base64 at the three
/// alignments (both alphabets), URL-, JSON- and
/// shell-escaped. Only forms of kShortestSecret bytes or more.
std::vector<std::string> secret_forms(std::string_view secret);

/// True for names whose values are secrets: `_PASSWORD`, `_SECRET`, `_TOKEN`, `_ACCESS_KEY`,
/// `_SECRET_KEY` at the end. Source: reference agent.
bool is_secret_name(std::string_view name);

/// Collects secrets and builds the automaton when it is asked for. Main thread only.
class Secrets {
 public:
  /// True if the value is new and long enough to be searched for.
  bool add(std::string_view value);
  /// Adds the values of all variables with a secret's name. True if any is new.
  bool add_named(const std::map<std::string, std::string, std::less<>>& variables);
  /// Whether any value was left out because it is too short.
  bool has_short_ones() const { return has_short_ones_; }
  std::shared_ptr<const PatternSet> patterns();

 private:
  std::set<std::string, std::less<>> values_;
  bool has_short_ones_ = false;
  std::shared_ptr<const PatternSet> built_;  // null: values were added since
};

/// For a stream in which these values, if they are long enough, are secrets.
Masker masker_for(const std::vector<std::string>& secrets);

}  // namespace cirrus::model
