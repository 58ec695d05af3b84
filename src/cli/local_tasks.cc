// SPDX-License-Identifier: MIT
#include "cli/local_tasks.h"

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "cirrus_instances.pb.h"

namespace cirrus::cli {

namespace {
namespace pb = lang::pb;

Status keep_named(std::vector<pb::Task>& tasks, const std::vector<std::string>& names) {
  std::set<std::string> wanted;
  for (const std::string& name : names) wanted.insert(to_lower(name));
  std::set<std::string> found;
  std::vector<std::string> known;
  for (const pb::Task& task : tasks) {
    known.push_back(task.name());
    if (wanted.contains(to_lower(task.name()))) found.insert(to_lower(task.name()));
  }
  for (const std::string& name : names) {
    if (found.contains(to_lower(name))) continue;
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    return error(Code::NotFound, "there is no task '{}'; there are: {}", name, join(known, ", "));
  }
  std::erase_if(tasks,
                [&](const pb::Task& task) { return !wanted.contains(to_lower(task.name())); });
  for (pb::Task& task : tasks) {
    task.clear_required_groups();
    task.mutable_metadata()->mutable_properties()->erase("trigger_type");
  }
  return {};
}

void drop_clone(pb::Task& task) {
  auto* const commands = task.mutable_commands();
  for (int i = 0; i < commands->size(); ++i) {
    if (!commands->Get(i).has_clone_instruction()) continue;
    commands->DeleteSubrange(i, 1);
    --i;
  }
}

Status work_in(const std::filesystem::path& directory, pb::PersistentWorkerInstance& instance,
               pb::Task& task) {
  drop_clone(task);
  (*task.mutable_environment())["CIRRUS_WORKING_DIR"] = directory.string();
  const pb::Isolation& isolation = instance.isolation();
  if (isolation.has_container()) {
    pb::Volume& volume = *instance.mutable_isolation()->mutable_container()->add_volumes();
    volume.set_source(directory.string());
    volume.set_target(directory.string());
    return {};
  }
  if (isolation.has_tart() || isolation.has_vetu() || isolation.has_parallels()) {
    return error(Code::FailedPrecondition,
                 "task '{}' runs in a virtual machine, which cannot work in this directory: run it "
                 "without --dirty",
                 task.name());
  }
  return {};
}
}  // namespace

Result<std::vector<pb::Task>> local_tasks(std::vector<pb::Task> tasks,
                                          const LocalTaskOptions& options) {
  if (!options.names.empty()) CIRRUS_TRY(keep_named(tasks, options.names));
  for (pb::Task& task : tasks) {
    pb::PersistentWorkerInstance instance;
    if (!task.instance().UnpackTo(&instance)) {
      if (options.live_directory.empty()) continue;
      if (!task.instance().Is<pb::ContainerInstance>()) continue;  // cannot run here anyway
      return error(Code::FailedPrecondition,
                   "task '{}' is a plain container, which cannot work in this directory: give it a "
                   "persistent_worker with container isolation, or run it without --dirty",
                   task.name());
    }
    instance.clear_labels();
    instance.clear_resources();
    (*instance.mutable_resources())[kLocalSlot] = 1;
    if (!options.live_directory.empty()) {
      CIRRUS_TRY(work_in(options.live_directory, instance, task));
    }
    task.mutable_instance()->PackFrom(instance);
  }
  return tasks;
}

}  // namespace cirrus::cli
