// SPDX-License-Identifier: MIT
#include "model/masker.h"

#include <algorithm>
#include <utility>

namespace cirrus::model {
namespace {

constexpr std::size_t kPairs = 1U << 16U;

std::size_t pair_of(unsigned char first, unsigned char second) {
  return (static_cast<std::size_t>(first) << 8U) | second;
}

}  // namespace

PatternSet::PatternSet(const std::vector<std::string>& patterns) : states_(1) {
  for (const std::string& pattern : patterns) insert(pattern);
  link_failures();
}

PatternSet::State PatternSet::child(State state, unsigned char byte) const {
  if (state == kRoot) return root_children_[byte];
  State next = states_[state].first_child;
  while (next != 0 && states_[next].byte != byte) next = states_[next].next_sibling;
  return next;
}

void PatternSet::insert(std::string_view pattern) {
  if (pattern.empty()) return;
  if (starts_.empty()) starts_.assign(kPairs, 0);
  State state = kRoot;
  for (const char c : pattern) {
    const auto byte = static_cast<unsigned char>(c);
    State next = child(state, byte);
    if (next == 0) {
      next = static_cast<State>(states_.size());
      Node node;
      node.byte = byte;
      node.depth = states_[state].depth + 1;
      node.next_sibling = states_[state].first_child;
      states_.push_back(node);
      states_[state].first_child = next;
      if (state == kRoot) root_children_[byte] = next;
    }
    state = next;
  }
  states_[state].match = static_cast<std::uint32_t>(pattern.size());
  const auto first = static_cast<unsigned char>(pattern[0]);
  first_bytes_.set(first);
  if (pattern.size() == 1) {
    for (std::size_t second = 0; second < 256; ++second) {
      starts_[pair_of(first, static_cast<unsigned char>(second))] = 1;
    }
  } else {
    starts_[pair_of(first, static_cast<unsigned char>(pattern[1]))] = 1;
  }
}

void PatternSet::link_failures() {
  std::deque<State> open;
  for (State state = states_[kRoot].first_child; state != 0; state = states_[state].next_sibling) {
    open.push_back(state);
  }
  while (!open.empty()) {
    const State state = open.front();
    open.pop_front();
    // A longer match ends here only if the whole path is one; else the suffix may hold one.
    Node& node = states_[state];
    node.match = std::max(node.match, states_[node.failure].match);
    for (State next = node.first_child; next != 0; next = states_[next].next_sibling) {
      State fallback = states_[state].failure;
      const unsigned char byte = states_[next].byte;
      while (fallback != kRoot && child(fallback, byte) == 0) fallback = states_[fallback].failure;
      states_[next].failure = child(fallback, byte);
      open.push_back(next);
    }
  }
}

PatternSet::State PatternSet::step(State state, unsigned char byte) const {
  for (;;) {
    const State next = child(state, byte);
    if (next != 0) return next;
    if (state == kRoot) return kRoot;
    state = states_[state].failure;
  }
}

std::size_t PatternSet::skip(std::string_view text) const {
  if (text.empty()) return 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const std::uint8_t* starts = starts_.data();
  const std::size_t last = text.size() - 1;
  std::size_t at = 0;
  for (; at + 8 <= last; at += 8) {
    unsigned hit = 0;
    for (std::size_t i = 0; i < 8; ++i) hit |= starts[pair_of(bytes[at + i], bytes[at + i + 1])];
    if (hit != 0) break;
  }
  for (; at < last; ++at) {
    if (starts[pair_of(bytes[at], bytes[at + 1])] != 0) return at;
  }
  // The last byte has no successor yet; its first-byte test decides.
  return first_bytes_.test(bytes[last]) ? last : text.size();
}

void Masker::feed(std::string_view bytes, std::string& out) {
  if (bytes.empty()) return;
  if (patterns_->empty()) {
    out.append(bytes);
    return;
  }
  const std::size_t base = held_.size();
  std::size_t at = 0;
  while (at < bytes.size()) {
    if (state_ == PatternSet::kRoot) {
      at += patterns_->skip(bytes.substr(at));
      if (at == bytes.size()) break;
    }
    state_ = patterns_->step(state_, static_cast<unsigned char>(bytes[at]));
    ++at;
    if (const std::size_t length = patterns_->match_length(state_); length != 0) {
      add_match({base + at - length, base + at});
    }
  }
  release(base + bytes.size() - patterns_->depth(state_), bytes, out);
}

void Masker::finish(std::string& out) {
  release(held_.size(), {}, out);
  state_ = PatternSet::kRoot;
}

void Masker::replace_patterns(std::shared_ptr<const PatternSet> patterns, std::string& out) {
  // A match that is complete stays one: only the undecided tail is looked at again.
  const std::size_t decided = matches_.empty() ? hidden_until_ : matches_.back().end;
  release(decided, {}, out);
  const std::string again = std::exchange(held_, {});
  patterns_ = std::move(patterns);
  state_ = PatternSet::kRoot;
  hidden_until_ = 0;
  feed(again, out);
}

void Masker::add_match(Span match) {
  while (!matches_.empty() && match.begin < matches_.back().end) {
    match.begin = std::min(match.begin, matches_.back().begin);
    matches_.pop_back();
  }
  matches_.push_back(match);
}

void Masker::release(std::size_t limit, std::string_view fresh, std::string& out) {
  std::size_t released = 0;
  for (;;) {
    // What overlaps a mark already written only makes that mark cover more.
    while (!matches_.empty() && matches_.front().begin < hidden_until_) {
      hidden_until_ = std::max(hidden_until_, matches_.front().end);
      matches_.pop_front();
    }
    if (released < hidden_until_) released = std::min(limit, hidden_until_);
    if (released >= limit) break;
    const bool last = matches_.empty() || matches_.front().begin >= limit;
    const std::size_t until = last ? limit : matches_.front().begin;
    copy(released, until, fresh, out);
    released = until;
    if (last) break;
    out.append(kMaskText);
    hidden_until_ = matches_.front().end;
    matches_.pop_front();
  }
  if (released >= held_.size()) {
    held_.assign(fresh.substr(released - held_.size()));
  } else {
    held_.erase(0, released).append(fresh);
  }
  hidden_until_ -= std::min(hidden_until_, released);
  for (Span& match : matches_) {
    match.begin -= released;
    match.end -= released;
  }
}

void Masker::copy(std::size_t begin, std::size_t end, std::string_view fresh,
                  std::string& out) const {
  const std::size_t held = held_.size();
  if (begin < held) out.append(held_, begin, std::min(end, held) - begin);
  if (end > held) {
    const std::size_t from = begin > held ? begin - held : 0;
    out.append(fresh.substr(from, end - held - from));
  }
}

std::string mask(const std::shared_ptr<const PatternSet>& patterns, std::string_view text) {
  std::string masked;
  Masker masker(patterns);
  masker.feed(text, masked);
  masker.finish(masked);
  return masked;
}

}  // namespace cirrus::model
