// SPDX-License-Identifier: MIT
#include "agent/shells.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/log.h"
#include "os/host.h"
#include "os/pty.h"
#include "os/waker.h"
#include "rpc/shell_frames.h"

namespace cirrus::agent {
namespace {

constexpr std::size_t kBuffer = 32 * 1024;
constexpr std::chrono::milliseconds kAgain{1000};

/// What a terminal prints goes out until the shell has ended, whatever it left running.
void copy_output(const os::Pty& terminal, const os::Process& shell, rpc::ByteChannel& person,
                 const std::function<void()>& noted) {
  std::vector<char> buffer(kBuffer);
  (void)os::set_nonblocking(terminal.descriptor(), true);
  for (;;) {
    pollfd polled[2] = {{terminal.descriptor(), POLLIN, 0}, {shell.pidfd(), POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0) continue;
    const Result<std::size_t> got = os::read_some(terminal.descriptor(), buffer);
    const bool empty = !got.ok() && got.error().code() == Code::Unavailable;
    if (empty && polled[1].revents == 0) continue;
    // Nothing is left of an ended shell, or nobody has the other side open.
    if (!got.ok() || got.value() == 0) return;
    noted();
    if (!person.write({buffer.data(), got.value()}).ok()) return;
  }
}

/// Writes everything to a terminal that does not block. False once it is gone.
bool type(int terminal, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(terminal, bytes.data(), bytes.size());
    if (wrote > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(wrote));
      continue;
    }
    if (wrote < 0 && errno != EAGAIN && errno != EINTR) return false;
    pollfd polled{terminal, POLLOUT, 0};
    (void)::poll(&polled, 1, 1000);
    if ((polled.revents & (POLLERR | POLLHUP)) != 0) return false;
  }
  return true;
}

/// What a person types goes in until they are gone.
void copy_input(const os::Pty& terminal, rpc::ByteChannel& person,
                const std::function<void()>& noted) {
  rpc::FrameReader frames;
  bool broken = false;
  for (;;) {
    const Result<std::string> bytes = person.read();
    if (!bytes.ok() || bytes.value().empty()) return;
    noted();
    const Status fed = frames.feed(
        bytes.value(),
        [&](std::string_view typed) { broken = broken || !type(terminal.descriptor(), typed); },
        [&](rpc::TerminalSize size) { terminal.resize(size.columns, size.rows); });
    if (!fed.ok() || broken) return;
  }
}

}  // namespace

std::string interactive_shell(const os::Environment& environment) {
  const auto path = environment.find("PATH");
  const std::string directories = path == environment.end() ? "/usr/bin:/bin" : path->second;
  if (os::os_name() == "darwin") {
    if (const std::string zsh = os::find_program("zsh", directories); !zsh.empty()) return zsh;
  }
  const std::string bash = os::find_program("bash", directories);
  return bash.empty() ? "/bin/sh" : bash;
}

Shells::~Shells() {
  end();
}

void Shells::begin(os::Environment environment, std::filesystem::path working_directory,
                   std::chrono::milliseconds after) {
  state_.with([&](State& state) {
    state.environment = std::move(environment);
    state.working_directory = std::move(working_directory);
  });
  if (link_ == nullptr || listening_.joinable()) return;
  listening_ = Thread([this, after](const StopToken& stop) { listen(stop, after); });
}

void Shells::end() {
  if (listening_.joinable()) {
    listening_.request_stop();
    listening_.join();
  }
  std::list<Thread> threads = state_.with([](State& state) {
    state.ended = true;
    return std::exchange(state.threads, {});
  });
  for (Thread& one : threads) one.request_stop();
}

Shells::Activity Shells::activity() const {
  return state_.with([](const State& state) { return state.activity; });
}

std::vector<pid_t> Shells::roots() const {
  return state_.with([](const State& state) {
    return std::vector<pid_t>(state.roots.begin(), state.roots.end());
  });
}

void Shells::note_activity() {
  const Monotonic now = std::chrono::steady_clock::now();
  state_.with([now](State& state) { state.activity.last_input = now; });
}

void Shells::listen(const StopToken& stop, std::chrono::milliseconds after) {
  if (!wait_for(stop, after)) return;
  for (;;) {
    const Status ended = link_->listen(stop, [this](const rpc::ShellOrder& order) {
      state_.with([&](State& state) {
        if (state.ended) return;
        state.threads.emplace_back(
            [this, order](const StopToken& closing) { serve(order, closing); });
      });
    });
    if (stop.stop_requested()) return;
    // An older worker: nobody will ever come.
    if (!ended.ok() && ended.error().code() == Code::Unimplemented) return;
    if (!wait_for(stop, kAgain)) return;
  }
}

void Shells::serve(const rpc::ShellOrder& order, const StopToken& stop) {
  Result<std::unique_ptr<rpc::ByteChannel>> opened = link_->carry(order.session());
  if (!opened.ok()) return;
  rpc::ByteChannel& person = *opened.value();
  const StopCallback cancel_on_stop(stop, [&person] { person.cancel(); });
  os::SpawnOptions options;
  state_.with([&](State& state) {
    options.environment = state.environment;
    options.working_directory = state.working_directory;
  });
  (*options.environment)["TERM"] = "xterm";  // Source: reference agent
  options.argv = {interactive_shell(*options.environment)};
  Result<os::Pty> terminal = os::Pty::open(order.columns(), order.rows());
  Result<os::Process> shell = error(Code::Unavailable, "there is no terminal");
  if (terminal.ok()) {
    options.terminal = terminal.value().device();
    shell = os::Process::spawn(options);
  }
  if (!terminal.ok() || !shell.ok()) {
    const Error why = terminal.ok() ? shell.error() : terminal.error();
    (void)person.write("cannot open a shell: " + why.to_string() + "\r\n");
    person.finish_writing();
    while (person.read().value_or("") != "") {
    }
    return;
  }
  log_info("a shell was opened");
  const pid_t root = shell.value().pid();
  state_.with([root](State& state) {
    ++state.activity.opened;
    ++state.activity.open;
    state.roots.insert(root);
  });
  note_activity();
  {
    const std::function<void()> noted = [this] { note_activity(); };
    Thread input([&] {
      copy_input(terminal.value(), person, noted);
      // Whoever has gone leaves no shell behind.
      shell.value().send_signal_to_group(SIGHUP);
    });
    // Ends when the shell has, because the terminal goes with its last process; a person who is
    // gone makes that happen.
    const StopCallback hang_up(stop, [&shell] { shell.value().send_signal_to_group(SIGKILL); });
    copy_output(terminal.value(), shell.value(), person, noted);
    (void)shell.value().terminate(std::chrono::milliseconds(500));
    // The other side has everything then, and ends the rest.
    person.finish_writing();
  }
  // Also if nothing could be typed any more: a call that is given up may drop what it has taken.
  while (person.read().value_or("") != "") {
  }
  state_.with([root](State& state) {
    --state.activity.open;
    state.roots.erase(root);
  });
}

}  // namespace cirrus::agent
