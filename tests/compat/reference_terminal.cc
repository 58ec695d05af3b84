// SPDX-License-Identifier: MIT
#include "reference_terminal.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>

namespace cirrus::reference {
namespace {

/// 32 random bytes as hexadecimal digits.
std::string make_secret() {
  std::random_device random;
  std::string secret;
  for (int i = 0; i < 64; ++i) secret += "0123456789abcdef"[random() % 16];
  return secret;
}

/// A call that the end of everything cancels.
class Registered {
 public:
  Registered(std::mutex& mutex, std::list<grpc::ClientContext*>& calls,
             grpc::ClientContext& context)
      : mutex_(mutex), calls_(calls) {
    const std::lock_guard lock(mutex_);
    place_ = calls_.insert(calls_.end(), &context);
  }
  ~Registered() {
    const std::lock_guard lock(mutex_);
    calls_.erase(place_);
  }
  Registered(const Registered&) = delete;
  Registered& operator=(const Registered&) = delete;

 private:
  std::mutex& mutex_;
  std::list<grpc::ClientContext*>& calls_;
  std::list<grpc::ClientContext*>::iterator place_;
};

winsize size_of(const TerminalDimensions& dimensions) {
  winsize size{};
  size.ws_col = static_cast<unsigned short>(dimensions.width_columns());
  size.ws_row = static_cast<unsigned short>(dimensions.height_rows());
  if (size.ws_col == 0 || size.ws_row == 0) size = {24, 80, 0, 0};
  return size;
}

}  // namespace

Terminal::Terminal(const std::string& address, Reports reports)
    : stub_(HostService::NewStub(grpc::CreateChannel(address.substr(address.find("://") + 3),
                                                     grpc::InsecureChannelCredentials()))),
      reports_(std::move(reports)),
      secret_(make_secret()),
      offering_([this] { offer(); }) {}

Terminal::~Terminal() {
  over_ = true;
  {
    const std::lock_guard lock(mutex_);
    for (grpc::ClientContext* const call : calls_) call->TryCancel();
  }
  offering_.join();
}

void Terminal::offer() {
  while (!over_) {
    connect();
    for (int i = 0; i < 100 && !over_; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  for (std::thread& shell : shells_) shell.join();
}

void Terminal::connect() {
  grpc::ClientContext context;
  const Registered registered(mutex_, calls_, context);
  const auto stream = stub_->ControlChannel(&context);
  HostControlRequest hello;
  hello.mutable_hello()->set_trusted_secret(secret_);
  HostControlResponse response;
  if (!over_ && stream->Write(hello) && stream->Read(&response) && response.has_hello()) {
    const std::string locator = response.hello().locator();
    if (reports_.attached(locator, secret_) && reports_.started()) {
      connected_ = true;
      while (stream->Read(&response)) {
        if (!response.has_data_channel_request()) continue;
        shells_.emplace_back(
            [this, locator, order = response.data_channel_request()] { serve(locator, order); });
      }
    }
  }
  context.TryCancel();
  while (stream->Read(&response)) {
  }
  (void)stream->Finish();
}

void Terminal::serve(const std::string& locator,
                     const HostControlResponse::DataChannelRequest& order) {
  grpc::ClientContext context;
  const Registered registered(mutex_, calls_, context);
  const auto stream = stub_->DataChannel(&context);
  HostDataRequest hello;
  hello.mutable_hello()->set_locator(locator);
  hello.mutable_hello()->set_token(order.token());
  (void)stream->Write(hello);
  const winsize size = size_of(order.requested_dimensions());
  int terminal = -1;
  const pid_t shell = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (shell == 0) {
    (void)::setenv("TERM", "xterm", 1);
    const char* const program = ::access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
    ::execl(program, program, nullptr);
    ::_exit(127);
  }
  std::thread printing([&] {
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(terminal, buffer, sizeof buffer)) > 0;) {
      HostDataRequest message;
      message.mutable_output()->set_data(buffer, static_cast<std::size_t>(got));
      if (!stream->Write(message)) break;
    }
    (void)stream->WritesDone();  // the shell has ended, or nobody looks any more
  });
  HostDataResponse message;
  while (stream->Read(&message)) {
    ++activity_;
    if (message.has_change_dimensions()) {
      const winsize changed = size_of(message.change_dimensions());
      (void)::ioctl(terminal, TIOCSWINSZ, &changed);
    } else {
      const std::string& typed = message.input().data();
      (void)!::write(terminal, typed.data(), typed.size());
    }
  }
  (void)::kill(-shell, SIGHUP);
  (void)::kill(shell, SIGKILL);
  (void)::waitpid(shell, nullptr, 0);
  printing.join();
  (void)::close(terminal);
  (void)stream->Finish();
}

}  // namespace cirrus::reference
