// SPDX-License-Identifier: MIT
// Encrypted values among the variables of a task.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controller/secrets/secret_box.h"

namespace cirrus::controller::secrets {

/// A variable that stays unset, and why.
struct Unopened {
  std::string name;
  std::string reason;  ///< a clause: `it was not encrypted by this controller`
};

/// Takes every encrypted value the task may not see out of `variables` (any map of strings):
/// without `trusted` all of them, else those that do not open. What stays in is still sealed.
/// Returns what was taken out, in the map's order.
template <typename Map>
std::vector<Unopened> remove_unopened(Map& variables, const SecretBox& box,
                                      std::string_view repository, bool trusted) {
  std::vector<Unopened> removed;
  for (auto it = variables.begin(); it != variables.end();) {
    const std::string& value = it->second;
    if (!looks_encrypted(value)) {
      ++it;
      continue;
    }
    const Result<Secret> opened = box.open_value(repository, value);
    if (trusted && opened.ok()) {
      ++it;
      continue;
    }
    removed.push_back({it->first, opened.ok() ? "this build's token is not trusted with secrets"
                                              : opened.error().message()});
    it = variables.erase(it);
  }
  return removed;
}

/// Opens the values that stayed, in place. Returns them, to be masked.
template <typename Map>
std::vector<std::string> open_values(Map& variables, const SecretBox& box,
                                     std::string_view repository) {
  std::vector<std::string> opened_values;
  for (auto it = variables.begin(); it != variables.end();) {
    if (!looks_encrypted(it->second)) {
      ++it;
      continue;
    }
    Result<Secret> opened = box.open_value(repository, it->second);
    if (!opened.ok()) {
      // Only after the key was changed: unset, as at submission.
      it = variables.erase(it);
      continue;
    }
    opened_values.push_back(opened.value().reveal());
    it->second = opened.value().reveal();
    ++it;
  }
  return opened_values;
}

/// The line (1-based) where `name` is given an encrypted value in the text of a configuration; 0 if
/// it is not found, because it came from elsewhere. Ours: the evaluated task no longer knows.
int line_of_encrypted(std::string_view configuration, std::string_view name);

}  // namespace cirrus::controller::secrets
