// SPDX-License-Identifier: MIT
#include "model/label_selector.h"

namespace cirrus::model {

Result<LabelSelector> LabelSelector::create(Labels wanted) {
  for (const auto& [key, value] : wanted) {
    if (key.empty()) return error(Code::InvalidArgument, "label with empty key, value '{}'", value);
    if (key.size() > kMaxBytes || value.size() > kMaxBytes) {
      return error(Code::InvalidArgument, "label '{:.32}' exceeds {} bytes", key, kMaxBytes);
    }
  }
  return LabelSelector(std::move(wanted));
}

std::optional<LabelMismatch> LabelSelector::first_mismatch(const Labels& offered) const {
  for (const auto& [key, value] : wanted_) {
    const auto found = offered.find(key);
    if (found == offered.end()) return LabelMismatch{key, value, std::nullopt};
    if (found->second != value) return LabelMismatch{key, value, found->second};
  }
  return std::nullopt;  // No demands: any worker will do. Tasks without labels rely on it.
}

std::size_t LabelSelector::mismatch_count(const Labels& offered) const {
  std::size_t count = 0;
  for (const auto& [key, value] : wanted_) {
    const auto found = offered.find(key);
    if (found == offered.end() || found->second != value) ++count;
  }
  return count;
}

}  // namespace cirrus::model
