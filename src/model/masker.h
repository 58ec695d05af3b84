// SPDX-License-Identifier: MIT
// Masking: finding secrets in a byte stream, wherever the stream is cut.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cirrus::model {

/// Written where a secret was. Source: reference agent; scripts and people look for it.
inline constexpr std::string_view kMaskText = "HIDDEN-BY-CIRRUS-CI";

/// An Aho-Corasick automaton over a set of byte strings. Immutable, shared between threads.
class PatternSet {
 public:
  /// Empty strings are left out. Cost: about 24 bytes per byte of pattern.
  explicit PatternSet(const std::vector<std::string>& patterns);

  bool empty() const { return states_.size() == 1; }

  using State = std::uint32_t;
  static constexpr State kRoot = 0;
  State step(State state, unsigned char byte) const;
  /// The length of the longest pattern that begins a match in `state`: how many of the bytes read
  /// last are a prefix of some pattern.
  std::size_t depth(State state) const { return states_[state].depth; }
  /// The length of the longest pattern that ends here; 0 if none does.
  std::size_t match_length(State state) const { return states_[state].match; }
  /// The first position in `text` from which the automaton has to look: everything before it can
  /// be part of no match and of no control sequence. text.size() if there is none.
  std::size_t skip(std::string_view text) const;

 private:
  struct Node {
    State failure = kRoot;
    State first_child = 0;  // 0: none, because the root is nobody's child
    State next_sibling = 0;
    std::uint32_t depth = 0;
    std::uint32_t match = 0;
    unsigned char byte = 0;
  };
  State child(State state, unsigned char byte) const;
  void insert(std::string_view pattern);
  void link_failures();

  std::vector<Node> states_;
  std::array<State, 256> root_children_{};
  // Which pairs of bytes start a pattern. Reading it does not depend on the byte before, which is
  // what makes text without secrets fast.
  std::vector<std::uint8_t> starts_;
  std::bitset<256> first_bytes_;
};

/// Tells a terminal's control sequences (`ESC [ 1 m`, `ESC ( B`) from text. Immutable but for where
/// it stands. One that is broken or longer than kLongest ends where it breaks.
class ControlSequences {
 public:
  static constexpr std::size_t kLongest = 64;
  static constexpr unsigned char kEscape = 0x1B;

  /// Whether `byte`, the next of a stream, belongs to a sequence.
  bool take(unsigned char byte);
  bool inside() const { return length_ > 0; }

 private:
  std::size_t length_ = 0;  // bytes of the sequence so far
  bool csi_ = false;        // ESC [
};

/// Masks one stream. Bytes are held back only while they are a live prefix of some secret, until
/// they match, fail or the stream ends. Every byte that belongs to any occurrence of any secret is
/// hidden; occurrences that overlap become one kMaskText. A secret that a terminal would show is
/// one, too: control sequences between its bytes (colours) do not count. Not thread-safe.
class Masker {
 public:
  explicit Masker(std::shared_ptr<const PatternSet> patterns) : patterns_(std::move(patterns)) {}

  /// Appends to `out` what of the stream is decided by now.
  void feed(std::string_view bytes, std::string& out);
  /// Appends the rest: the stream has ended.
  void finish(std::string& out);
  /// Uses other patterns from here on; bytes held back are looked at again with them.
  void replace_patterns(std::shared_ptr<const PatternSet> patterns, std::string& out);

 private:
  struct Span {
    std::size_t begin;
    std::size_t end;
  };
  void add_match(Span match);
  /// What a terminal shows goes through an automaton of its own from the first control sequence in
  /// a live prefix until both say the same again.
  void step_shown(unsigned char byte, std::size_t at);
  /// Where the last `length` shown bytes before `end` begin.
  std::size_t begin_of_shown(std::size_t end, std::size_t length) const;
  /// Hands out everything before `limit`; `view` is held bytes and new bytes seen as one text.
  void release(std::size_t limit, std::string_view fresh, std::string& out);
  void copy(std::size_t begin, std::size_t end, std::string_view fresh, std::string& out) const;

  std::shared_ptr<const PatternSet> patterns_;
  PatternSet::State state_ = PatternSet::kRoot;
  PatternSet::State shown_ = PatternSet::kRoot;  // over what is no control sequence
  ControlSequences sequences_;
  bool apart_ = false;  // whether shown_ may differ from state_; else only state_ is kept
  // Positions count from the first byte of `held_`; the bytes of the present feed() follow it.
  std::string held_;
  std::deque<Span> matches_;      // undisclosed, in order, disjoint
  std::deque<Span> gaps_;         // control sequences that shown_ may reach over
  std::size_t hidden_until_ = 0;  // bytes before this belong to a mark already written
};

/// A whole text, masked.
std::string mask(const std::shared_ptr<const PatternSet>& patterns, std::string_view text);

}  // namespace cirrus::model
