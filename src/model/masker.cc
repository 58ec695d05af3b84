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
  if (starts_.empty()) {
    starts_.assign(kPairs, 0);
    // What follows tells whether it is one.
    for (std::size_t second = 0; second < 256; ++second) {
      starts_[pair_of(ControlSequences::kEscape, static_cast<unsigned char>(second))] = 1;
    }
    first_bytes_.set(ControlSequences::kEscape);
  }
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
  // A control sequence may stand between the first and the second.
  starts_[pair_of(first, ControlSequences::kEscape)] = 1;
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

// Source: ECMA-48: `ESC [`, parameters and intermediates, a final byte; or ESC, intermediates and a
// final byte.
bool ControlSequences::take(unsigned char byte) {
  if (byte == kEscape) {
    length_ = 1;
    csi_ = false;
    return true;
  }
  if (length_ == 0) return false;
  const bool is_final = byte >= (csi_ ? 0x40 : 0x30) && byte <= 0x7E;
  const bool goes_on = byte >= 0x20 && byte < 0x40;
  if (length_ == 1 && byte == '[') {
    csi_ = true;
  } else if (is_final) {
    length_ = 0;
    return true;
  } else if (!goes_on || length_ == kLongest) {
    length_ = 0;
    return false;
  }
  ++length_;
  return true;
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
    if (state_ == PatternSet::kRoot && !apart_) {
      at += patterns_->skip(bytes.substr(at));
      if (at == bytes.size()) break;
    }
    const auto byte = static_cast<unsigned char>(bytes[at]);
    if (byte == ControlSequences::kEscape && !std::exchange(apart_, true)) shown_ = state_;
    state_ = patterns_->step(state_, byte);
    ++at;
    if (const std::size_t length = patterns_->match_length(state_); length != 0) {
      add_match({base + at - length, base + at});
    }
    if (apart_) step_shown(byte, base + at);
  }
  const std::size_t end = base + bytes.size();
  std::size_t decided = end - patterns_->depth(state_);
  if (apart_) decided = std::min(decided, begin_of_shown(end, patterns_->depth(shown_)));
  release(decided, bytes, out);
}

void Masker::step_shown(unsigned char byte, std::size_t at) {
  if (sequences_.take(byte)) {
    if (shown_ == PatternSet::kRoot) {  // nothing reaches over it
      apart_ = sequences_.inside() || state_ != PatternSet::kRoot;
      return;
    }
    const bool grows = !gaps_.empty() && gaps_.back().end == at - 1;
    if (grows) {
      gaps_.back().end = at;
    } else {
      gaps_.push_back({at - 1, at});
    }
  } else {
    shown_ = patterns_->step(shown_, byte);
    if (const std::size_t length = patterns_->match_length(shown_); length != 0) {
      add_match({begin_of_shown(at, length), at});
    }
  }
  const std::size_t begin = begin_of_shown(at, patterns_->depth(shown_));
  while (!gaps_.empty() && gaps_.front().end <= begin) gaps_.pop_front();
  apart_ = sequences_.inside() || !gaps_.empty() || shown_ != state_;
}

std::size_t Masker::begin_of_shown(std::size_t end, std::size_t length) const {
  if (length == 0) return end;
  std::size_t begin = end;
  for (auto gap = gaps_.rbegin(); gap != gaps_.rend(); ++gap) {
    const std::size_t between = begin - gap->end;
    if (length <= between) break;
    length -= between;
    begin = gap->begin;
  }
  return begin - length;
}

void Masker::finish(std::string& out) {
  release(held_.size(), {}, out);
  state_ = PatternSet::kRoot;
  shown_ = PatternSet::kRoot;
  sequences_ = {};
  gaps_.clear();
  apart_ = false;
}

void Masker::replace_patterns(std::shared_ptr<const PatternSet> patterns, std::string& out) {
  // A match that is complete stays one: only the undecided tail is looked at again.
  const std::size_t decided = matches_.empty() ? hidden_until_ : matches_.back().end;
  release(decided, {}, out);
  const std::string again = std::exchange(held_, {});
  patterns_ = std::move(patterns);
  state_ = PatternSet::kRoot;
  shown_ = PatternSet::kRoot;
  hidden_until_ = 0;
  gaps_.clear();
  // The tail begins with text; without one the stream may stand within a sequence.
  if (!again.empty()) sequences_ = {};
  apart_ = sequences_.inside();
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
  for (std::deque<Span>* spans : {&matches_, &gaps_}) {
    for (Span& span : *spans) {
      span.begin -= released;
      span.end -= released;
    }
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
