// SPDX-License-Identifier: MIT
#include "rpc/newcomers.h"

#include <utility>

namespace cirrus::rpc {
namespace {

/// Without the port, which is another one each time.
std::string address_of(const std::string& peer) {
  const std::size_t port = peer.rfind(':');
  return port == std::string::npos || !peer.starts_with("ip") ? peer : peer.substr(0, port);
}

}  // namespace

Newcomers::Place& Newcomers::Place::operator=(Place&& other) noexcept {
  if (this == &other) return *this;
  leave();
  counts_ = std::move(other.counts_);
  address_ = std::move(other.address_);
  return *this;
}

void Newcomers::Place::leave() {
  const std::shared_ptr<Counts> counts = std::exchange(counts_, nullptr);
  if (!counts) return;
  counts->with([this](auto& by_address) {
    const auto found = by_address.find(address_);
    if (--found->second == 0) by_address.erase(found);
  });
}

Result<Newcomers::Place> Newcomers::enter(const std::string& peer) {
  const std::string address = address_of(peer);
  const bool entered = counts_->with([&address](auto& by_address) {
    std::size_t all = 0;
    for (const auto& [one, count] : by_address) all += count;
    const auto found = by_address.find(address);
    if (all >= kMost || (found != by_address.end() && found->second >= kMostOfOne)) return false;
    ++by_address[address];
    return true;
  });
  if (!entered) {
    return error(Code::ResourceExhausted, "too many callers have not said who they are: try later");
  }
  return Place(counts_, address);
}

}  // namespace cirrus::rpc
