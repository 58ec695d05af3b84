// SPDX-License-Identifier: MIT
#include "rpc/grpc/terminal_server.h"

#include <memory>
#include <mutex>
#include <utility>

#include <grpcpp/alarm.h>

#include "base/guarded.h"
#include "rpc/grpc/queued_reactor.h"
#include "rpc/grpc/status.h"
#include "rpc/shell_frames.h"

namespace cirrus::rpc {
namespace {

gpr_timespec in(std::chrono::milliseconds delay) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_millis(delay.count(), GPR_TIMESPAN));
}

Error no_hello() {
  return error(Code::FailedPrecondition, "the first message must be a hello");
}

/// One host's stream. Order of locks: a mailbox's, then those of TerminalHosts.
class HostReactor final
    : public QueuedReactor<HostReactor,
                           grpc::ServerBidiReactor<HostControlRequest, HostControlResponse>,
                           HostControlResponse> {
 public:
  HostReactor(TerminalHosts& hosts, Result<Newcomers::Place> place, TerminalTiming timing)
      : hosts_(hosts), timing_(timing) {
    const std::lock_guard lock(mailbox()->mutex);
    mailbox()->reactor = this;
    if (!place.ok()) {
      finish(to_grpc(place.error()));
      return;
    }
    place_ = std::move(place).value();
    look_in(timing_.hello);
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    const std::shared_ptr<Mailbox> box = mailbox();  // Finish may end this object
    const std::lock_guard lock(box->mutex);
    if (finished()) return;
    if (!ok) return finish(grpc::Status::OK);
    if (!locator_.empty()) {
      return finish(to_grpc(error(Code::FailedPrecondition, "a host says one hello and no more")));
    }
    if (!incoming_.has_hello()) return finish(to_grpc(no_hello()));
    TerminalHosts::Host host;
    host.secret = Secret(incoming_.hello().trusted_secret());
    host.place = std::move(place_);
    host.on_order = [box](const ShellOrder& order) {
      box->use([&order](HostReactor& reactor) { reactor.pass(order); });
    };
    host.on_replaced = [box] { box->use([](HostReactor& reactor) { reactor.finish(over()); }); };
    Result<std::string> locator = hosts_.add(std::move(host));
    if (!locator.ok()) return finish(to_grpc(locator.error()));
    locator_ = std::move(locator).value();
    HostControlResponse hello;
    hello.mutable_hello()->set_locator(locator_);
    send(std::move(hello));
    look_in(timing_.claim);
    StartRead(&incoming_);
  }

 private:
  void on_finish() override { alarm_.reset(); }
  void on_gone() override {
    if (!locator_.empty()) hosts_.remove(locator_);
  }
  static grpc::Status over() {
    return to_grpc(error(Code::NotFound, "the task of this terminal has ended, or has another"));
  }

  // All of these with the mailbox's lock held.
  /// A new alarm each time: one that rings cannot be set.
  void look_in(std::chrono::milliseconds delay) {
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(in(delay), [box = mailbox(), round = ++round_](bool rang) {
      if (!rang) return;
      box->use([round](HostReactor& reactor) {
        if (reactor.round_ == round) reactor.look();
      });
    });
  }
  void look() {
    if (finished()) return;
    if (locator_.empty()) return finish(to_grpc(error(Code::DeadlineExceeded, "no hello came")));
    switch (hosts_.standing(locator_)) {
      case TerminalHosts::Standing::Claimed: return look_in(timing_.look);
      case TerminalHosts::Standing::Over: return finish(over());
      case TerminalHosts::Standing::Unclaimed:
        return finish(
            to_grpc(error(Code::DeadlineExceeded, "no task has reported that it has this host")));
    }
  }
  void pass(const ShellOrder& order) {
    HostControlResponse response;
    HostControlResponse::DataChannelRequest& request = *response.mutable_data_channel_request();
    request.set_token(order.session());
    request.mutable_requested_dimensions()->set_width_columns(order.columns());
    request.mutable_requested_dimensions()->set_height_rows(order.rows());
    // Whoever reads nothing gets nothing: its shells end by the orderer's patience.
    if (queued() <= TerminalHosts::kMostTokens) send(std::move(response));
  }

  TerminalHosts& hosts_;
  const TerminalTiming timing_;
  HostControlRequest incoming_;
  // Guarded by the mailbox's mutex:
  Newcomers::Place place_;  // until the hello
  std::string locator_;     // empty: no hello yet
  std::unique_ptr<grpc::Alarm> alarm_;
  std::uint64_t round_ = 0;
};

/// Ends a call that does not say who it is in time.
class HelloDeadline {
 public:
  HelloDeadline(grpc::ServerContext& context, std::chrono::milliseconds patience)
      : shared_(std::make_shared<Shared>(&context)) {
    alarm_.Set(in(patience), [shared = shared_](bool rang) {
      if (!rang) return;
      shared->with([](grpc::ServerContext*& call) {
        if (call != nullptr) call->TryCancel();
      });
    });
  }
  ~HelloDeadline() {
    shared_->with([](grpc::ServerContext*& call) { call = nullptr; });
  }
  HelloDeadline(const HelloDeadline&) = delete;
  HelloDeadline& operator=(const HelloDeadline&) = delete;

 private:
  using Shared = Guarded<grpc::ServerContext*>;
  const std::shared_ptr<Shared> shared_;
  grpc::Alarm alarm_;
};

/// Reads a call's first message, which must be a hello.
template <typename Stream, typename Message>
Status read_hello(grpc::ServerContext& context, Stream& stream, Newcomers& newcomers,
                  std::chrono::milliseconds patience, Message& first) {
  const Newcomers::Place place = CIRRUS_TRY(newcomers.enter(context.peer()));
  const HelloDeadline deadline(context, patience);
  if (!stream.Read(&first) || !first.has_hello()) return no_hello();
  return {};
}

Status check_size(std::size_t bytes) {
  if (bytes <= FrameReader::kLargest) return {};
  return error(Code::InvalidArgument, "a terminal's message has at most {} bytes",
               FrameReader::kLargest);
}

/// A host's end of one shell: frames become its messages.
class HostedShell final : public ByteChannel {
 public:
  using Stream = grpc::ServerReaderWriter<HostDataResponse, HostDataRequest>;
  HostedShell(grpc::ServerContext& context, Stream& stream) : context_(context), stream_(stream) {}

  Result<std::string> read() override {
    HostDataRequest message;
    while (stream_.Read(&message)) {
      if (!message.has_output()) {
        return error(Code::FailedPrecondition, "after the hello a shell sends output only");
      }
      CIRRUS_TRY(check_size(message.output().data().size()));
      if (message.output().data().empty()) continue;
      return std::move(*message.mutable_output()->mutable_data());
    }
    return std::string();
  }
  Status write(std::string_view bytes) override {
    bool taken = true;
    CIRRUS_TRY(frames_.feed(
        bytes,
        [&](std::string_view typed) {
          HostDataResponse message;
          message.mutable_input()->set_data(typed.data(), typed.size());
          taken = taken && stream_.Write(message);
        },
        [&](TerminalSize size) {
          HostDataResponse message;
          message.mutable_change_dimensions()->set_width_columns(size.columns);
          message.mutable_change_dimensions()->set_height_rows(size.rows);
          taken = taken && stream_.Write(message);
        }));
    return taken ? Status() : error(Code::Cancelled, "the shell was closed");
  }
  void finish_writing() override {}  // the call's end says it
  void cancel() override { context_.TryCancel(); }

 private:
  grpc::ServerContext& context_;
  Stream& stream_;
  FrameReader frames_;  // the writer only
};

/// A guest's end: its messages become frames.
class GuestTerminal final : public ByteChannel {
 public:
  using Stream = grpc::ServerReaderWriter<GuestTerminalResponse, GuestTerminalRequest>;
  GuestTerminal(grpc::ServerContext& context, Stream& stream)
      : context_(context), stream_(stream) {}

  Result<std::string> read() override {
    GuestTerminalRequest message;
    while (stream_.Read(&message)) {
      switch (message.operation_case()) {
        case GuestTerminalRequest::kInput:
          CIRRUS_TRY(check_size(message.input().data().size()));
          if (message.input().data().empty()) continue;
          return input_frame(message.input().data());
        case GuestTerminalRequest::kChangeDimensions:
          return size_frame({message.change_dimensions().width_columns(),
                             message.change_dimensions().height_rows()});
        default: return error(Code::FailedPrecondition, "a guest says one hello and no more");
      }
    }
    // However it ends: nobody is left who could type.
    return error(Code::Cancelled, "the guest has left");
  }
  Status write(std::string_view bytes) override {
    GuestTerminalResponse message;
    message.mutable_output()->set_data(bytes.data(), bytes.size());
    return stream_.Write(message) ? Status() : error(Code::Cancelled, "the guest has left");
  }
  void finish_writing() override {}  // the call's end says it
  void cancel() override { context_.TryCancel(); }

 private:
  grpc::ServerContext& context_;
  Stream& stream_;
};

}  // namespace

grpc::ServerBidiReactor<HostControlRequest, HostControlResponse>* TerminalServer::ControlChannel(
    grpc::CallbackServerContext* context) {
  return new HostReactor(hosts_, newcomers_.enter(context->peer()), timing_);  // deletes itself
}

grpc::Status TerminalServer::DataChannel(grpc::ServerContext* context,
                                         HostedShell::Stream* stream) {
  HostDataRequest first;
  const Status greeted = read_hello(*context, *stream, newcomers_, timing_.hello, first);
  if (!greeted.ok()) return to_grpc(greeted);
  HostedShell shell(*context, *stream);
  return to_grpc(hosts_.carry(first.hello().locator(), first.hello().token(), shell));
}

grpc::Status TerminalGuests::TerminalChannel(grpc::ServerContext* context,
                                             GuestTerminal::Stream* stream) {
  const auto serve = [&]() -> Status {
    GuestTerminalRequest first;
    CIRRUS_TRY(read_hello(*context, *stream, newcomers_, timing_.hello, first));
    const std::string task =
        CIRRUS_TRY(hosts_.task_of(first.hello().locator(), first.hello().secret()));
    ShellTap tap = CIRRUS_TRY(admit_(task, context->peer()));
    ShellOrder order;
    order.set_task_id(task);
    const TerminalDimensions& size = first.hello().requested_dimensions();
    order.set_columns(size.width_columns() == 0 ? TerminalSize().columns : size.width_columns());
    order.set_rows(size.height_rows() == 0 ? TerminalSize().rows : size.height_rows());
    const std::shared_ptr<ByteChannel> shell = CIRRUS_TRY(hosts_.open(task, order, std::move(tap)));
    GuestTerminal guest(*context, *stream);
    join_channels(*shell, guest, StopToken());
    return {};
  };
  return to_grpc(serve());
}

}  // namespace cirrus::rpc
