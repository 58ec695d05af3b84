// SPDX-License-Identifier: MIT
#include "isolation/container/images.h"

#include "base/log.h"
#include "isolation/container/build_context.h"
#include "isolation/container/pull_progress.h"
#include "isolation/container/registry_login.h"
#include "os/files.h"

namespace cirrus::isolation {

namespace {

constexpr char kRepositoryLabel[] = "org.cirrus.repository";

/// Passes on what a person wants to see of the engine's messages.
class Report {
 public:
  explicit Report(const LaunchRequest& request) : request_(request) {}
  void operator()(std::string_view message) {
    log_debug("engine", {{"task", request_.task_id}, {"message", message}});
    const std::optional<std::string> text = progress_.feed(message, system_clock().now());
    if (text) request_.notice(*text);
  }

 private:
  const LaunchRequest& request_;
  PullProgress progress_;
};

std::string repository_of(const LaunchRequest& request) {
  const auto found = request.variables.find("CIRRUS_REPO_FULL_NAME");
  return found == request.variables.end() ? std::string() : found->second;
}

}  // namespace

Result<ImageInfo> Images::provide(ContainerEngine& engine, const ContainerSpec& spec,
                                  const LaunchRequest& request, const StopToken& stop) {
  const Lock held = CIRRUS_TRY(lock(spec.image, request, stop));
  if (request.spec.container().dockerfile().empty()) {
    return pulled(engine, spec.image, spec, request, stop);
  }
  return built(engine, spec, request, stop);
}

Status Images::provide_companion(ContainerEngine& engine, const std::string& image,
                                 const ContainerSpec& spec, const LaunchRequest& request,
                                 const StopToken& stop) {
  const Lock held = CIRRUS_TRY(lock(image, request, stop));
  CIRRUS_TRY(pulled(engine, image, spec, request, stop));
  return {};
}

Result<ImageInfo> Images::pulled(ContainerEngine& engine, const std::string& name,
                                 const ContainerSpec& spec, const LaunchRequest& request,
                                 const StopToken& stop) {
  using Pull = ContainerDefaults::Pull;
  std::optional<ImageInfo> image = CIRRUS_TRY(engine.find_image(name, stop));
  const bool pulls = pull_ == Pull::Always || (!image && pull_ == Pull::IfNotPresent);
  if (pulls) {
    log_info("pulling image", {{"task", request.task_id}, {"image", name}});
    request.notice(fmt::format("Pulling image {}.", name));
    const std::string login = registry_login(name, spec.registry_config, environment_, stop);
    Report report(request);
    CIRRUS_TRY(engine.pull(name, login, std::ref(report), stop).note("pulling image '{}'", name));
    image = CIRRUS_TRY(engine.find_image(name, stop));
  }
  if (!image) {
    return error(Code::NotFound, "the engine has no image '{}'{}", name,
                 pulls ? "" : " and this worker is told never to pull");
  }
  return *image;
}

Result<ImageInfo> Images::built(ContainerEngine& engine, const ContainerSpec& spec,
                                const LaunchRequest& request, const StopToken& stop) {
  const auto& container = request.spec.container();
  if (request.variables.empty()) {
    return error(Code::FailedPrecondition,
                 "Dockerfile '{}' cannot be built: this server does not tell a worker where the "
                 "sources are before the task starts; name an image instead",
                 container.dockerfile());
  }
  const std::string repository = repository_of(request);
  const auto is_ours = [&](const std::optional<ImageInfo>& image) {
    if (!image) return false;
    const auto label = image->labels.find(kRepositoryLabel);
    return label != image->labels.end() && label->second == repository;
  };
  std::optional<ImageInfo> image = CIRRUS_TRY(engine.find_image(spec.image, stop));
  if (!is_ours(image)) {
    log_info("building image", {{"task", request.task_id}, {"image", spec.image}});
    request.notice(fmt::format("Building image {} from {}.", spec.image, container.dockerfile()));
    const std::filesystem::path directory = request.scratch_directory.parent_path() / "context";
    Result<BuildContext> context =
        fetch_build_context(request.variables, container.dockerfile(), directory, stop);
    const Status removed = os::remove_tree(directory);
    if (!removed.ok()) log_warning("build context stays", {{"error", removed.error()}});
    BuildContext sources =
        CIRRUS_TRY(std::move(context).note("Dockerfile '{}'", container.dockerfile()));
    ContainerEngine::BuildRequest build;
    build.name = spec.image;
    build.context = std::move(sources.tar);
    build.dockerfile = sources.dockerfile;
    build.arguments.insert(container.docker_arguments().begin(),
                           container.docker_arguments().end());
    build.labels = {{kRepositoryLabel, repository}};
    Report report(request);
    CIRRUS_TRY(engine.build(build, std::ref(report), stop)
                   .note("building Dockerfile '{}'", container.dockerfile()));
    image = CIRRUS_TRY(engine.find_image(spec.image, stop));
  }
  if (!is_ours(image)) {
    return error(Code::NotFound, "the engine built '{}' but does not have it", spec.image);
  }
  return *image;
}

Result<Images::Lock> Images::lock(const std::string& image, const LaunchRequest& request,
                                  const StopToken& stop) {
  std::timed_mutex* mutex = nullptr;
  {
    const std::lock_guard guard(mutex_);
    mutex = &locks_[image];
  }
  Lock held(*mutex, std::try_to_lock);
  if (!held.owns_lock()) {
    request.notice(fmt::format("Another task provides image {}: waiting for it.", image));
  }
  while (!held.owns_lock()) {
    if (stop.stop_requested()) return error(Code::Cancelled, "stopped");
    (void)held.try_lock_for(std::chrono::milliseconds(100));
  }
  return held;
}

}  // namespace cirrus::isolation
