// SPDX-License-Identifier: MIT
#include "isolation/container/container.h"

#include <map>

#include "base/ids.h"
#include "base/log.h"
#include "isolation/container/registry_login.h"
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

// One empty directory that everybody may write to, as a tar archive: users of images other than
// root get a working directory of their own that way.
std::string open_directory_tar(const std::string& name) {
  std::string header(512, '\0');
  const auto put = [&](std::size_t offset, std::string_view text) {
    header.replace(offset, text.size(), text);
  };
  put(0, name + "/");
  put(100, "0000777");
  put(108, "0000000");
  put(116, "0000000");
  put(124, "00000000000");
  put(136, "00000000000");
  put(148, "        ");
  put(156, "5");
  put(257, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum));
  header[154] = '\0';
  return header + std::string(1024, '\0');
}

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
    return {std::string(ContainerPaths::kGateway) + "/gateway.sock", ContainerPaths::kScratch,
            ContainerPaths::kWorkingDirectory};
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

  void interrupt() override {
    const Status sent = engine_->send_signal(id(), "SIGTERM");
    if (!sent.ok()) log_debug("container not signalled", {{"error", sent.error()}});
  }

  Status destroy() override {
    input_.reset();
    Status first;
    if (!id().empty()) first = engine_->remove(id());
    const auto volume = record_.handles.find(kVolumeHandle);
    if (volume != record_.handles.end()) {
      Status removed = engine_->remove_volume(volume->second);
      if (first.ok()) first = std::move(removed);
    }
    return first;
  }

 private:
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
      : options_(std::move(options)), search_(options_.engine) {}

  bool launches_at_once() const override { return false; }

  Result<std::unique_ptr<Instance>> launch(const LaunchRequest& request,
                                           const StopToken& stop) override {
    ContainerSpec spec = request.container ? *request.container : container_spec(request.spec);
    if (!request.spec.container().dockerfile().empty()) {
      return error(Code::Unimplemented,
                   "this worker does not build images yet: build '{}' yourself and name the result "
                   "with 'image:'",
                   request.spec.container().dockerfile());
    }
    CIRRUS_TRY(check_image_name(spec.image));
    for (ContainerSpec::Volume& volume : spec.volumes) CIRRUS_TRY(prepare_volume(volume));
    const EngineSearch::Found found = CIRRUS_TRY(search_.get(stop));
    const std::shared_ptr<ContainerEngine>& engine = found.engine;
    CIRRUS_TRY(os::write_file(options_.marker, found.info.name + "\n"));
    std::vector<std::string> notices;
    spec = clamp(std::move(spec), found.info, notices);
    for (const std::string& notice : notices) {
      log_info("container limited", {{"task", request.task_id}, {"what", notice}});
    }
    const ImageInfo image = CIRRUS_TRY(provide_image(*engine, spec, request, stop));

    const Labels labels{{kOwnerLabel, options_.owner}, {kTaskLabel, request.task_id}};
    InstanceRecord record;
    record.task_cookie = request.task_cookie;
    record.working_directory = ContainerPaths::kWorkingDirectory;
    const std::string name = "cirrus-" + random_hex(8);
    CIRRUS_TRY(engine->create_volume(name, labels, stop).note("making the working volume"));
    record.handles[kVolumeHandle] = name;
    // From here a failure removes what was made.
    const auto started = [&]() -> Result<std::unique_ptr<Instance>> {
      const std::string id = CIRRUS_TRY(
          engine->create(name, create_request(request, spec, options_.defaults, name, labels), stop)
              .note("creating the container"));
      record.handles[kContainerHandle] = id;
      if (!image.user.empty() && image.user != "root" && image.user != "0") {
        const std::filesystem::path directory(ContainerPaths::kWorkingDirectory);
        CIRRUS_TRY(engine
                       ->put_files(id, directory.parent_path().string(),
                                   open_directory_tar(directory.filename().string()), stop)
                       .note("opening the working volume to the image's user"));
      }
      // Before the start, so that nothing is lost.
      os::Fd input = CIRRUS_TRY(engine->attach_input(id, stop).note("attaching to the container"));
      CIRRUS_TRY(engine->start(id, stop).note("starting the container"));
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

  void remove_leftovers(const std::set<std::string>& live_tasks) override {
    std::error_code failure;
    if (!std::filesystem::exists(options_.marker, failure)) return;
    const Status removed = [&]() -> Status {
      const EngineSearch::Found found = CIRRUS_TRY(search_.get(StopToken()));
      const std::string label = std::string(kOwnerLabel) + "=" + options_.owner;
      const auto dead = [&](const ContainerEngine::Labelled& thing) {
        const auto task = thing.labels.find(kTaskLabel);
        return task == thing.labels.end() || !live_tasks.contains(task->second);
      };
      for (const auto& container : CIRRUS_TRY(found.engine->containers_with(label, StopToken()))) {
        if (!dead(container)) continue;
        log_info("container of a dead task removed", {{"container", container.id}});
        CIRRUS_TRY(found.engine->remove(container.id));
      }
      for (const auto& volume : CIRRUS_TRY(found.engine->volumes_with(label, StopToken()))) {
        if (dead(volume)) CIRRUS_TRY(found.engine->remove_volume(volume.id));
      }
      return {};
    }();
    if (!removed.ok()) log_warning("leftover containers stay", {{"error", removed.error()}});
  }

 private:
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

  // Tasks that want the same image at the same time pull it once: the others wait and find it.
  Result<ImageInfo> provide_image(ContainerEngine& engine, const ContainerSpec& spec,
                                  const LaunchRequest& request, const StopToken& stop) {
    using Pull = ContainerDefaults::Pull;
    const std::lock_guard lock(lock_of(spec.image));
    std::optional<ImageInfo> image = CIRRUS_TRY(engine.find_image(spec.image, stop));
    const bool pulls = options_.defaults.pull == Pull::Always ||
                       (!image && options_.defaults.pull == Pull::IfNotPresent);
    if (pulls) {
      log_info("pulling image", {{"task", request.task_id}, {"image", spec.image}});
      const std::string login =
          registry_login(spec.image, spec.registry_config, options_.engine.environment, stop);
      CIRRUS_TRY(engine
                     .pull(
                         spec.image, login,
                         [&](std::string_view line) {
                           log_debug("pull", {{"image", spec.image}, {"line", line}});
                         },
                         stop)
                     .note("pulling image '{}'", spec.image));
      image = CIRRUS_TRY(engine.find_image(spec.image, stop));
    }
    if (!image) {
      return error(Code::NotFound, "the engine has no image '{}'{}", spec.image,
                   pulls ? "" : " and this worker is told never to pull");
    }
    return *image;
  }

  std::mutex& lock_of(const std::string& image) {
    const std::lock_guard lock(mutex_);
    return pulls_[image];
  }

  const ContainerOptions options_;
  EngineSearch search_;
  std::mutex mutex_;
  std::map<std::string, std::mutex> pulls_;  // guarded by mutex_; the entries stay
};

}  // namespace

ContainerSpec container_spec(const IsolationSpec& spec) {
  ContainerSpec container;
  container.image = spec.container().image();
  container.cpu = static_cast<double>(spec.container().cpu());
  container.memory_mib = spec.container().memory();
  for (const auto& volume : spec.container().volumes()) {
    container.volumes.push_back({volume.source(), volume.target(), volume.read_only()});
  }
  return container;
}

std::unique_ptr<ContainerIsolation> make_container(ContainerOptions options) {
  return std::make_unique<Container>(std::move(options));
}

}  // namespace cirrus::isolation
