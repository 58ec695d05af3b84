// SPDX-License-Identifier: MIT
// ShellHub: where one who wants a shell and the one who has it meet. A gateway has one for its
// agents, a controller one for its workers.
//
//   open(target) --ShellOrder--> listener of target ... carry(session) <== bytes ==> opened end
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/stop.h"
#include "cirrus_shells.pb.h"
#include "rpc/byte_channel.h"

namespace cirrus::rpc {

using ShellOrder = shell::v1::ShellOrder;

/// Who gets what a shell shows before the person does: a recording.
struct ShellTap {
  std::string notice = {};  ///< what the person reads first; not given to `on_output`
  /// Called for all that comes from the far end, by the thread that carries it; may block. An error
  /// ends the shell: its text is the last that the person reads.
  std::function<Status(std::string_view)> on_output = {};
};

/// Thread-safe. Everything ends with `close`, which the owner calls before it goes.
class ShellHub {
 public:
  /// Ours: open at a time, everywhere on this hub.
  static constexpr std::size_t kMostShells = 64;
  /// Ours: bytes on their way in each direction before the sender waits.
  static constexpr std::size_t kBacklog = 256 * 1024;
  /// Ours: how long the other side may take to come for an order.
  static constexpr std::chrono::seconds kPatience{15};

  explicit ShellHub(std::chrono::milliseconds patience = kPatience);
  ~ShellHub();
  ShellHub(const ShellHub&) = delete;
  ShellHub& operator=(const ShellHub&) = delete;

  /// Gets the orders for `target` from here on, instead of whoever got them before. Called from the
  /// orderer's thread; must not block. The number is for remove_listener.
  std::uint64_t add_listener(const std::string& target,
                             std::function<void(const ShellOrder&)> on_order);
  /// A call that has begun may still be under way.
  void remove_listener(const std::string& target, std::uint64_t number);

  /// Orders a shell from whoever listens for `target`, and gives the near end of it; bytes may be
  /// written at once, and reading fails with DeadlineExceeded if nobody comes for the order in
  /// time. `order.session` is filled here. Errors: NotFound if nobody listens, ResourceExhausted.
  Result<std::shared_ptr<ByteChannel>> open(const std::string& target, ShellOrder order,
                                            ShellTap tap = {});

  /// The far end: carries the session's bytes until either side is done. Blocks. Errors: NotFound
  /// if no such session waits.
  Status carry(const std::string& session, ByteChannel& peer);

  /// Ends everything; nothing can be opened after it.
  void close();

 private:
  struct Pending;
  struct Listener {
    std::uint64_t number = 0;
    std::function<void(const ShellOrder&)> on_order;
  };
  struct State {
    std::map<std::string, Listener> listeners;
    std::map<std::string, std::shared_ptr<Pending>> waiting;  ///< by session
    std::list<std::weak_ptr<Pending>> shells;
    std::uint64_t last_number = 0;
    bool closed = false;
  };
  const std::chrono::milliseconds patience_;
  Guarded<State> state_;
};

/// Where a controller's hub has the terminals that agents of the reference offer, by their tasks'
/// ids behind it. No worker's target begins so: those are names.
inline constexpr char kTerminalTargets[] = "terminal of task ";

/// What the side that has the shells needs: orders, and a way to carry their bytes.
class ShellLink {
 public:
  virtual ~ShellLink() = default;
  /// Blocks until a stop or until the stream ends. Errors: why it ended; Unimplemented from peers
  /// that know no shells.
  virtual Status listen(const StopToken& stop,
                        const std::function<void(const ShellOrder&)>& on_order) = 0;
  virtual Result<std::unique_ptr<ByteChannel>> carry(const std::string& session) = 0;
};

/// Copies both ways until one side ends; then the other is cancelled too.
void join_channels(ByteChannel& one, ByteChannel& other, const StopToken& stop);

}  // namespace cirrus::rpc
