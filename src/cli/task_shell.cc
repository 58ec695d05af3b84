// SPDX-License-Identifier: MIT
#include "cli/task_shell.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <vector>

#include "base/clock.h"
#include "base/stop.h"
#include "cli/command.h"
#include "os/fd.h"
#include "os/signals.h"
#include "os/waker.h"
#include "rpc/shell_frames.h"

namespace cirrus::cli {
namespace {

constexpr std::size_t kBuffer = 16 * 1024;
constexpr char kEndOfFile = '\x04';  // what a terminal takes for it, at the beginning of a line
/// Ours: how often it is said again. A terminal forgets one that comes while a program changes its
/// modes, and a program that reads keeps one for itself.
constexpr std::chrono::seconds kSayAgain{1};

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
      : api_(api), path_("/api/v1/shells/" + std::move(id)), printed_(system_clock().now()) {}

  /// Prints until the shell ends.
  Status print() const {
    net::HttpRequest request = make("GET", "/output");
    request.timeout = std::chrono::milliseconds(0);
    const net::HttpResponse answer =
        CIRRUS_TRY(http_.stream(request, [this](std::string_view bytes) {
          printed_ = system_clock().now();
          return os::write_all(STDOUT_FILENO, bytes).ok();
        }));
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
  /// When it printed last, or was opened. Any thread.
  Monotonic printed() const { return printed_; }

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
  mutable std::atomic<Monotonic> printed_;  // orders nothing
};

/// Sends what is typed, and the terminal's size when it changes.
class Typist {
 public:
  Typist(const Shell& shell, const os::Waker& resized, bool raw)
      : shell_(shell), resized_(resized), raw_(raw) {}

  /// Until a stop, or until a shell that nobody types to any more has been silent for `patience`:
  /// then it hangs up.
  void run(const StopToken& stop, std::chrono::seconds patience) {
    const StopCallback wake_on_stop(stop, [this] { resized_.wake(); });
    while (!stop.stop_requested()) {
      pollfd polled[2] = {{ended_ ? -1 : STDIN_FILENO, POLLIN, 0}, {resized_.fd(), POLLIN, 0}};
      // Whoever has a terminal hangs up themselves.
      const bool repeats = ended_ && !raw_;
      const int ready = ::poll(polled, 2, repeats ? milliseconds_of(kSayAgain) : -1);
      if (ready < 0) continue;
      if (polled[1].revents != 0) {
        resized_.clear();
        if (stop.stop_requested() || !shell_.send(rpc::size_frame(size_of_terminal()))) return;
      }
      if (ready == 0) {
        const Monotonic silent_since = std::max(ended_at_, shell_.printed());
        if (system_clock().now() - silent_since >= patience) return give_up();
        if (!say_end()) return;
      }
      if (polled[0].revents != 0 && !pass_on()) return;
    }
  }
  bool gave_up() const { return gave_up_; }

 private:
  static int milliseconds_of(std::chrono::milliseconds time) {
    return static_cast<int>(time.count());
  }
  /// False once nobody takes it any more.
  bool pass_on() {
    const Result<std::size_t> got = os::read_some(STDIN_FILENO, buffer_);
    if (got.ok() && got.value() > 0) {
      line_is_open_ = buffer_[got.value() - 1] != '\n';
      return shell_.send(rpc::input_frame({buffer_.data(), got.value()}));
    }
    ended_ = true;
    ended_at_ = system_clock().now();
    if (raw_) return true;
    // In the middle of a line it would not be end-of-file.
    if (line_is_open_ && !shell_.send(rpc::input_frame("\n"))) return false;
    return say_end();
  }
  /// Nothing more is typed: a shell takes that for `exit`.
  bool say_end() const { return shell_.send(rpc::input_frame({&kEndOfFile, 1})); }
  void give_up() {
    gave_up_ = true;
    shell_.hang_up();  // then the output ends, and so do we
  }

  const Shell& shell_;
  const os::Waker& resized_;
  const bool raw_;
  // Its thread only:
  std::vector<char> buffer_ = std::vector<char>(kBuffer);
  bool line_is_open_ = false;
  bool ended_ = false;  // standard input
  Monotonic ended_at_{};
  std::atomic<bool> gave_up_{false};
};

}  // namespace

int open_task_shell(const ApiClient& api, const std::string& task, std::chrono::seconds patience) {
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
  bool gave_up = false;
  {
    const RawTerminal terminal;
    const os::SignalThread signals({SIGWINCH, SIGINT, SIGTERM, SIGHUP}, [&](int number) {
      if (number == SIGWINCH) {
        resized.value().wake();
      } else {
        shell.hang_up();  // then the output ends, and so do we
      }
    });
    Typist typist(shell, resized.value(), terminal.is_raw());
    const Thread typing([&](const StopToken& stop) { typist.run(stop, patience); });
    printed = shell.print();
    gave_up = typist.gave_up();
  }
  if (gave_up) {
    complain(
        fmt::format("the shell did not end and printed nothing for {} s after the end of "
                    "standard input: hung up; let what you type end by itself, or wait longer "
                    "with --patience",
                    patience.count()));
    return kFailed;
  }
  if (printed.ok()) return kOk;
  complain(printed.error().to_string());
  return exit_code_for(printed.error());
}

}  // namespace cirrus::cli
