// SPDX-License-Identifier: MIT
#include "rpc/shell_hub.h"

#include <utility>

#include "base/ids.h"
#include "rpc/join_channels.h"

namespace cirrus::rpc {
namespace {

/// One direction of a shell.
struct Lane {
  std::string bytes;
  bool ended = false;
  bool broken = false;
  bool reached = false;  ///< somebody has come for the order
};

Result<std::string> take(Guarded<Lane>& lane) {
  return lane.wait(
      StopToken(), [](const Lane& l) { return !l.bytes.empty() || l.ended || l.broken; },
      [&lane](Lane& l, bool) -> Result<std::string> {
        if (l.bytes.empty() && l.broken && !l.ended) {
          return error(Code::Cancelled, "the shell was closed");
        }
        lane.notify_all();
        return std::exchange(l.bytes, {});
      });
}

Status put(Guarded<Lane>& lane, std::string_view bytes) {
  return lane.wait(
      StopToken(),
      [](const Lane& l) { return l.bytes.size() < ShellHub::kBacklog || l.ended || l.broken; },
      [&](Lane& l, bool) -> Status {
        if (l.ended || l.broken) return error(Code::Unavailable, "the shell has ended");
        l.bytes += bytes;
        lane.notify_all();
        return {};
      });
}

}  // namespace

/// Both lanes; shared by the near end, the far end and the hub.
struct ShellHub::Pending {
  Guarded<Lane> inward;                               // from the person to the task
  Guarded<Lane> outward;                              // from the task to the person
  std::function<Status(std::string_view)> on_output;  // constant once the order is out
  Monotonic opened = std::chrono::steady_clock::now();

  /// Waits until somebody has come for the order, or it is over.
  Status wait_for_carrier(std::chrono::milliseconds patience) {
    const bool came = outward.wait_until(
        StopToken(), opened + patience,
        [](const Lane& l) { return l.reached || l.ended || l.broken; },
        [](Lane&, bool ready) { return ready; });
    if (came) return {};
    break_all();
    return error(Code::DeadlineExceeded, "nobody came for the order of this shell");
  }
  void end_inward() {
    inward.update([](Lane& l) { l.ended = true; });
  }
  void end_outward() {
    outward.update([](Lane& l) { l.ended = true; });
  }
  /// Gives the tap what comes, and to the person why it cannot have it. False: the shell is over.
  bool pass_tap(std::string_view bytes) {
    const Status taken = on_output ? on_output(bytes) : Status();
    if (taken.ok()) return true;
    // Nothing more can be typed once the end is told.
    inward.update([](Lane& l) { l.broken = true; });
    outward.update([&taken](Lane& l) {
      l.bytes += "\r\n" + taken.error().to_string() + "\r\n";
      l.ended = l.broken = true;
    });
    return false;
  }
  void break_all() {
    for (Guarded<Lane>* lane : {&inward, &outward}) lane->update([](Lane& l) { l.broken = true; });
  }
};

namespace {

template <typename Pending>
class NearEnd final : public ByteChannel {
 public:
  NearEnd(std::shared_ptr<Pending> shell, std::chrono::milliseconds patience)
      : shell_(std::move(shell)), patience_(patience) {}
  ~NearEnd() override { shell_->break_all(); }
  Result<std::string> read() override {
    CIRRUS_TRY(shell_->wait_for_carrier(patience_));
    return take(shell_->outward);
  }
  Status write(std::string_view bytes) override { return put(shell_->inward, bytes); }
  void finish_writing() override { shell_->end_inward(); }
  void cancel() override { shell_->break_all(); }

 private:
  const std::shared_ptr<Pending> shell_;
  const std::chrono::milliseconds patience_;
};

template <typename Pending>
class FarEnd final : public ByteChannel {
 public:
  explicit FarEnd(std::shared_ptr<Pending> shell) : shell_(std::move(shell)) {}
  Result<std::string> read() override { return take(shell_->inward); }
  Status write(std::string_view bytes) override {
    if (!shell_->pass_tap(bytes)) return error(Code::Unavailable, "the shell has ended");
    return put(shell_->outward, bytes);
  }
  void finish_writing() override { shell_->end_outward(); }
  void cancel() override { shell_->break_all(); }

 private:
  const std::shared_ptr<Pending> shell_;
};

/// Whether all that there was to read was taken, and its end said.
bool copy_to_end(ByteChannel& from, ByteChannel& to) {
  for (;;) {
    const Result<std::string> bytes = from.read();
    if (!bytes.ok()) return false;
    if (bytes.value().empty()) {
      to.finish_writing();
      return true;
    }
    if (!to.write(bytes.value()).ok()) return false;
  }
}

}  // namespace

ShellHub::ShellHub(std::chrono::milliseconds patience) : patience_(patience) {}

ShellHub::~ShellHub() {
  close();
}

std::uint64_t ShellHub::add_listener(const std::string& target,
                                     std::function<void(const ShellOrder&)> on_order) {
  return state_.with([&](State& state) {
    state.listeners[target] = {++state.last_number, std::move(on_order)};
    return state.last_number;
  });
}

void ShellHub::remove_listener(const std::string& target, std::uint64_t number) {
  state_.with([&](State& state) {
    const auto found = state.listeners.find(target);
    if (found != state.listeners.end() && found->second.number == number) {
      state.listeners.erase(found);
    }
  });
}

Result<std::shared_ptr<ByteChannel>> ShellHub::open(const std::string& target, ShellOrder order,
                                                    ShellTap tap) {
  order.set_session(random_hex(32));
  auto shell = std::make_shared<Pending>();
  shell->outward.with([&tap](Lane& l) { l.bytes = std::move(tap.notice); });
  shell->on_output = std::move(tap.on_output);
  using OnOrder = std::function<void(const ShellOrder&)>;
  const OnOrder on_order = CIRRUS_TRY(state_.with([&](State& state) -> Result<OnOrder> {
    const Monotonic now = std::chrono::steady_clock::now();
    std::erase_if(state.waiting, [this, now](const auto& one) {
      if (now - one.second->opened < patience_) return false;
      one.second->break_all();
      return true;
    });
    std::erase_if(state.shells, [](const auto& one) { return one.expired(); });
    const auto listener = state.listeners.find(target);
    if (state.closed || listener == state.listeners.end()) {
      return error(Code::NotFound, "nobody there opens shells now");
    }
    if (state.shells.size() >= kMostShells) {
      return error(Code::ResourceExhausted, "{} shells are open already", kMostShells);
    }
    state.waiting.emplace(order.session(), shell);
    state.shells.push_back(shell);
    return listener->second.on_order;
  }));
  on_order(order);
  return std::shared_ptr<ByteChannel>(
      std::make_shared<NearEnd<Pending>>(std::move(shell), patience_));
}

Status ShellHub::carry(const std::string& session, ByteChannel& peer) {
  const std::shared_ptr<Pending> shell = state_.with([&](State& state) {
    const auto found = state.waiting.find(session);
    std::shared_ptr<Pending> taken;
    if (found == state.waiting.end()) return taken;
    taken = found->second;
    state.waiting.erase(found);
    return taken;
  });
  if (!shell) return error(Code::NotFound, "there is no such shell");
  shell->outward.update([](Lane& l) { l.reached = true; });
  FarEnd<Pending> end(shell);
  join_channels(peer, end, StopToken());
  shell->end_outward();
  return {};
}

void ShellHub::close() {
  const std::list<std::weak_ptr<Pending>> shells = state_.update([](State& state) {
    state.closed = true;
    state.waiting.clear();
    return std::exchange(state.shells, {});
  });
  for (const std::weak_ptr<Pending>& one : shells) {
    if (const std::shared_ptr<Pending> shell = one.lock()) shell->break_all();
  }
}

void join_channels(ByteChannel& one, ByteChannel& other, const StopToken& stop) {
  join_channels(one, other, stop, std::chrono::milliseconds(0));
}

void join_channels(ByteChannel& one, ByteChannel& other, const StopToken& stop,
                   std::chrono::milliseconds farewell) {
  const StopCallback cancel_on_stop(stop, [&one, &other] {
    one.cancel();
    other.cancel();
  });
  Guarded<bool> left(false);
  Thread inward([&] {
    bool taken = true;
    for (;;) {
      const Result<std::string> bytes = other.read();
      if (!bytes.ok()) {
        one.cancel();
        break;
      }
      if (bytes.value().empty()) {
        if (taken) one.finish_writing();
        break;
      }
      // What is typed into a shell that has ended is no reason to drop what it printed.
      taken = taken && one.write(bytes.value()).ok();
    }
    left.update([](bool& gone) { gone = true; });
  });
  const bool whole = copy_to_end(one, other);
  one.cancel();
  if (whole) {
    (void)left.wait_until(
        stop, std::chrono::steady_clock::now() + farewell, [](bool gone) { return gone; },
        [](bool gone, bool) { return gone; });
  }
  other.cancel();
  inward.join();
}

}  // namespace cirrus::rpc
