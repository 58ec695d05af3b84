// SPDX-License-Identifier: MIT
#include "cli/worker_stack.h"

#include <functional>

#include "agent_embedded/embedded_agent.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/worker_status.h"
#include "gateway/gateway.h"
#include "isolation/container/container.h"
#include "isolation/none/none.h"
#include "isolation/vm/image_puller.h"
#include "isolation/vm/vm.h"
#include "os/files.h"
#include "os/host.h"
#include "os/process.h"
#include "rpc/grpc/gateway_server.h"
#include "rpc/grpc/upstream_client.h"
#include "rpc/proxy.h"
#include "worker/task_record.h"

namespace cirrus::cli {

namespace {

// Short and stable for one data directory, so that a restart finds its place again.
std::filesystem::path run_directory_for(const std::filesystem::path& data_directory) {
  const std::size_t hash = std::hash<std::string>()(data_directory.string());
  return os::default_runtime_directory() / fmt::format("{:08x}", hash & 0xFFFFFFFFU);
}

// Source of CIRRUS_CONTAINER_BACKEND: reference worker, isolation container.
Result<isolation::ContainerOptions> container_options(const worker::ContainerSettings& settings,
                                                      const std::filesystem::path& data) {
  isolation::ContainerOptions options;
  options.engine.environment = os::current_environment();
  const auto backend = options.engine.environment.find("CIRRUS_CONTAINER_BACKEND");
  if (backend != options.engine.environment.end() && !backend->second.empty()) {
    const auto kind = isolation::engine_kind(backend->second);
    if (!kind) {
      return error(Code::InvalidArgument,
                   "CIRRUS_CONTAINER_BACKEND is '{}': it must be docker, podman or auto",
                   backend->second);
    }
    options.engine.kind = *kind;
  }
  if (settings.engine) options.engine.kind = *settings.engine;
  options.engine.socket = settings.socket;
  options.defaults = settings.defaults;
  options.engine.run_directory = run_directory_for(data);
  options.owner = CIRRUS_TRY(worker::load_instance_id(data));
  options.marker = data / "containers-used";
  return options;
}

// Where agents for guests of other kinds than this host's are looked for.
std::vector<std::filesystem::path> agent_directories(const std::filesystem::path& data) {
  std::vector<std::filesystem::path> directories{data / "agents"};
  std::error_code failure;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (!failure) {
    directories.push_back(program.parent_path() / "agents");
    directories.push_back(program.parent_path().parent_path() / "libexec" / "cirrus" / "agents");
  }
  return directories;
}

// Where the reference's worker keeps agents. Source: its agent binary cache.
std::filesystem::path reference_agent_cache() {
  const os::Environment environment = os::current_environment();
  const auto value = [&environment](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  };
  std::filesystem::path caches = value("XDG_CACHE_HOME");
  if (caches.empty() && !value("HOME").empty()) {
    caches = std::filesystem::path(value("HOME")) /
             (std::string_view(os::os_name()) == "darwin" ? "Library/Caches" : ".cache");
  }
  return caches.empty() ? caches : caches / "cirrus" / "agent";
}

isolation::VmOptions vm_options(const worker::VmSettings& settings,
                                const std::filesystem::path& data, const std::string& owner,
                                const std::filesystem::path& agent_program) {
  isolation::VmOptions options;
  options.environment = os::current_environment();
  options.agents.own = agent_program;
  options.agents.own_kind = {os::os_name(), os::arch_name()};
  options.agents.directories = agent_directories(data);
  options.agents.reference_cache = reference_agent_cache();
  for (const worker::ResourceModifier& modifier : settings.modifiers) {
    options.modifiers.push_back({modifier.match, modifier.run});
  }
  options.vetu_mtu = settings.vetu_mtu;
  options.owner = owner.substr(0, 8);
  options.state_directory = data;
  return options;
}

class Stack final : public WorkerStack {
 public:
  ~Stack() override {
    status_.reset();
    worker_.reset();
    server_.reset();
    if (!run_directory_.empty()) {
      // Empty unless agents were left running.
      std::error_code ignored;
      std::filesystem::remove(run_directory_, ignored);
    }
  }
  worker::Worker& worker() override { return *worker_; }

  Status start(worker::Settings settings, const std::filesystem::path& data_directory,
               std::filesystem::path agents) {
    CIRRUS_TRY(os::make_directories(data_directory, 0700));
    std::error_code failure;
    const std::filesystem::path data = std::filesystem::canonical(data_directory, failure);
    if (failure) {
      return error(Code::NotFound, "cannot use the data directory '{}': {}",
                   data_directory.string(), failure.message());
    }
    worker::WorkerParts parts;
    parts.state_directory = data;
    parts.run_directory = run_directory_for(data);
    if (agents.empty()) agents = data / "agents";
    CIRRUS_TRY(os::make_directories(agents, 0755));
    parts.agent_program = CIRRUS_TRY(unpack_embedded_agent(agents).note("unpacking the agent"));
    parts.version = program_version();
    gateway_ = CIRRUS_TRY(gateway::Gateway::create());
    server_ = CIRRUS_TRY(rpc::GatewayServer::start(*gateway_));
    gateway_->set_adopter([this](os::Fd connection) { server_->adopt(std::move(connection)); });
    if (settings.git_mirror && gateway::GitMirrors::possible()) {
      mirrors_ = std::make_unique<gateway::GitMirrors>(gateway::GitMirrors::Options{
          .directory = data / "mirrors", .authorities = settings.git_authorities});
      mirrors_->remove_unused();
      gateway_->set_mirrors(mirrors_.get());
    }
    parts.gateway = gateway_.get();
    const isolation::ContainerOptions containers =
        CIRRUS_TRY(container_options(settings.container, data));
    none_ = isolation::make_none(true, containers.owner.substr(0, 8));
    parts.has_container_engine = isolation::engine_is_likely(containers.engine);
    container_ = isolation::make_container(containers);
    vm_ = isolation::make_vm(vm_options(settings.vm, data, containers.owner, parts.agent_program));
    if (settings.vm.tart_pre_pull) {
      const worker::TartPrePull& plan = *settings.vm.tart_pre_pull;
      puller_ = std::make_unique<isolation::ImagePuller>(
          isolation::PullPlan{plan.images, plan.check_interval, plan.jitter},
          os::current_environment());
    }
    parts.remove_leftovers = [this](const isolation::LiveTasks& live) {
      none_->remove_leftovers();
      container_->remove_leftovers(live);
      vm_->remove_leftovers(live);
    };
    parts.isolation_for = [this](const rpc::pb::Isolation& wanted) -> isolation::Isolation* {
      switch (wanted.type_case()) {
        case rpc::pb::Isolation::TYPE_NOT_SET:
        case rpc::pb::Isolation::kNone: return none_.get();
        case rpc::pb::Isolation::kContainer: return container_.get();
        case rpc::pb::Isolation::kTart:
        case rpc::pb::Isolation::kVetu: return vm_.get();
        default: return nullptr;
      }
    };
    const std::string name = settings.name;
    parts.connect = [name](const worker::UpstreamSettings& upstream,
                           const std::string& instance) -> Result<std::unique_ptr<rpc::Upstream>> {
      CIRRUS_TRY(rpc::Endpoint::parse(upstream.endpoint));
      return rpc::make_upstream(upstream_options(upstream, name, instance));
    };
    run_directory_ = parts.run_directory;
    worker_ = CIRRUS_TRY(worker::Worker::start(std::move(settings), std::move(parts)));
    Result<std::unique_ptr<WorkerStatus>> status =
        WorkerStatus::start(*worker_, data, run_directory_);
    // Tasks matter more.
    if (!status.ok()) {
      log_warning("'cirrus worker status' will not find this worker", {{"error", status.error()}});
      return {};
    }
    status_ = std::move(status).value();
    return {};
  }

 private:
  std::filesystem::path run_directory_;
  std::unique_ptr<isolation::NoneIsolation> none_;
  std::unique_ptr<isolation::ContainerIsolation> container_;
  std::unique_ptr<isolation::VmIsolation> vm_;
  std::unique_ptr<isolation::ImagePuller> puller_;
  std::unique_ptr<gateway::GitMirrors> mirrors_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<rpc::GatewayServer> server_;
  std::unique_ptr<worker::Worker> worker_;
  std::unique_ptr<WorkerStatus> status_;
};

}  // namespace

rpc::UpstreamOptions upstream_options(const worker::UpstreamSettings& upstream,
                                      const std::string& name, const std::string& instance) {
  rpc::UpstreamOptions options;
  // The settings were checked when they were read.
  options.endpoint = rpc::Endpoint::parse(upstream.endpoint).value();
  options.identity = {upstream.token, name, instance};
  options.ca_file = upstream.tls.ca;
  options.certificate_file = upstream.tls.certificate;
  options.key_file = upstream.tls.key;
  options.proxy = rpc::proxy_for(options.endpoint, os::current_environment());
  return options;
}

Result<std::unique_ptr<WorkerStack>> WorkerStack::start(worker::Settings settings,
                                                        const std::filesystem::path& data_directory,
                                                        const std::filesystem::path& agents) {
  auto stack = std::make_unique<Stack>();
  CIRRUS_TRY(stack->start(std::move(settings), data_directory, agents));
  return std::unique_ptr<WorkerStack>(std::move(stack));
}

}  // namespace cirrus::cli
