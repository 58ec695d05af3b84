// SPDX-License-Identifier: MIT
// TerminalHosts: agents of the reference that offer a terminal. Source: protocol §11.
//
//   host --hello{secret}--> add: a locator           nobody can use it yet
//   agent --{locator, secret}, with its task's credential--> claim: listens on the hub
//   hub.open --order--> host ... carry(locator, token) <== one shell's bytes ==> person
//
// A host shows no credential of its task: what makes it the task's is the claim.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/guarded.h"
#include "base/result.h"
#include "base/secret.h"
#include "cirrus_agent.pb.h"
#include "rpc/newcomers.h"
#include "rpc/shell_hub.h"

namespace cirrus::rpc {

/// Thread-safe.
class TerminalHosts {
 public:
  /// Ours: the reference's has 64 digits.
  static constexpr std::size_t kLongestSecret = 256;
  /// Ours: orders that a host has been given and has not come for.
  static constexpr std::size_t kMostTokens = 16;

  /// `hub` must outlive it. Orders for a task go to the target `prefix` + its id.
  TerminalHosts(ShellHub& hub, std::string prefix) : hub_(hub), prefix_(std::move(prefix)) {}
  ~TerminalHosts();
  TerminalHosts(const TerminalHosts&) = delete;
  TerminalHosts& operator=(const TerminalHosts&) = delete;

  struct Host {
    Secret secret;
    /// Counts as a newcomer's until a task claims the host.
    Newcomers::Place place;
    /// Called from the orderer's thread; must not block.
    std::function<void(const ShellOrder&)> on_order;
    /// Another host has taken over its task. Must not block.
    std::function<void()> on_replaced;
  };
  /// Answers the host's locator. Errors: InvalidArgument for a secret that is none.
  Result<std::string> add(Host host);
  /// Of a host that is gone; its open shells go on.
  void remove(const std::string& locator);

  /// The host is the task's, whose newest one counts; the same claim may be repeated. `alive` says
  /// whether the task still runs; thread-safe. Errors: NotFound; Unauthenticated;
  /// FailedPrecondition if it is another task's.
  Status claim(const std::string& locator, std::string_view secret, const std::string& task,
               std::function<bool()> alive);
  enum class Standing { Unclaimed, Claimed, Over };
  Standing standing(const std::string& locator) const;

  /// The task of a host, for whoever knows its secret. Errors: NotFound; Unauthenticated.
  Result<std::string> task_of(const std::string& locator, std::string_view secret) const;
  /// Orders a shell from the task's host. Errors: as ShellHub::open.
  Result<std::shared_ptr<ByteChannel>> open(const std::string& task, const ShellOrder& order,
                                            ShellTap tap = {});
  /// The host's end of an order, whose session is `token`. Blocks. Errors: NotFound.
  Status carry(const std::string& locator, const std::string& token, ByteChannel& peer);

 private:
  struct Entry {
    Host host;
    std::string task;  ///< empty: unclaimed
    std::function<bool()> alive;
    std::uint64_t listener = 0;
    std::deque<std::string> tokens;  ///< of orders it has not come for
  };
  using Entries = Guarded<std::map<std::string, Entry>>;

  static void order(Entries& entries, const std::string& locator, const ShellOrder& order);

  ShellHub& hub_;
  const std::string prefix_;
  // Shared, because an order may still be under way when this goes.
  const std::shared_ptr<Entries> entries_ = std::make_shared<Entries>();
};

/// Tells an agent whose commands wait for people at a terminal where the terminal server is: where
/// it found us, as it says itself. Without that it would try a server that is not ours.
void name_terminal_server(org::cirruslabs::ci::services::cirruscigrpc::CommandsResponse& commands,
                          const std::string& api_endpoint);

}  // namespace cirrus::rpc
