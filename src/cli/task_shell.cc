// SPDX-License-Identifier: MIT
#include "cli/task_shell.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "base/stop.h"
#include "cli/command.h"
#include "os/fd.h"
#include "os/signals.h"
#include "os/waker.h"
#include "rpc/shell_frames.h"

namespace cirrus::cli {
namespace {

constexpr std::size_t kBuffer = 16 * 1024;
constexpr char kEndOfFile = '\x04';

rpc::TerminalSize size_of_terminal() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {};
  }
  return {size.ws_col, size.ws_row};
}

/// Every key goes to the task; put back at the end, however that comes about.
class RawTerminal {
 public:
  RawTerminal() {
    if (::isatty(STDIN_FILENO) == 0 || ::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    is_raw_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  ~RawTerminal() {
    if (is_raw_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  bool is_raw() const { return is_raw_; }

 private:
  termios before_{};
  bool is_raw_ = false;
};

/// One open shell.
class Shell {
 public:
  Shell(const ApiClient& api, std::string id)
      : api_(api), path_("/api/v1/shells/" + std::move(id)) {}

  /// Prints until the shell ends.
  Status print() const {
    net::HttpRequest request = make("GET", "/output");
    request.timeout = std::chrono::milliseconds(0);
    const net::HttpResponse answer = CIRRUS_TRY(http_.stream(
        request, [](std::string_view bytes) { return os::write_all(STDOUT_FILENO, bytes).ok(); }));
    if (answer.status != 200) {
      return error(Code::Unavailable, "the shell's output could not be read: {}", answer.body);
    }
    return {};
  }
  /// False once nobody takes it any more.
  bool send(std::string frames) const {
    net::HttpRequest request = make("POST", "/input");
    request.body = std::move(frames);
    const Result<net::HttpResponse> answer = http_.send(request);
    return answer.ok() && answer.value().status == 204;
  }
  void hang_up() const { (void)http_.send(make("DELETE", "")); }

 private:
  net::HttpRequest make(const std::string& method, const std::string& what) const {
    net::HttpRequest request;
    request.method = method;
    request.url = api_.url() + path_ + what;
    request.headers = {{"Authorization", "Bearer " + api_.token().reveal()},
                       {"Content-Type", "application/octet-stream"}};
    request.ca_file = api_.ca_file();
    return request;
  }

  const ApiClient& api_;
  const std::string path_;
  net::HttpClient http_;
};

/// Sends what is typed, and the terminal's size when it changes, until a stop.
void type(const Shell& shell, bool raw, const StopToken& stop, const os::Waker& resized) {
  std::vector<char> buffer(kBuffer);
  const StopCallback wake_on_stop(stop, [&resized] { resized.wake(); });
  bool open = true;
  while (!stop.stop_requested()) {
    pollfd polled[2] = {{open ? STDIN_FILENO : -1, POLLIN, 0}, {resized.fd(), POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0) continue;
    if (polled[1].revents != 0) {
      resized.clear();
      if (stop.stop_requested()) return;
      if (!shell.send(rpc::size_frame(size_of_terminal()))) return;
    }
    if (polled[0].revents == 0) continue;
    const Result<std::size_t> got = os::read_some(STDIN_FILENO, buffer);
    if (!got.ok() || got.value() == 0) {
      // Nothing more is typed: a shell takes that for `exit`.
      open = false;
      if (!raw && !shell.send(rpc::input_frame({&kEndOfFile, 1}))) return;
      continue;
    }
    if (!shell.send(rpc::input_frame({buffer.data(), got.value()}))) return;
  }
}

}  // namespace

int open_task_shell(const ApiClient& api, const std::string& task) {
  const rpc::TerminalSize size = size_of_terminal();
  const Result<nlohmann::json> opened =
      api.post("/api/v1/tasks/" + net::percent_encode(task) + "/shell",
               {{"columns", size.columns}, {"rows", size.rows}});
  if (!opened.ok()) {
    complain(opened.error().to_string());
    return exit_code_for(opened.error());
  }
  const Shell shell(api, opened.value().value("id", ""));
  Result<os::Waker> resized = os::Waker::create();
  if (!resized.ok()) {
    complain(resized.error().to_string());
    return kFailed;
  }
  os::block_signals({SIGWINCH, SIGINT, SIGTERM, SIGHUP});
  Status printed;
  {
    const RawTerminal terminal;
    const os::SignalThread signals({SIGWINCH, SIGINT, SIGTERM, SIGHUP}, [&](int number) {
      if (number == SIGWINCH) {
        resized.value().wake();
      } else {
        shell.hang_up();  // then the output ends, and so do we
      }
    });
    const Thread typing(
        [&](const StopToken& stop) { type(shell, terminal.is_raw(), stop, resized.value()); });
    printed = shell.print();
  }
  if (printed.ok()) return kOk;
  complain(printed.error().to_string());
  return exit_code_for(printed.error());
}

}  // namespace cirrus::cli
