// SPDX-License-Identifier: MIT
#include "isolation/container/container.h"

#include <map>

#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "isolation/container/images.h"
#include "isolation/container/tar_entry.h"
#include "isolation/framing.h"
#include "os/files.h"
#include "os/memory_events.h"
#include "os/proc.h"
#include "os/waker.h"

namespace cirrus::isolation {

namespace {

constexpr char kOwnerLabel[] = "org.cirrus.owner";
constexpr char kTaskLabel[] = "org.cirrus.task";
constexpr char kContainerHandle[] = "container";
constexpr char kVolumeHandle[] = "volume";
// What was made for a standby instance keeps its label when a task takes it over.
constexpr char kLabelHandle[] = "label";
constexpr char kCompanionHandle[] = "companion-";
// Beside a task's lock: something may have been made for it.
constexpr char kBegunFile[] = "container-begun";
// Ours: how long a removal waits for an engine that does not answer, for one that refuses, and
// between two tries.
constexpr auto kEnginePatience = std::chrono::seconds(60);
constexpr auto kRemovalPatience = std::chrono::seconds(10);
constexpr auto kEnginePause = std::chrono::milliseconds(500);
// Ours: a database that fills itself takes a while; the reference leaves this to its cluster.
constexpr auto kReadinessTime = std::chrono::minutes(5);
constexpr auto kReadinessPause = std::chrono::milliseconds(500);

class ContainerInstance final : public Instance {
 public:
  ContainerInstance(InstanceRecord record, std::shared_ptr<ContainerEngine> engine, os::Fd input)
      : record_(std::move(record)), engine_(std::move(engine)), input_(std::move(input)) {
    const auto pid = static_cast<pid_t>(record_.agent_pid);
    if (pid > 0 && os::is_alive(pid, record_.agent_start_time)) {
      memory_ = os::MemoryEvents::of(pid);
      watched_ = os::open_pidfd(pid);
      // The pid may have been reused between the check and the open: check once more after it.
      if (!os::is_alive(pid, record_.agent_start_time)) watched_.reset();
    }
  }

  const InstanceRecord& record() const override { return record_; }
  GuestPaths guest_paths() const override {
    return {.gateway_socket = std::string(ContainerPaths::kGateway) + "/gateway.sock",
            .scratch_directory = ContainerPaths::kScratch,
            .working_directory = ContainerPaths::kWorkingDirectory};
  }

  Status send_bootstrap(std::string_view message) override {
    Status sent = os::write_all(input_.get(), framed(message));
    input_.reset();
    return std::move(sent).note("handing the task to the agent in its container");
  }

  bool wait_end(const StopToken& stop, std::optional<Monotonic> deadline) override {
    if (ended_) return true;
    if (!watched_.valid()) return ended_ = true;
    const Result<bool> readable = os::wait_readable(watched_.get(), stop, deadline);
    ended_ = readable.ok() && readable.value();
    return ended_;
  }

  std::string end_description() const override {
    const Result<ContainerState> state = engine_->inspect(id(), StopToken());
    if (!state.ok()) {
      return state.error().code() == Code::NotFound ? "its container was removed"
                                                    : state.error().message();
    }
    if (state.value().running) return {};
    const bool no_memory =
        state.value().out_of_memory || (memory_ && memory_->kills().value_or(0) > 0);
    std::string text = no_memory ? "killed for want of memory: raise 'memory' of the container"
                                 : fmt::format("exit status {}", state.value().exit_code);
    if (!state.value().error.empty()) text += ": " + state.value().error;
    const Result<std::string> output = engine_->last_output(id());
    if (output.ok() && !output.value().empty()) text += ", it said: " + output.value();
    return text;
  }

  Status run_script(const std::string& script, const StopToken& stop) override {
    const CommandEnd end = CIRRUS_TRY(engine_->run_inside(id(), {"/bin/sh", "-c", script}, stop));
    if (end.exit_code == 0) return {};
    return error(Code::FailedPrecondition, "the script ended with exit status {}: {}",
                 end.exit_code, shorten(std::string(trim(end.output)), 500));
  }

  void interrupt() override {
    const Status sent = engine_->send_signal(id(), "SIGTERM");
    if (!sent.ok()) log_debug("container not signalled", {{"error", sent.error()}});
  }

  Status destroy() override {
    input_.reset();
    // An engine that is being restarted comes back in time, as a rule; one that is cleaning up
    // after the same container itself refuses for a moment. What is left after that is removed
    // when the worker starts the next time.
    const Monotonic begun = system_clock().now();
    for (;;) {
      Status removed = try_destroy();
      if (removed.ok()) return removed;
      const Code code = removed.error().code();
      const bool away = code == Code::Unavailable || code == Code::DeadlineExceeded;
      if (system_clock().now() - begun >= (away ? kEnginePatience : kRemovalPatience)) {
        return removed;
      }
      wait_for(StopToken(), kEnginePause);
    }
  }

 private:
  Status try_destroy() {
    Status first;
    for (const auto& [handle, companion] : record_.handles) {
      if (!handle.starts_with(kCompanionHandle)) continue;
      Status removed = engine_->remove(companion);
      if (first.ok()) first = std::move(removed);
    }
    if (!id().empty()) {
      Status removed = engine_->remove(id());
      if (first.ok()) first = std::move(removed);
    }
    const auto volume = record_.handles.find(kVolumeHandle);
    if (volume != record_.handles.end()) {
      Status removed = engine_->remove_volume(volume->second);
      if (first.ok()) first = std::move(removed);
    }
    return first;
  }

  std::string id() const {
    const auto found = record_.handles.find(kContainerHandle);
    return found == record_.handles.end() ? std::string() : found->second;
  }

  InstanceRecord record_;
  const std::shared_ptr<ContainerEngine> engine_;
  os::Fd input_;
  os::Fd watched_;  // a pidfd
  std::optional<os::MemoryEvents> memory_;
  bool ended_ = false;
};

class Container final : public ContainerIsolation {
 public:
  explicit Container(ContainerOptions options)
      : options_(std::move(options)),
        search_(options_.engine),
        images_(options_.defaults.pull, options_.engine.environment) {}

  bool launches_at_once() const override { return false; }

  Result<std::unique_ptr<Instance>> launch(const LaunchRequest& request,
                                           const StopToken& stop) override {
    ContainerSpec spec = container_spec(request);
    CIRRUS_TRY(check_image_name(spec.image));
    for (const ContainerSpec::Companion& companion : spec.companions) {
      CIRRUS_TRY(check_image_name(companion.image).note("container '{}'", companion.name));
    }
    for (ContainerSpec::Volume& volume : spec.volumes) CIRRUS_TRY(prepare_volume(volume));
    const EngineSearch::Found found = CIRRUS_TRY(search_.get(stop));
    const std::shared_ptr<ContainerEngine>& engine = found.engine;
    CIRRUS_TRY(os::write_file(options_.marker, found.info.name + "\n"));
    std::vector<std::string> notices;
    spec = clamp(std::move(spec), found.info, notices);
    for (const std::string& notice : notices) {
      request.notice(notice);
      log_info("container limited", {{"task", request.task_id}, {"what", notice}});
    }
    const ImageInfo image = CIRRUS_TRY(images_.provide(*engine, spec, request, stop));

    for (const ContainerSpec::Companion& companion : spec.companions) {
      CIRRUS_TRY(images_.provide_companion(*engine, companion.image, spec, request, stop));
    }

    CIRRUS_TRY(remove_earlier(*engine, request, stop).note("removing what an earlier start left"));
    const Labels labels{{kOwnerLabel, options_.owner}, {kTaskLabel, request.task_id}};
    InstanceRecord record;
    record.task_cookie = request.task_cookie;
    record.handles[kLabelHandle] = request.task_id;
    record.working_directory = ContainerPaths::kWorkingDirectory;
    const std::string name = "cirrus-" + random_hex(8);
    CIRRUS_TRY(engine->create_volume(name, labels, stop).note("making the working volume"));
    record.handles[kVolumeHandle] = name;
    crash_point("container.volume.made");
    // From here a failure removes what was made.
    const auto started = [&]() -> Result<std::unique_ptr<Instance>> {
      const std::string id = CIRRUS_TRY(
          engine->create(name, create_request(request, spec, options_.defaults, name, labels), stop)
              .note("creating the container"));
      record.handles[kContainerHandle] = id;
      crash_point("container.created");
      if (!image.user.empty() && image.user != "root" && image.user != "0") {
        const std::filesystem::path directory(ContainerPaths::kWorkingDirectory);
        CIRRUS_TRY(engine
                       ->put_files(id, directory.parent_path().string(),
                                   tar_directory(directory.filename().string(), 0777) + tar_end(),
                                   stop)
                       .note("opening the working volume to the image's user"));
      }
      // Before the start, so that nothing is lost.
      os::Fd input = CIRRUS_TRY(engine->attach_input(id, stop).note("attaching to the container"));
      CIRRUS_TRY(engine->start(id, stop).note("starting the container"));
      crash_point("container.started");
      CIRRUS_TRY(start_companions(*engine, spec, request, labels, record, stop));
      const ContainerState state = CIRRUS_TRY(engine->inspect(id, stop));
      record.agent_pid = state.pid;
      record.agent_start_time = os::process_start_time(static_cast<pid_t>(state.pid)).value_or(0);
      return std::unique_ptr<Instance>(
          std::make_unique<ContainerInstance>(record, engine, std::move(input)));
    };
    Result<std::unique_ptr<Instance>> instance = started();
    if (!instance.ok()) {
      const Status removed = ContainerInstance(record, engine, os::Fd()).destroy();
      if (!removed.ok()) log_warning("container not removed", {{"error", removed.error()}});
    }
    return instance;
  }

  Result<std::unique_ptr<Instance>> adopt(const InstanceRecord& record) override {
    const EngineSearch::Found found = CIRRUS_TRY(search_.get(StopToken()));
    return std::unique_ptr<Instance>(
        std::make_unique<ContainerInstance>(record, found.engine, os::Fd()));
  }

  void remove_leftovers(const LiveTasks& live_tasks) override {
    std::error_code failure;
    if (!std::filesystem::exists(options_.marker, failure)) return;
    const Status removed = [&]() -> Status {
      const EngineSearch::Found found = CIRRUS_TRY(search_.get(StopToken()));
      const Owned owned = CIRRUS_TRY(owned_in(*found.engine, StopToken()));
      return remove(*found.engine, owned, "container of a dead task removed",
                    [live = live_tasks()](const std::string* task) {
                      return task == nullptr || !live.contains(*task);
                    });
    }();
    if (!removed.ok()) log_warning("leftover containers stay", {{"error", removed.error()}});
  }

 private:
  // What an earlier worker made for this task before it died. Its leftovers are spared, because the
  // task lives. A file says that there may be something, so that others need not ask the engine.
  Status remove_earlier(ContainerEngine& engine, const LaunchRequest& request,
                        const StopToken& stop) const {
    const std::filesystem::path begun = request.lock_file.parent_path() / kBegunFile;
    std::error_code failure;
    if (!std::filesystem::exists(begun, failure)) return os::write_file(begun, "");
    const Owned owned = CIRRUS_TRY(owned_in(engine, stop));
    return remove(engine, owned, "container of an earlier start removed",
                  [&request](const std::string* task) {
                    return task != nullptr && *task == request.task_id;
                  });
  }

  struct Owned {
    std::vector<ContainerEngine::Labelled> containers;
    std::vector<ContainerEngine::Labelled> volumes;
  };
  Result<Owned> owned_in(ContainerEngine& engine, const StopToken& stop) const {
    const std::string label = std::string(kOwnerLabel) + "=" + options_.owner;
    Owned owned;
    owned.containers = CIRRUS_TRY(engine.containers_with(label, stop));
    owned.volumes = CIRRUS_TRY(engine.volumes_with(label, stop));
    return owned;
  }
  /// Those of which `goes` says so, by the task they were made for; null: none is named.
  static Status remove(ContainerEngine& engine, const Owned& owned, const char* words,
                       const std::function<bool(const std::string* task)>& goes) {
    const auto gone = [&goes](const ContainerEngine::Labelled& thing) {
      const auto task = thing.labels.find(kTaskLabel);
      return goes(task == thing.labels.end() ? nullptr : &task->second);
    };
    for (const auto& container : owned.containers) {
      if (!gone(container)) continue;
      log_info(words, {{"container", container.id}});
      CIRRUS_TRY(engine.remove(container.id));
    }
    for (const auto& volume : owned.volumes) {
      if (gone(volume)) CIRRUS_TRY(engine.remove_volume(volume.id));
    }
    return {};
  }

  // They live in the network of the task's container, so that it finds them at localhost.
  Status start_companions(ContainerEngine& engine, const ContainerSpec& spec,
                          const LaunchRequest& request, const Labels& labels,
                          InstanceRecord& record, const StopToken& stop) {
    const std::string main = record.handles[kContainerHandle];
    for (const ContainerSpec::Companion& companion : spec.companions) {
      const std::string made = CIRRUS_TRY(
          engine
              .create("cirrus-" + random_hex(8),
                      companion_request(companion, options_.defaults, main, labels), stop)
              .note("creating container '{}'", companion.name));
      record.handles[kCompanionHandle + companion.name] = made;
      CIRRUS_TRY(engine.start(made, stop).note("starting container '{}'", companion.name));
    }
    for (const ContainerSpec::Companion& companion : spec.companions) {
      if (companion.readiness_command.empty()) continue;
      request.notice(fmt::format("Waiting for container '{}' to be ready.", companion.name));
      CIRRUS_TRY(
          wait_ready(engine, companion, record.handles[kCompanionHandle + companion.name], stop));
    }
    return {};
  }

  static Status wait_ready(ContainerEngine& engine, const ContainerSpec::Companion& companion,
                           const std::string& id, const StopToken& stop) {
    // One text is a line of shell, several are a command and its arguments.
    std::vector<std::string> command = companion.readiness_command;
    if (command.size() == 1) command = {"/bin/sh", "-c", command.front()};
    const Monotonic deadline = system_clock().now() + kReadinessTime;
    std::string last;
    for (;;) {
      const Result<CommandEnd> end = engine.run_inside(id, command, stop);
      if (end.ok() && end.value().exit_code == 0) return {};
      if (stop.stop_requested()) return error(Code::Cancelled, "stopped");
      last = end.ok() ? end.value().output : end.error().to_string();
      const ContainerState state = CIRRUS_TRY(engine.inspect(id, stop));
      if (!state.running) {
        return error(Code::FailedPrecondition,
                     "container '{}' ended with exit status {} before it was ready: {}",
                     companion.name, state.exit_code, engine.last_output(id).value_or(""));
      }
      if (system_clock().now() >= deadline) {
        return error(Code::DeadlineExceeded, "container '{}' was not ready within {} minutes: {}",
                     companion.name, kReadinessTime.count(), shorten(last, 500));
      }
      if (!wait_for(stop, kReadinessPause)) return error(Code::Cancelled, "stopped");
    }
  }

  // The host directory is made as the reference does, and mounted where it leads in truth: that is
  // what the policy judged.
  static Status prepare_volume(ContainerSpec::Volume& volume) {
    CIRRUS_TRY(check_volume(volume));
    std::error_code failure;
    if (!std::filesystem::exists(volume.source, failure)) {
      CIRRUS_TRY(os::make_directories(volume.source, 0700).note("volume '{}'", volume.source));
    }
    const std::filesystem::path real = std::filesystem::canonical(volume.source, failure);
    if (failure) {
      return error(Code::NotFound, "volume '{}': {}", volume.source, failure.message());
    }
    volume.source = real.string();
    return {};
  }

  const ContainerOptions options_;
  EngineSearch search_;
  Images images_;
};

}  // namespace

ContainerSpec container_spec(const LaunchRequest& request) {
  const auto& wanted = request.spec.container();
  ContainerSpec container;
  container.image = wanted.image();
  container.cpu = static_cast<double>(wanted.cpu());
  container.memory_mib = wanted.memory();
  for (const auto& volume : wanted.volumes()) {
    container.volumes.push_back({volume.source(), volume.target(), volume.read_only()});
  }
  if (!request.container_instance) return container;
  container.privileged = request.container_instance->privileged();
  container.registry_config = request.container_instance->registry_config();
  for (const auto& given : request.container_instance->additional_containers()) {
    ContainerSpec::Companion companion;
    companion.name = given.name();
    companion.image = given.image();
    companion.cpu = static_cast<double>(given.cpu());
    companion.memory_mib = given.memory();
    companion.environment.insert(given.environment().begin(), given.environment().end());
    companion.command.assign(given.command().begin(), given.command().end());
    companion.readiness_command.assign(given.readiness_command().begin(),
                                       given.readiness_command().end());
    companion.privileged = given.privileged();
    for (const auto& port : given.ports()) {
      companion.ports.push_back({port.container_port(), port.host_port()});
    }
    container.companions.push_back(std::move(companion));
  }
  return container;
}

std::unique_ptr<ContainerIsolation> make_container(ContainerOptions options) {
  return std::make_unique<Container>(std::move(options));
}

}  // namespace cirrus::isolation
