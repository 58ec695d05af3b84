// SPDX-License-Identifier: MIT
#include "isolation/vm/vm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <utility>

#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "cirrus_gateway.pb.h"
#include "isolation/framing.h"
#include "isolation/vm/console.h"
#include "isolation/vm/guest_link.h"
#include "isolation/vm/tool_command.h"
#include "isolation/vm/vm_tool.h"
#include "model/agent_bridge.h"
#include "os/files.h"
#include "os/proc.h"
#include "os/waker.h"

namespace cirrus::isolation {
namespace {

constexpr char kToolHandle[] = "tool";
constexpr char kVmHandle[] = "vm";
constexpr char kHostHandle[] = "host";
constexpr char kPortHandle[] = "port";
constexpr char kUserHandle[] = "user";
constexpr char kPasswordHandle[] = "password";
constexpr char kHostKeyHandle[] = "host-key";
constexpr char kDirectoryHandle[] = "directory";
constexpr char kSocketHandle[] = "gateway-socket";
// Of the guest's loopback; there for a reference agent only.
constexpr char kAgentPortHandle[] = "agent-port";
// What was made for a standby instance keeps its label when a task takes it over.
constexpr char kLabelHandle[] = "label";
constexpr char kModifierHandle[] = "modifier";
// The file that is followed; there if the task asked for it.
constexpr char kConsoleHandle[] = "console";

constexpr char kBegunFile[] = "vm-begun";

// Ours: a tool that does not answer is stuck; pulls and clones of large images are not.
constexpr std::chrono::hours kPullTime{6};
constexpr std::chrono::hours kCloneTime{1};
constexpr std::chrono::minutes kToolTime{2};
constexpr std::chrono::seconds kKillTime{10};
constexpr std::chrono::seconds kReadyTime{60};
constexpr std::chrono::minutes kUploadTime{5};
// Source: reference worker, VM back-ends.
constexpr std::chrono::seconds kAddressPause{1};

Monotonic in(std::chrono::nanoseconds time) {
  return std::chrono::steady_clock::now() + time;
}

/// A task's id or a standby's name as part of a VM's name.
std::string name_part(const std::string& text) {
  std::string part;
  for (const char letter : text) {
    part += std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '-';
  }
  return part;
}

/// Which modifiers are taken. Thread-safe; outlives the isolation with its last instance.
class Modifiers {
 public:
  explicit Modifiers(std::vector<VmModifier> all) : all_(std::move(all)), taken_(Taken{}) {}

  /// The first free one that every one of whose amounts is asked for, and no more than that.
  /// Source: reference worker, resource modifiers.
  std::optional<std::size_t> take(const std::map<std::string, double>& booked) {
    return taken_.with([&](Taken& taken) -> std::optional<std::size_t> {
      for (std::size_t i = 0; i < all_.size(); ++i) {
        const bool fits =
            std::all_of(all_[i].match.begin(), all_[i].match.end(), [&booked](const auto& one) {
              const auto found = booked.find(one.first);
              return found != booked.end() && found->second <= one.second;
            });
        if (fits && taken.insert(i).second) return i;
      }
      return std::nullopt;
    });
  }
  void retake(std::size_t index) {
    taken_.with([index](Taken& taken) { taken.insert(index); });
  }
  void release(std::size_t index) {
    taken_.with([index](Taken& taken) { taken.erase(index); });
  }
  const Argv& words(std::size_t index) const { return all_[index].run; }

 private:
  using Taken = std::set<std::size_t>;
  const std::vector<VmModifier> all_;
  Guarded<Taken> taken_;
};

class VmInstance final : public Instance {
 public:
  VmInstance(InstanceRecord record, std::shared_ptr<const os::Environment> environment,
             std::shared_ptr<Modifiers> modifiers)
      : record_(std::move(record)),
        environment_(std::move(environment)),
        modifiers_(std::move(modifiers)) {
    const auto pid = static_cast<pid_t>(record_.agent_pid);
    if (pid > 0 && os::is_alive(pid, record_.agent_start_time)) {
      watched_ = os::open_pidfd(pid);
      // The pid may have been reused between the check and the open: check once more after it.
      if (!os::is_alive(pid, record_.agent_start_time)) watched_.reset();
    }
    const std::string modifier = handle(kModifierHandle);
    if (!modifier.empty()) modifier_ = static_cast<std::size_t>(std::stoul(modifier));
    if (modifier_) modifiers_->retake(*modifier_);
  }

  const InstanceRecord& record() const override { return record_; }
  GuestPaths guest_paths() const override {
    const std::string directory = handle(kDirectoryHandle);
    GuestPaths paths{directory + "/gateway.sock", directory + "/scratch", ""};
    paths.reference_agent = agent_port() != 0;
    return paths;
  }

  void use(std::unique_ptr<net::SshSession> session, std::unique_ptr<net::SshStream> stream) {
    session_ = std::move(session);
    stream_ = std::move(stream);
  }
  /// `from_now`: another worker has said what came before.
  void follow_console(bool from_now) {
    const std::string file = handle(kConsoleHandle);
    if (!file.empty()) console_ = std::make_unique<Console>(file, handle(kVmHandle), from_now);
  }
  /// For an agent that knows its task.
  void connect_again() { start_link(); }

  Status send_bootstrap(std::string_view message) override {
    if (agent_port() != 0) return start_reference(message);
    if (!stream_) return error(Code::FailedPrecondition, "the guest's agent waits for nothing");
    CIRRUS_TRY(stream_->write(framed(message)).note("handing the task to the agent in its VM"));
    start_link();
    return {};
  }

  bool wait_end(const StopToken& stop, std::optional<Monotonic> deadline) override {
    // The VM's end and the agent's are both ends.
    for (;;) {
      if (!vm_alive()) return true;
      const Monotonic look = in(std::chrono::milliseconds(200));
      const Monotonic until = deadline ? std::min(*deadline, look) : look;
      if (link_) {
        if (link_->wait_gone(stop, until)) return true;
      } else if (!wait_for(stop, until - std::chrono::steady_clock::now())) {
        return false;
      }
      if (stop.stop_requested()) return false;
      if (deadline && std::chrono::steady_clock::now() >= *deadline) return false;
    }
  }

  std::string end_description() const override {
    if (!vm_alive()) return "its VM stopped running";
    return link_ ? link_->gone().value_or("") : std::string();
  }

  Status run_script(const std::string& script, const StopToken& stop) override {
    if (!session_) return error(Code::FailedPrecondition, "the VM is in use");
    const net::SshCommandEnd end = CIRRUS_TRY(session_->run(
        "exec \"${SHELL:-/bin/sh}\" -l", script + "\nexit\n", stop, Monotonic::max()));
    if (end.exit_code == 0) return {};
    return error(Code::FailedPrecondition, "the script ended with exit status {}: {}",
                 end.exit_code, shorten(std::string(trim(end.output)), 500));
  }

  void interrupt() override {
    const Monotonic deadline = in(std::chrono::seconds(5));
    const Result<std::unique_ptr<net::SshSession>> session =
        net::SshSession::connect(target(), StopToken(), deadline);
    if (!session.ok()) return;
    const std::string directory = handle(kDirectoryHandle);
    (void)session.value()->run(agent_port() != 0 ? reference_interrupt_command(directory)
                                                 : agent_command(directory, "interrupt", {}),
                               {}, StopToken(), deadline);
  }

  Status destroy() override {
    link_.reset();
    stream_.reset();
    session_.reset();
    Status first;
    const std::string vm = handle(kVmHandle);
    if (!vm.empty() && !destroyed_) {
      const std::string tool = handle(kToolHandle);
      // Source: reference worker, teardown: the result of a stop does not matter.
      (void)run_tool(stop_command(tool, vm), *environment_, StopToken(), in(kToolTime));
      first = end_run();
      const Result<std::string> removed =
          run_tool(delete_command(tool, vm), *environment_, StopToken(), in(kToolTime));
      if (!removed.ok() && first.ok()) first = removed.error();
      destroyed_ = removed.ok();
    }
    console_.reset();
    if (modifier_) modifiers_->release(*std::exchange(modifier_, std::nullopt));
    return first;
  }

  net::SshTarget target() const {
    net::SshTarget target;
    target.host = handle(kHostHandle);
    const std::string port = handle(kPortHandle);
    target.port = port.empty() ? 22 : static_cast<std::uint16_t>(std::stoul(port));
    target.user = handle(kUserHandle);
    target.password = handle(kPasswordHandle);
    target.host_key = handle(kHostKeyHandle);
    return target;
  }
  InstanceRecord& edit() { return record_; }
  bool vm_alive() const {
    if (!watched_.valid()) return false;
    const Result<bool> ended =
        os::wait_readable(watched_.get(), StopToken(), std::chrono::steady_clock::now());
    return ended.ok() && !ended.value();
  }

 private:
  std::string handle(const char* name) const {
    const auto found = record_.handles.find(name);
    return found == record_.handles.end() ? std::string() : found->second;
  }
  std::uint16_t agent_port() const {
    const std::string port = handle(kAgentPortHandle);
    return port.empty() ? std::uint16_t{0} : static_cast<std::uint16_t>(std::stoul(port));
  }
  // A reference agent is started with its task.
  Status start_reference(std::string_view message) {
    cirrus::gateway::v1::Bootstrap bootstrap;
    if (!session_ || !bootstrap.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
      return error(Code::FailedPrecondition, "the guest's agent cannot be started");
    }
    ReferenceStart start;
    start.directory = handle(kDirectoryHandle);
    start.port = agent_port();
    start.task_id = bootstrap.task_id();
    start.client_secret = bootstrap.agent_secret();
    start.server_secret = bootstrap.gateway_secret();
    start.environment.insert(bootstrap.process_environment().begin(),
                             bootstrap.process_environment().end());
    start.environment["CIRRUS_VM_ID"] = handle(kVmHandle);
    const std::string script = start.directory + "/start";
    CIRRUS_TRY(
        session_->upload(reference_start_script(start), script, 0700, StopToken(), in(kReadyTime)));
    // From the login shell, so that its profile counts.
    const net::SshCommandEnd end = CIRRUS_TRY(
        session_->run("exec \"${SHELL:-/bin/sh}\" -l -c " + net::shell_quoted("exec " + script), {},
                      StopToken(), in(kReadyTime)));
    if (end.exit_code != 0) {
      return error(Code::FailedPrecondition, "the agent does not start in its VM: {}",
                   shorten(std::string(trim(end.output)), 200));
    }
    start_link();
    return {};
  }
  void start_link() {
    link_ = std::make_unique<GuestLink>(
        GuestLink::Options{target(), handle(kDirectoryHandle), handle(kSocketHandle), agent_port()},
        std::move(session_), std::move(stream_));
  }
  // The tool's `run` ends with its VM; one that does not is killed.
  Status end_run() {
    if (!watched_.valid()) return {};
    const auto ends_within = [this](std::chrono::seconds time) {
      const Result<bool> ended = os::wait_readable(watched_.get(), StopToken(), in(time));
      return ended.ok() && ended.value();
    };
    const auto pid = static_cast<pid_t>(record_.agent_pid);
    bool ended = ends_within(std::chrono::seconds(1));
    if (!ended) {
      (void)::kill(pid, SIGKILL);
      ended = ends_within(kKillTime);
    }
    // Ours to reap, unless an earlier worker was its parent.
    (void)::waitpid(pid, nullptr, WNOHANG);
    if (ended) return {};
    return error(Code::Internal, "the VM's process {} cannot be killed", record_.agent_pid);
  }

  InstanceRecord record_;
  const std::shared_ptr<const os::Environment> environment_;
  const std::shared_ptr<Modifiers> modifiers_;
  std::optional<std::size_t> modifier_;
  os::Fd watched_;  // a pidfd of the tool's `run`
  std::unique_ptr<net::SshSession> session_;
  std::unique_ptr<net::SshStream> stream_;
  std::unique_ptr<GuestLink> link_;
  std::unique_ptr<Console> console_;
  bool destroyed_ = false;
};

/// One launch on its way.
class Launch {
 public:
  Launch(const VmOptions& options, const LaunchRequest& request, const StopToken& stop,
         std::shared_ptr<const os::Environment> environment, std::shared_ptr<Modifiers> modifiers)
      : options_(options),
        request_(request),
        stop_(stop),
        environment_(std::move(environment)),
        modifiers_(std::move(modifiers)) {}

  Result<std::unique_ptr<Instance>> run() {
    spec_ = CIRRUS_TRY(VmSpec::from(request_.spec, request_.softnet_allow));
    CIRRUS_TRY(os::write_file(options_.state_directory / (spec_.tool + "-used"), ""));
    record_.task_cookie = request_.task_cookie;
    record_.handles[kToolHandle] = spec_.tool;
    record_.handles[kLabelHandle] = request_.task_id;
    record_.handles[kUserHandle] = spec_.user;
    record_.handles[kPasswordHandle] = spec_.password;
    record_.handles[kPortHandle] = std::to_string(spec_.port);
    record_.handles[kSocketHandle] = request_.gateway_socket.string();
    vm_ = "cirrus-" + options_.owner + "-" + name_part(request_.task_id) + "-" + random_hex(4);
    remove_earlier();
    CIRRUS_TRY(os::write_file(begun_file(), vm_));

    Result<std::unique_ptr<Instance>> made = make();
    if (!made.ok()) {
      const Status removed = instance().destroy();
      if (!removed.ok() && record_.handles.contains(kVmHandle)) {
        log_warning("VM not removed", {{"vm", vm_}, {"error", removed.error()}});
      }
    }
    return made;
  }

 private:
  // Beside the agent's log, and gone with it: the VM that a worker was making when it died.
  std::filesystem::path begun_file() const { return request_.agent_log.parent_path() / kBegunFile; }
  void remove_earlier() const {
    const Result<std::string> earlier = os::read_file(begun_file(), 256);
    if (!earlier.ok()) return;
    log_info("VM of an earlier start removed", {{"vm", earlier.value()}});
    InstanceRecord record;
    record.handles[kToolHandle] = spec_.tool;
    record.handles[kVmHandle] = earlier.value();
    const Status removed = VmInstance(record, environment_, modifiers_).destroy();
    // One that was never cloned is no failure.
    if (!removed.ok()) log_debug("VM not removed", {{"error", removed.error()}});
  }

  Result<std::unique_ptr<Instance>> make() {
    CIRRUS_TRY(prepare_directories());
    request_.notice(fmt::format("Pulling the image {}.", spec_.image));
    const Result<std::string> pulled = tool(pull_command(spec_), kPullTime);
    // Source: reference worker: an image that is there may do.
    if (!pulled.ok()) {
      if (pulled.error().code() == Code::NotFound || stop_.stop_requested()) return pulled.error();
      request_.notice(fmt::format("The pull failed ({}); trying with what is there.",
                                  pulled.error().message()));
    }
    os::Environment cloning = *environment_;
    cloning["TART_NO_AUTO_PRUNE"] = "";
    CIRRUS_TRY(run_tool(clone_command(spec_, vm_), cloning, stop_, in(kCloneTime)));
    record_.handles[kVmHandle] = vm_;
    crash_point("vm.cloned");
    for (const Argv& command : set_commands(spec_, vm_)) CIRRUS_TRY(tool(command, kToolTime));
    CIRRUS_TRY(start());
    crash_point("vm.started");
    const Monotonic deadline = in(options_.boot_time);
    std::unique_ptr<net::SshSession> session = CIRRUS_TRY(log_in(deadline));
    crash_point("vm.entered");
    CIRRUS_TRY(prepare_guest(*session));
    const GuestKind kind = CIRRUS_TRY(guest_kind(*session, stop_, in(kToolTime)));
    const AgentProgram program = CIRRUS_TRY(options_.agents.find(kind));
    record_.handles[kDirectoryHandle] =
        CIRRUS_TRY(install_agent(*session, program, stop_, in(kUploadTime)));
    std::unique_ptr<net::SshStream> stream;
    if (program.reference) {
      request_.notice(fmt::format("The agent in this guest is the reference CLI binary '{}'.",
                                  program.path.filename().string()));
      record_.handles[kAgentPortHandle] = std::to_string(CIRRUS_TRY(session->listen(0)));
    } else {
      stream = CIRRUS_TRY(session->open(
          agent_command(record_.handles[kDirectoryHandle], "start", {{"CIRRUS_VM_ID", vm_}})));
      CIRRUS_TRY(stream->expect(model::kBridgeReady, stop_, in(kReadyTime))
                     .note("starting the agent in the guest"));
    }
    auto launched = std::make_unique<VmInstance>(record_, environment_, modifiers_);
    launched->use(std::move(session), std::move(stream));
    launched->follow_console(false);
    return std::unique_ptr<Instance>(std::move(launched));
  }

  VmInstance instance() const { return VmInstance(record_, environment_, modifiers_); }

  Result<std::string> tool(const Argv& argv, std::chrono::nanoseconds time) const {
    return run_tool(argv, *environment_, stop_, in(time));
  }

  Status prepare_directories() const {
    for (const SharedDirectory& directory : spec_.directories) {
      // Source: reference worker, volumes: one level is made.
      if (::mkdir(directory.source.c_str(), 0755) != 0 && errno != EEXIST) {
        return errno_error(errno, "the volume '{}' does not exist and cannot be made",
                           directory.source);
      }
    }
    return {};
  }

  Status start() {
    Argv modifiers;
    if (spec_.tool == "vetu") {
      if (options_.vetu_mtu != 0) {
        modifiers = {"--net-host-mtu", std::to_string(options_.vetu_mtu)};
      }
      const std::optional<std::size_t> modifier = modifiers_->take(request_.resources);
      if (modifier) {
        record_.handles[kModifierHandle] = std::to_string(*modifier);
        const Argv& words = modifiers_->words(*modifier);
        modifiers.insert(modifiers.end(), words.begin(), words.end());
      }
    }
    const os::Fd log = CIRRUS_TRY(
        os::open_file(request_.agent_log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    os::SpawnOptions options;
    options.argv = run_command(spec_, vm_, modifiers);
    options.environment = *environment_;
    options.descriptors = {{1, log.get()}, {2, log.get()}};
    os::Process process = CIRRUS_TRY(os::Process::spawn(options).note("starting the VM"));
    record_.agent_pid = process.pid();
    record_.agent_start_time = os::process_start_time(process.pid()).value_or(0);
    if (spec_.console_to_log) record_.handles[kConsoleHandle] = request_.agent_log.string();
    // It outlives this worker, as its agent does.
    process.release();
    return {};
  }

  /// Its address, and a login there.
  Result<std::unique_ptr<net::SshSession>> log_in(Monotonic deadline) {
    request_.notice("Waiting for the VM to boot.");
    const VmInstance running = instance();
    for (;;) {
      const Result<std::string> address = tool(address_command(spec_.tool, vm_), kToolTime);
      if (address.ok() && !trim(address.value()).empty()) {
        record_.handles[kHostHandle] = std::string(trim(address.value()));
        break;
      }
      if (!running.vm_alive()) return stopped();
      if (std::chrono::steady_clock::now() >= deadline) {
        return error(Code::DeadlineExceeded, "the VM got no address in {} s: {}",
                     options_.boot_time.count(),
                     address.ok() ? "its tool names none" : address.error().message());
      }
      if (!wait_for(stop_, kAddressPause)) return error(Code::Cancelled, "stopped");
    }
    // A VM that stops while it boots ends the wait.
    StopSource ended;
    const StopCallback on_stop(stop_, [&ended] { ended.request_stop(); });
    const Thread watcher([&](const StopToken& done) {
      while (wait_for(done, std::chrono::milliseconds(200))) {
        if (!running.vm_alive()) ended.request_stop();
      }
    });
    Result<std::unique_ptr<net::SshSession>> session =
        net::SshSession::connect(instance().target(), ended.get_token(), deadline);
    if (!session.ok() && !running.vm_alive() && !stop_.stop_requested()) return stopped();
    if (session.ok()) record_.handles[kHostKeyHandle] = session.value()->host_key();
    return session;
  }

  Error stopped() const {
    const std::string said = os::read_file(request_.agent_log).value_or("");
    const std::string words = first_meaningful_line(said, "");
    return error(Code::FailedPrecondition, "the VM stopped while it booted{}",
                 words.empty() ? std::string() : ": " + words);
  }

  Status prepare_guest(net::SshSession& session) const {
    if (spec_.sync_time) {
      // Source: reference worker, SSH bootstrap: a failure does not matter.
      const std::time_t now = to_unix_millis(system_clock().wall()) / 1000;
      std::tm parts{};
      ::gmtime_r(&now, &parts);
      char text[32] = {};
      (void)std::strftime(text, sizeof text, "%m%d%H%M%Y.%S", &parts);
      (void)session.run(std::string("sudo -n date -u ") + text, {}, stop_, in(kToolTime));
    }
    for (const SharedDirectory& directory : spec_.directories) {
      if (directory.target.empty()) continue;
      // Source: reference worker, Tart volumes: where the guest sees what is shared.
      const net::SshCommandEnd end = CIRRUS_TRY(
          session.run("ln -s " + net::shell_quoted("/Volumes/My Shared Files/" + directory.name) +
                          " " + net::shell_quoted(directory.target),
                      {}, stop_, in(kToolTime)));
      if (end.exit_code != 0) {
        return error(Code::FailedPrecondition, "the volume '{}' cannot be put at '{}': {}",
                     directory.name, directory.target, shorten(std::string(trim(end.output)), 200));
      }
    }
    return {};
  }

  const VmOptions& options_;
  const LaunchRequest& request_;
  const StopToken stop_;
  const std::shared_ptr<const os::Environment> environment_;
  const std::shared_ptr<Modifiers> modifiers_;
  VmSpec spec_;
  std::string vm_;
  InstanceRecord record_;
};

class Vm final : public VmIsolation {
 public:
  explicit Vm(VmOptions options)
      : options_(std::move(options)),
        environment_(std::make_shared<const os::Environment>(options_.environment)),
        modifiers_(std::make_shared<Modifiers>(options_.modifiers)) {}

  bool launches_at_once() const override { return false; }

  Result<std::unique_ptr<Instance>> launch(const LaunchRequest& request,
                                           const StopToken& stop) override {
    return Launch(options_, request, stop, environment_, modifiers_).run();
  }

  Result<std::unique_ptr<Instance>> adopt(const InstanceRecord& record) override {
    auto instance = std::make_unique<VmInstance>(record, environment_, modifiers_);
    if (record.handles.contains(kDirectoryHandle)) instance->connect_again();
    instance->follow_console(true);
    return std::unique_ptr<Instance>(std::move(instance));
  }

  void remove_leftovers(const LiveTasks& live_tasks) override {
    for (const char* tool : {"tart", "vetu"}) {
      std::error_code failure;
      const std::filesystem::path marker = options_.state_directory / (std::string(tool) + "-used");
      if (!std::filesystem::exists(marker, failure)) continue;
      const Status removed = remove_leftovers_of(tool, live_tasks);
      if (!removed.ok()) log_warning("leftover VMs stay", {{"error", removed.error()}});
    }
  }

 private:
  Status remove_leftovers_of(const std::string& tool, const LiveTasks& live_tasks) {
    const std::string names =
        CIRRUS_TRY(run_tool(list_command(tool), *environment_, StopToken(), in(kToolTime)));
    const std::set<std::string> live = live_tasks();
    const std::string prefix = "cirrus-" + options_.owner + "-";
    Status first;
    for (const std::string& line : split(names, '\n')) {
      const std::string name(trim(line));
      if (!name.starts_with(prefix)) continue;
      const std::string task = name.substr(prefix.size(), name.rfind('-') - prefix.size());
      const bool lives = std::any_of(live.begin(), live.end(), [&task](const std::string& one) {
        return name_part(one) == task;
      });
      if (lives) continue;
      log_info("VM of a dead task removed", {{"vm", name}});
      (void)run_tool(stop_command(tool, name), *environment_, StopToken(), in(kToolTime));
      const Result<std::string> removed =
          run_tool(delete_command(tool, name), *environment_, StopToken(), in(kToolTime));
      // One that stays does not keep the others.
      if (!removed.ok() && first.ok()) first = removed.error();
    }
    return first;
  }

  const VmOptions options_;
  const std::shared_ptr<const os::Environment> environment_;
  const std::shared_ptr<Modifiers> modifiers_;
};

}  // namespace

std::unique_ptr<VmIsolation> make_vm(VmOptions options) {
  return std::make_unique<Vm>(std::move(options));
}

}  // namespace cirrus::isolation
