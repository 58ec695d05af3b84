// SPDX-License-Identifier: MIT
// Newcomers: callers that have a stream and have not yet shown who they are.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "base/guarded.h"
#include "base/result.h"

namespace cirrus::rpc {

/// Counts them, so that nobody can fill a server with streams that say nothing. Thread-safe.
class Newcomers {
 public:
  /// Ours: of all addresses together.
  static constexpr std::size_t kMost = 128;
  /// Ours: of one address. A network may stand behind it.
  static constexpr std::size_t kMostOfOne = 32;

 private:
  using Counts = Guarded<std::map<std::string, std::size_t>>;

 public:
  /// One of them, until it goes or leaves.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept = default;
    Place& operator=(Place&& other) noexcept;
    ~Place() { leave(); }
    /// The caller is known now, or gone. Safe to repeat.
    void leave();

   private:
    friend class Newcomers;
    Place(std::shared_ptr<Counts> counts, std::string address)
        : counts_(std::move(counts)), address_(std::move(address)) {}
    std::shared_ptr<Counts> counts_;  // null: left
    std::string address_;
  };

  /// `peer` as the library names it: `ipv4:10.0.0.1:5000`. Errors: ResourceExhausted.
  Result<Place> enter(const std::string& peer);

 private:
  const std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

}  // namespace cirrus::rpc
