// SPDX-License-Identifier: MIT
// A set of named texts, and what changed in it since anybody last looked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace cirrus::controller::http {

/// Each change gets the next generation; who knows generation N is told what is newer. So a client
/// that was slow, or away and back, gets the newest text of each thing and nothing twice. Not
/// thread-safe. Memory: one text per living name, and a name per removal (at most kTombstones; who
/// knows less than the oldest one kept starts from nothing).
class ChangeFeed {
 public:
  static constexpr std::size_t kTombstones = 4096;  ///< Ours.

  struct Change {
    std::string name;
    std::string text;  ///< empty: it is gone
  };
  struct Changes {
    std::uint64_t generation = 0;  ///< ask for what is newer than this next time
    bool reset = false;            ///< what was known before means nothing: everything follows
    std::vector<Change> changes;
  };

  /// Replaces the set; true if anything is different. O(size).
  bool update(std::map<std::string, std::string> items);
  /// What is newer than `known`; 0: all there is. A generation of the future (from before a
  /// restart of the controller) starts from nothing, too.
  Changes since(std::uint64_t known) const;
  std::uint64_t generation() const { return generation_; }

 private:
  struct Item {
    std::string text;
    std::uint64_t generation = 0;
  };
  std::map<std::string, Item> items_;
  std::map<std::uint64_t, std::string> removed_;
  std::uint64_t generation_ = 0;
  std::uint64_t forgotten_ = 0;  ///< the newest removal that is not kept
};

}  // namespace cirrus::controller::http
