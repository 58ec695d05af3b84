// SPDX-License-Identifier: MIT
#include "controller/core/task_spec.h"

#include <array>
#include <charconv>
#include <set>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "base/strings.h"

namespace cirrus::controller::core {

namespace {
constexpr int kMaxPriority = 1000;  // Ours.

std::string property(const api::Task& task, const std::string& key) {
  const auto found = task.metadata().properties().find(key);
  return found == task.metadata().properties().end() ? std::string() : found->second;
}

/// Source: user guide of the hosted service: these names make a task stateful by default.
bool sounds_stateful(const std::string& name) {
  const std::string lower = to_lower(name);
  constexpr std::array<std::string_view, 5> kWords = {"deploy", "push", "publish", "upload",
                                                      "release"};
  for (const std::string_view word : kWords) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return false;
}

/// A plain `container:` runs on a persistent worker that has an engine and may use it: such
/// workers say so with a label. What the isolation has no place for rides along whole.
void read_container(const api::ContainerInstance& container, TaskSpec& spec) {
  if (container.platform() != api::LINUX) {
    spec.unrunnable = "the task wants a container that is not Linux: no worker of ours runs those";
  }
  const char* arch = container.architecture() == api::ARM64 ? "arm64" : "amd64";
  spec.demand.labels =
      model::LabelSelector::create({{"os", "linux"}, {"arch", arch}, {"cirrus.containers", "true"}})
          .value();
  spec.has_isolation = true;
  api::Isolation::Container& isolation = *spec.isolation.mutable_container();
  isolation.set_image(container.image());
  isolation.set_cpu(container.cpu());
  isolation.set_memory(container.memory());
  isolation.set_dockerfile(container.dockerfile());
  *isolation.mutable_docker_arguments() = container.docker_arguments();
  if (container.additional_containers_size() > 0 || container.privileged() ||
      !container.registry_config().empty()) {
    spec.container = container;
  }
}

/// A worker builds the image of a Dockerfile and keeps it under this name. Source: reference,
/// prebuilt images.
void name_built_image(const std::string& hash, api::Isolation& isolation) {
  if (hash.empty() || !isolation.has_container() || isolation.container().dockerfile().empty()) {
    return;
  }
  isolation.mutable_container()->set_image(
      fmt::format("gcr.io/cirrus-ci-community/{}:latest", hash));
}

void read_instance(const api::Task& task, TaskSpec& spec) {
  if (!task.has_instance()) {
    spec.unrunnable = "the task names no instance: give it a persistent_worker";
    return;
  }
  api::PersistentWorkerInstance instance;
  if (api::ContainerInstance container; task.instance().UnpackTo(&container)) {
    return read_container(container, spec);
  }
  if (!task.instance().Is<api::PersistentWorkerInstance>()) {
    std::string kind = task.instance().type_url();
    kind.erase(0, kind.find_last_of("./") + 1);
    spec.unrunnable = fmt::format(
        "the task wants a {}, but this controller runs tasks on persistent workers only", kind);
    return;
  }
  if (!task.instance().UnpackTo(&instance)) {
    spec.unrunnable = "the task's persistent_worker cannot be read";
    return;
  }
  model::Labels labels(instance.labels().begin(), instance.labels().end());
  Result<model::LabelSelector> selector = model::LabelSelector::create(std::move(labels));
  if (!selector.ok()) {
    spec.unrunnable = selector.error().message();
    return;
  }
  spec.demand.labels = std::move(selector).value();
  spec.demand.resources =
      model::Resources(instance.resources().begin(), instance.resources().end());
  const Status amounts = model::check_resources(spec.demand.resources);
  if (!amounts.ok()) {
    spec.unrunnable = amounts.error().message();
    return;
  }
  // An isolation without a member makes a worker refuse the task; nothing at all means `none`.
  spec.has_isolation =
      instance.has_isolation() && instance.isolation().type_case() != api::Isolation::TYPE_NOT_SET;
  if (spec.has_isolation) spec.isolation = instance.isolation();
}

/// What it runs in; nothing at all means `none`.
model::IsolationKind kind_of(const api::Isolation& isolation) {
  switch (isolation.type_case()) {
    case api::Isolation::kContainer: return model::IsolationKind::Container;
    case api::Isolation::kTart: return model::IsolationKind::Tart;
    case api::Isolation::kVetu: return model::IsolationKind::Vetu;
    case api::Isolation::kParallels: return model::IsolationKind::Parallels;
    case api::Isolation::kNone:
    case api::Isolation::TYPE_NOT_SET: break;
  }
  return model::IsolationKind::None;
}

/// `priority:` of a task, an extension of ours, on top of that of its build.
void read_priority(const std::string& text, int build_priority, TaskSpec& spec) {
  if (text.empty()) return;
  int value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc() || stopped != end || value < -kMaxPriority || value > kMaxPriority) {
    spec.unrunnable = fmt::format("priority '{:.40}' is no whole number between -{} and {}", text,
                                  kMaxPriority, kMaxPriority);
    return;
  }
  spec.demand.priority = build_priority + value;
}
}  // namespace

std::string isolation_key(const api::Isolation& isolation) {
  if (!isolation.has_tart() && !isolation.has_vetu() && !isolation.has_container()) return {};
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);  // maps in order, so that equal messages are equal
    isolation.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::string free_step_name(const TaskSpec& spec, const std::string& name) {
  std::set<std::string> taken;
  for (const TaskSpec::Step& step : spec.steps) taken.insert(step.name);
  std::string candidate = name;
  for (int number = 2; taken.contains(candidate); ++number) {
    candidate = fmt::format("{}-{}", name, number);
  }
  return candidate;
}

std::shared_ptr<const TaskSpec> read_task_spec(api::Task task, const store::BuildRecord& build) {
  auto spec = std::make_shared<TaskSpec>();
  spec->name = task.name();
  spec->demand.priority = build.priority;
  read_instance(task, *spec);
  name_built_image(property(task, "dockerfile_hash"), spec->isolation);

  std::set<std::string> names;
  for (const api::Command& command : task.commands()) {
    spec->steps.push_back({command.name(), command.has_background_script_instruction()});
    if (!names.insert(command.name()).second) {
      spec->unrunnable = fmt::format("two steps are named '{}'", command.name());
    }
  }
  const std::string timeout = property(task, "timeout_in");
  std::int64_t seconds = 0;
  std::from_chars(timeout.data(), timeout.data() + timeout.size(), seconds);
  // 0 would expire at once and fail everything. Source: protocol; hosted default is an hour.
  if (seconds > 0) spec->timeout = std::chrono::seconds(seconds);
  spec->allow_failures = property(task, "allow_failures") == "true";
  spec->skipped = task.status() == api::SKIPPED;
  spec->manual = to_lower(property(task, "trigger_type")) == "manual";
  const std::string stateful = property(task, "stateful");
  spec->stateful = stateful.empty() ? sounds_stateful(task.name()) : stateful == "true";
  spec->execution_lock = property(task, "execution_lock");
  spec->auto_cancellation = property(task, "auto_cancellation") == "true";
  read_priority(property(task, "priority"), build.priority, *spec);
  if (spec->has_isolation) spec->demand.isolation = isolation_key(spec->isolation);
  spec->isolation_kind = kind_of(spec->isolation);
  if (!build.trusted) spec->demand.untrusted_in = spec->isolation_kind;
  spec->message = std::move(task);
  return spec;
}

}  // namespace cirrus::controller::core
