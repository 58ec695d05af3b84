// SPDX-License-Identifier: MIT
// store_open, store_load: how long a controller needs to be ready on a store with a long history:
// 1,000,000 finished tasks and 1,000 that are not. Opening includes the check for damage.
#include <cstring>

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "cirrus_instances.pb.h"
#include "controller/core/core.h"
#include "controller/store/sqlite_store.h"
#include "os/temp_dir.h"
#include "stack.h"

namespace cirrus::bench {
namespace {
namespace store = controller::store;

constexpr int kTasksOfABuild = 10;

store::Changes batch(std::int64_t first_build, std::int64_t builds, bool finished) {
  store::Changes changes;
  controller::core::api::Task message;
  message.set_name("test");
  message.add_commands()->set_name("main");
  message.mutable_instance()->PackFrom(controller::core::api::PersistentWorkerInstance());
  for (std::int64_t id = first_build; id < first_build + builds; ++id) {
    store::BuildRecord build;
    build.id = model::BuildId{id};
    build.repository = "acme/app";
    build.branch = "main";
    build.commit = std::string(40, 'a');
    build.message = "a change of usual length, with a body that says why it was made";
    build.status = finished ? model::BuildStatus::Completed : model::BuildStatus::Executing;
    build.created_ms = build.finished_ms = 1'700'000'000'000 + id;
    changes.builds.push_back(build);
    for (int node = 0; node < kTasksOfABuild; ++node) {
      const model::TaskId task_id{id * kTasksOfABuild + node};
      changes.definitions.push_back({build.id, node, {}, message.SerializeAsString()});
      store::TaskRecord task;
      task.id = task_id;
      task.build = build.id;
      task.node = node;
      task.status = finished ? model::TaskStatus::Completed : model::TaskStatus::Ready;
      task.pool = "default";
      task.worker = "worker-1";
      task.client_secret = task.server_secret = std::string(64, 's');
      changes.tasks.push_back(std::move(task));
      changes.steps.push_back({task_id, 0, "main",
                               finished ? model::StepStatus::Completed : model::StepStatus::Created,
                               1'000'000});
    }
  }
  return changes;
}

double seconds_since(Monotonic start) {
  return std::chrono::duration<double>(system_clock().now() - start).count();
}

int run(std::int64_t tasks) {
  set_log_level(LogLevel::Error);
  const Result<os::TempDir> directory = os::TempDir::create("store-start");
  if (!directory.ok()) return give_up(directory.error());
  const std::filesystem::path path = directory.value().path() / "controller.db";
  const std::int64_t builds = tasks / kTasksOfABuild;
  {
    const auto filled = store::open_sqlite_store(path, store::Durability::ProcessCrash);
    if (!filled.ok()) return give_up(filled.error());
    for (std::int64_t first = 1; first <= builds; first += 1000) {
      const Status written = filled.value()->apply(
          batch(first, std::min<std::int64_t>(1000, builds - first + 1), true));
      if (!written.ok()) return give_up(written.error());
    }
    const Status open = filled.value()->apply(batch(builds + 1, 100, false));
    if (!open.ok()) return give_up(open.error());
  }
  std::fprintf(stderr, "%lld tasks, %.0f MB\n", static_cast<long long>(tasks),
               static_cast<double>(std::filesystem::file_size(path)) / 1e6);
  const Monotonic start = system_clock().now();
  const auto opened = store::open_sqlite_store(path);
  if (!opened.ok()) return give_up(opened.error());
  print_figure("store_open", seconds_since(start), "s", 1);
  controller::core::StateOptions options;
  options.make_secret = [] { return random_hex(32); };
  const Monotonic loading = system_clock().now();
  const auto core = controller::core::Core::start(*opened.value(), system_clock(), options);
  if (!core.ok()) return give_up(core.error());
  print_figure("store_load", seconds_since(loading), "s", static_cast<std::size_t>(tasks));
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  const bool full = argc > 1 && std::strcmp(argv[1], "--full") == 0;
  return cirrus::bench::run(full ? 3'000'000 : 1'000'000);
}
