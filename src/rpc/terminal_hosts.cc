// SPDX-License-Identifier: MIT
#include "rpc/terminal_hosts.h"

#include <algorithm>
#include <utility>

#include "base/ids.h"

namespace cirrus::rpc {
namespace {

Error unknown_locator() {
  return error(Code::NotFound, "no terminal has this locator");
}

Error wrong_secret() {
  return error(Code::Unauthenticated, "that is not this terminal's secret");
}

}  // namespace

TerminalHosts::~TerminalHosts() {
  const auto left = entries_->with([](auto& entries) { return std::exchange(entries, {}); });
  for (const auto& [locator, entry] : left) {
    if (entry.listener != 0) hub_.remove_listener(prefix_ + entry.task, entry.listener);
  }
}

Result<std::string> TerminalHosts::add(Host host) {
  const std::size_t size = host.secret.reveal().size();
  if (size == 0 || size > kLongestSecret) {
    return error(Code::InvalidArgument, "a terminal's secret has 1 to {} bytes", kLongestSecret);
  }
  std::string locator = random_hex(32);
  entries_->with([&](auto& entries) {
    Entry entry;
    entry.host = std::move(host);
    entries.emplace(locator, std::move(entry));
  });
  return locator;
}

void TerminalHosts::remove(const std::string& locator) {
  const auto gone = entries_->with([&locator](auto& entries) { return entries.extract(locator); });
  if (gone.empty() || gone.mapped().listener == 0) return;
  hub_.remove_listener(prefix_ + gone.mapped().task, gone.mapped().listener);
}

Status TerminalHosts::claim(const std::string& locator, std::string_view secret,
                            const std::string& task, std::function<bool()> alive) {
  std::function<void()> on_replaced;
  const bool fresh = CIRRUS_TRY(entries_->with([&](auto& entries) -> Result<bool> {
    const auto found = entries.find(locator);
    if (found == entries.end()) return unknown_locator();
    Entry& entry = found->second;
    if (!entry.host.secret.matches(secret)) return wrong_secret();
    if (entry.task == task) return false;
    if (!entry.task.empty()) {
      return error(Code::FailedPrecondition, "this terminal is another task's");
    }
    for (auto& [other, older] : entries) {
      if (older.task != task || !older.alive) continue;
      older.alive = nullptr;
      on_replaced = older.host.on_replaced;
    }
    entry.task = task;
    entry.alive = std::move(alive);
    entry.host.place.leave();
    return true;
  }));
  if (!fresh) return {};
  if (on_replaced) on_replaced();
  const std::uint64_t listener = hub_.add_listener(
      prefix_ + task,
      [entries = entries_, locator](const ShellOrder& one) { order(*entries, locator, one); });
  const bool still_there = entries_->with([&](auto& entries) {
    const auto found = entries.find(locator);
    if (found != entries.end()) found->second.listener = listener;
    return found != entries.end();
  });
  if (!still_there) hub_.remove_listener(prefix_ + task, listener);
  return {};
}

TerminalHosts::Standing TerminalHosts::standing(const std::string& locator) const {
  std::function<bool()> alive;
  const bool unclaimed = entries_->with([&](auto& entries) {
    const auto found = entries.find(locator);
    if (found == entries.end()) return false;
    alive = found->second.alive;
    return found->second.task.empty();
  });
  if (unclaimed) return Standing::Unclaimed;
  return alive && alive() ? Standing::Claimed : Standing::Over;
}

Result<std::string> TerminalHosts::task_of(const std::string& locator,
                                           std::string_view secret) const {
  return entries_->with([&](auto& entries) -> Result<std::string> {
    const auto found = entries.find(locator);
    if (found == entries.end()) return unknown_locator();
    if (!found->second.host.secret.matches(secret)) return wrong_secret();
    if (!found->second.alive) return unknown_locator();  // unclaimed, or replaced
    return found->second.task;
  });
}

Result<std::shared_ptr<ByteChannel>> TerminalHosts::open(const std::string& task,
                                                         const ShellOrder& order, ShellTap tap) {
  return hub_.open(prefix_ + task, order, std::move(tap));
}

void TerminalHosts::order(Entries& entries, const std::string& locator, const ShellOrder& order) {
  const auto on_order = entries.with([&](auto& all) -> std::function<void(const ShellOrder&)> {
    const auto found = all.find(locator);
    if (found == all.end()) return nullptr;
    std::deque<std::string>& tokens = found->second.tokens;
    tokens.push_back(order.session());
    if (tokens.size() > kMostTokens) tokens.pop_front();
    return found->second.host.on_order;
  });
  if (on_order) on_order(order);
}

Status TerminalHosts::carry(const std::string& locator, const std::string& token,
                            ByteChannel& peer) {
  const bool taken = entries_->with([&](auto& entries) {
    const auto found = entries.find(locator);
    return found != entries.end() && std::erase(found->second.tokens, token) > 0;
  });
  if (!taken) return error(Code::NotFound, "no shell was ordered with this locator and token");
  return hub_.carry(token, peer);
}

void name_terminal_server(org::cirruslabs::ci::services::cirruscigrpc::CommandsResponse& commands,
                          const std::string& api_endpoint) {
  for (auto& command : *commands.mutable_commands()) {
    if (!command.has_wait_for_terminal_instruction()) continue;
    command.mutable_wait_for_terminal_instruction()->set_terminal_server_address(api_endpoint);
  }
}

}  // namespace cirrus::rpc
