// SPDX-License-Identifier: MIT
// BytePipe: bytes from one thread to another, never more than a little at a time.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/guarded.h"
#include "base/result.h"

namespace cirrus::rpc {

/// One writer, one reader. Either may leave at any time; the other then does not wait any more.
class BytePipe {
 public:
  /// Ours: enough to keep both sides busy, little enough for many transfers at once.
  static constexpr std::size_t kCapacity = 1U << 20U;

  /// Waits for room. False: the reader has left.
  bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t taken = state_.wait(
          StopToken(),
          [](const State& state) { return state.reader_left || state.bytes.size() < kCapacity; },
          [bytes](State& state, bool) -> std::size_t {
            if (state.reader_left) return 0;
            const std::size_t room = std::min(bytes.size(), kCapacity - state.bytes.size());
            state.bytes.append(bytes.substr(0, room));
            return room;
          });
      if (taken == 0) return false;
      state_.notify_all();
      bytes.remove_prefix(taken);
    }
    return true;
  }
  /// Nothing more comes; `status` is what the reader hears after the last byte.
  void close(Status status) {
    state_.update([&](State& state) {
      if (!state.end) state.end = std::move(status);
    });
  }
  /// The next bytes; empty at the end. Errors: what the writer closed with.
  Result<std::string> read() {
    Result<std::string> bytes = state_.wait(
        StopToken(), [](const State& state) { return state.end || !state.bytes.empty(); },
        [](State& state, bool) -> Result<std::string> {
          if (!state.bytes.empty()) return std::exchange(state.bytes, {});
          if (!state.end->ok()) return state.end->error();
          return std::string();
        });
    state_.notify_all();
    return bytes;
  }
  /// As read(), into a buffer; 0 at the end and after an error.
  std::size_t read_into(char* buffer, std::size_t room) {
    const std::size_t count = state_.wait(
        StopToken(), [](const State& state) { return state.end || !state.bytes.empty(); },
        [&](State& state, bool) {
          const std::size_t size = std::min(room, state.bytes.size());
          std::memcpy(buffer, state.bytes.data(), size);
          state.bytes.erase(0, size);
          return size;
        });
    state_.notify_all();
    return count;
  }
  void reader_leaves() {
    state_.update([](State& state) { state.reader_left = true; });
  }

 private:
  struct State {
    std::string bytes;
    std::optional<Status> end;
    bool reader_left = false;
  };
  Guarded<State> state_;
};

}  // namespace cirrus::rpc
