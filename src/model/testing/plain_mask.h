// SPDX-License-Identifier: MIT
// The masking rule without cleverness: what the streaming masker is compared with.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "model/masker.h"

namespace cirrus::model::testing {

/// Where the bytes are that a terminal shows: all but those of its control sequences.
inline std::vector<std::size_t> shown_bytes(const std::string& text) {
  const auto within = [&text](std::size_t at, unsigned least, unsigned most) {
    const unsigned byte = at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    return byte >= least && byte <= most;
  };
  std::vector<std::size_t> shown;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '\x1B') {
      shown.push_back(at++);
      continue;
    }
    const std::size_t limit = at + ControlSequences::kLongest;
    const bool csi = within(++at, '[', '[');
    if (csi) ++at;
    while (at < limit && within(at, 0x20, csi ? 0x3F : 0x2F)) ++at;
    if (within(at, csi ? 0x40 : 0x30, 0x7E)) ++at;
  }
  return shown;
}

/// Every byte of every occurrence is hidden, be it one in the text or one that a terminal shows;
/// occurrences that overlap share one mark.
inline std::string plain_mask(const std::vector<std::string>& patterns, const std::string& text) {
  std::vector<std::size_t> all(text.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (const std::vector<std::size_t>& places : {all, shown_bytes(text)}) {
    std::string seen;
    for (const std::size_t place : places) seen += text[place];
    for (const std::string& pattern : patterns) {
      if (pattern.empty()) continue;
      for (std::size_t at = 0; at + pattern.size() <= seen.size(); ++at) {
        if (seen.compare(at, pattern.size(), pattern) != 0) continue;
        found.emplace_back(places[at], places[at + pattern.size() - 1] + 1);
      }
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<std::pair<std::size_t, std::size_t>> spans;
  for (const auto& [begin, end] : found) {
    if (!spans.empty() && begin < spans.back().second) {
      spans.back().second = std::max(spans.back().second, end);
    } else {
      spans.emplace_back(begin, end);
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
