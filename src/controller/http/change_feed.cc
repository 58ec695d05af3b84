// SPDX-License-Identifier: MIT
#include "controller/http/change_feed.h"

#include <algorithm>

namespace cirrus::controller::http {

bool ChangeFeed::update(std::map<std::string, std::string> items) {
  bool changed = false;
  for (auto known = items_.begin(); known != items_.end();) {
    if (items.contains(known->first)) {
      ++known;
      continue;
    }
    removed_[++generation_] = known->first;
    known = items_.erase(known);
    changed = true;
  }
  while (removed_.size() > kTombstones) {
    forgotten_ = removed_.begin()->first;
    removed_.erase(removed_.begin());
  }
  for (auto& [name, text] : items) {
    Item& item = items_[name];
    if (item.generation != 0 && item.text == text) continue;
    item.text = std::move(text);
    item.generation = ++generation_;
    changed = true;
  }
  return changed;
}

ChangeFeed::Changes ChangeFeed::since(std::uint64_t known) const {
  Changes answer;
  answer.generation = generation_;
  answer.reset = known == 0 || known > generation_ || known < forgotten_;
  if (answer.reset) known = 0;
  if (!answer.reset) {
    for (auto gone = removed_.upper_bound(known); gone != removed_.end(); ++gone) {
      if (!items_.contains(gone->second)) answer.changes.push_back({gone->second, ""});
    }
  }
  std::vector<std::pair<std::uint64_t, Change>> newer;
  for (const auto& [name, item] : items_) {
    if (item.generation > known) newer.push_back({item.generation, {name, item.text}});
  }
  std::sort(newer.begin(), newer.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [generation, change] : newer) answer.changes.push_back(std::move(change));
  return answer;
}

}  // namespace cirrus::controller::http
