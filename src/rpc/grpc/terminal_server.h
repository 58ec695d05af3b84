// SPDX-License-Identifier: MIT
// The terminal server of the reference's protocol, over gRPC: the agents that offer terminals, and
// the people who know a terminal's secret. Source: protocol §11.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "cirrus_terminal.grpc.pb.h"
#include "rpc/newcomers.h"
#include "rpc/terminal_hosts.h"

namespace cirrus::rpc {

/// Ours: how long callers may take to say who they are, and how often those who have are looked at.
struct TerminalTiming {
  std::chrono::milliseconds hello{10'000};
  std::chrono::milliseconds claim{60'000};
  std::chrono::milliseconds look{30'000};
};

/// A host that waits costs no thread; a shell that is open has two.
class TerminalServer final
    : public HostService::WithCallbackMethod_ControlChannel<HostService::Service> {
 public:
  /// Both must outlive the server.
  TerminalServer(TerminalHosts& hosts, Newcomers& newcomers, TerminalTiming timing = {})
      : hosts_(hosts), newcomers_(newcomers), timing_(timing) {}

  grpc::ServerBidiReactor<HostControlRequest, HostControlResponse>* ControlChannel(
      grpc::CallbackServerContext* context) override;
  grpc::Status DataChannel(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<HostDataResponse, HostDataRequest>* stream) override;

 private:
  TerminalHosts& hosts_;
  Newcomers& newcomers_;
  const TerminalTiming timing_;
};

/// People who come with a locator and its secret, as programs of the reference do.
class TerminalGuests final : public GuestService::Service {
 public:
  /// Asked before a shell is ordered; blocks. Says who else gets what it shows. Errors: why not.
  using Admit = std::function<Result<ShellTap>(const std::string& task, const std::string& peer)>;

  /// Both must outlive the server.
  TerminalGuests(TerminalHosts& hosts, Newcomers& newcomers, Admit admit,
                 TerminalTiming timing = {})
      : hosts_(hosts), newcomers_(newcomers), admit_(std::move(admit)), timing_(timing) {}

  grpc::Status TerminalChannel(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<GuestTerminalResponse, GuestTerminalRequest>* stream) override;

 private:
  TerminalHosts& hosts_;
  Newcomers& newcomers_;
  const Admit admit_;
  const TerminalTiming timing_;
};

}  // namespace cirrus::rpc
