// SPDX-License-Identifier: MIT
// The masking rule without cleverness: what the streaming masker is compared with.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "model/masker.h"

namespace cirrus::model::testing {

/// Every byte of every occurrence is hidden; occurrences that overlap share one mark.
inline std::string plain_mask(const std::vector<std::string>& patterns, const std::string& text) {
  std::vector<std::pair<std::size_t, std::size_t>> spans;
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::size_t longest = 0;
    for (const std::string& pattern : patterns) {
      if (text.compare(at, pattern.size(), pattern) == 0) {
        longest = std::max(longest, pattern.size());
      }
    }
    if (longest == 0) continue;
    if (!spans.empty() && at < spans.back().second) {
      spans.back().second = std::max(spans.back().second, at + longest);
    } else {
      spans.emplace_back(at, at + longest);
    }
  }
  std::string out;
  std::size_t done = 0;
  for (const auto& [begin, end] : spans) {
    out += text.substr(done, begin - done);
    out += kMaskText;
    done = end;
  }
  return out + text.substr(done);
}

}  // namespace cirrus::model::testing
