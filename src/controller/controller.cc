// SPDX-License-Identifier: MIT
#include "controller/controller.h"

#include <limits>
#include <optional>

#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/work_pool.h"
#include "controller/blobs/paths.h"
#include "controller/blobs/stores.h"
#include "controller/core/core.h"
#include "controller/http/api.h"
#include "controller/rpc/rpc_server.h"
#include "controller/secrets/encrypted_environment.h"
#include "controller/secrets/secret_box.h"
#include "controller/store/memory_store.h"
#include "controller/store/sqlite_store.h"
#include "net/http_server.h"
#include "os/file_lock.h"
#include "os/files.h"

namespace cirrus::controller {

namespace {
std::string host_of(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

bool is_loopback(const std::string& address) {
  const std::string host = host_of(address);
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// What to call a listener on this machine.
std::string url_of(const std::string& address, int port, bool tls) {
  std::string host = host_of(address);
  if (host == "0.0.0.0" || host == "::" || host.empty()) host = "127.0.0.1";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return fmt::format("{}://{}:{}", tls ? "https" : "http", host, port);
}

bool has_tls(const ControllerOptions& options) {
  return !options.tls_certificate.empty();
}

Status check_addresses(const ControllerOptions& options) {
  if (options.tls_certificate.empty() != options.tls_key.empty()) {
    return error(Code::InvalidArgument,
                 "TLS needs both --tls-certificate and --tls-key: only one of them is given");
  }
  if (has_tls(options)) return {};
  for (const std::string& address : {options.rpc_address, options.http_address}) {
    if (is_loopback(address) || options.allow_cleartext) continue;
    return error(Code::FailedPrecondition,
                 "{} is not a loopback address and nothing would be encrypted: pass "
                 "--tls-certificate and --tls-key, or --allow-cleartext on a network you trust",
                 address);
  }
  return {};
}

/// Programs we start (git) and files we name to others (the ready file) have another idea of where
/// they are.
ControllerOptions with_absolute_paths(ControllerOptions options) {
  std::error_code failure;
  const std::filesystem::path whole = std::filesystem::absolute(options.data_dir, failure);
  if (!failure) options.data_dir = whole.lexically_normal();
  return options;
}

constexpr std::chrono::minutes kRoomPeriod{10};

/// Members are in the order of their making; they go in the reverse order.
class RunningController final : public Controller {
 public:
  RunningController(ControllerOptions options, const Clock& clock)
      : options_(with_absolute_paths(std::move(options))),
        clock_(clock),
        paths_(options_.data_dir) {}

  ~RunningController() override {
    keeper_.request_stop();
    if (keeper_.joinable()) keeper_.join();
    request_stop();
    // Answers of the core need the servers, jobs of the pool need both.
    shells_.close();
    if (api_) api_->stop();
    if (http_) http_->stop();
    if (rpc_) rpc_->stop();
    if (pool_) pool_->stop();
  }

  Status begin() {
    CIRRUS_TRY(check_addresses(options_));
    const Status made = os::make_directories(options_.data_dir);
    if (!made.ok()) return unusable(made.error());
    Result<os::FileLock> lock = os::FileLock::try_acquire(paths_.lock());
    if (!lock.ok() && lock.error().code() == Code::AlreadyExists) {
      return error(Code::AlreadyExists, "another controller runs on the data directory {}",
                   options_.data_dir.string());
    }
    if (!lock.ok()) return unusable(lock.error());
    lock_.emplace(std::move(lock).value());
    CIRRUS_TRY(os::remove_tree(paths_.temporary()));
    CIRRUS_TRY(os::make_directories(paths_.temporary()));
    CIRRUS_TRY(os::make_directories(paths_.logs()));
    CIRRUS_TRY(os::make_directories(paths_.repositories()));
    if (options_.in_memory) {
      store_ = std::make_unique<store::MemoryStore>();
    } else {
      store_ = CIRRUS_TRY(store::open_sqlite_store(paths_.database()));
    }
    stores_.emplace(paths_, clock_,
                    blobs::Stores::Watermark{free_space(), options_.least_free_for_uploads});
    CIRRUS_TRY(stores_->caches.evict().note("looking through the caches"));
    pool_.emplace(4, 4096);
    git_.emplace(paths_, *pool_);
    secrets_ = CIRRUS_TRY(secrets::SecretBox::open(paths_.master_key()));

    // The HTTP port is part of every task's clone URL, so it is bound before the core starts; a
    // request that is faster than the next lines waits for it.
    net::HttpServerOptions http;
    http.address = options_.http_address;
    http.spool_directory = paths_.temporary();
    if (has_tls(options_)) http.tls = {options_.tls_certificate, options_.tls_key};
    http_ = CIRRUS_TRY(net::HttpServer::start(
        std::move(http),
        [this](const net::ServerRequest& head, const std::function<void(net::Admission)>& decided) {
          if (!serving_) {
            net::Admission early;
            early.refusal = net::ServerResponse{503, {{"Retry-After", "1"}}, "starting\n"};
            return decided(std::move(early));
          }
          admit_(head, decided);
        },
        [this](net::ServerRequest request, std::shared_ptr<net::Responder> responder) {
          api_->handle(std::move(request), std::move(responder));
        }));
    if (options_.public_http_url.empty()) {
      options_.public_http_url = url_of(options_.http_address, http_->port(), has_tls(options_));
    }
    core::StateOptions state;
    state.http_url = options_.public_http_url;
    state.make_secret = [] { return random_hex(32); };
    state.open_secrets = [this](const std::string& repository,
                                google::protobuf::Map<std::string, std::string>& variables) {
      return secrets::open_values(variables, *secrets_, repository);
    };
    core_ = CIRRUS_TRY(core::Core::start(*store_, clock_, std::move(state)));
    admit_ = http::make_admission(*core_);
    api_.emplace(*core_, *stores_, *pool_, *git_, *secrets_, shells_);
    CIRRUS_TRY(make_first_things());
    rpc_ = CIRRUS_TRY(
        rpc::RpcServer::start({options_.rpc_address, options_.tls_certificate, options_.tls_key},
                              *core_, *stores_, *pool_, shells_));
    if (options_.public_rpc_endpoint.empty()) {
      options_.public_rpc_endpoint = url_of(options_.rpc_address, rpc_->port(), has_tls(options_));
    }
    if (!options_.in_memory) {
      keeper_ = Thread([this](const StopToken& stop) { keep_room(stop); });
    }
    serving_ = true;
    log_info("controller serves", {{"rpc", rpc_endpoint()}, {"http", http_url()}});
    return {};
  }

  std::string rpc_endpoint() const override { return options_.public_rpc_endpoint; }
  std::string http_url() const override { return options_.public_http_url; }
  std::filesystem::path admin_token_file() const override { return paths_.admin_token(); }
  std::filesystem::path registration_token_file() const override {
    return paths_.registration_token();
  }
  Result<model::BuildId> submit(core::NewBuild build) override {
    auto shared = std::make_shared<core::NewBuild>(std::move(build));
    return core_->ask<model::BuildId>(
        [shared](core::State& s, core::Reply<model::BuildId> reply, core::Moment now) {
          s.submit(std::move(*shared), std::move(reply), now);
        });
  }
  Result<std::filesystem::path> repository_path(const std::string& repository) const override {
    return paths_.repository(CIRRUS_TRY(model::RepositoryName::create(repository)));
  }
  void request_stop() override {
    if (core_) core_->stop();
  }

 private:
  /// Of a data directory on which no controller can start.
  Error unusable(const Error& why) const {
    return error(why.code(),
                 "the data directory {} cannot be written ({}): mend that, or name another with "
                 "--data-dir",
                 options_.data_dir.string(), why.to_string());
  }
  std::function<Result<std::uint64_t>()> free_space() const {
    if (options_.free_space) return options_.free_space;
    return [data = options_.data_dir] { return os::free_space(data); };
  }

  /// The body of its thread: old bytes go, at the start and every ten minutes.
  void keep_room(const StopToken& stop) {
    blobs::Retention retention(paths_, clock_, stores_->caches, options_.retention);
    BuildRetention builds(*core_, paths_, options_.builds);
    const auto free = [this] {
      return stores_->disk.free_bytes().value_or(std::numeric_limits<std::uint64_t>::max());
    };
    do {
      const Result<BuildRetentionReport> removed = builds.sweep(stop);
      if (!removed.ok() && !stop.stop_requested()) {
        log_warning("old builds not removed", {{"error", removed.error()}});
      }
      const Result<blobs::RetentionReport> report = retention.sweep(free, stop);
      if (!report.ok() && !stop.stop_requested()) {
        log_warning("old bytes not removed", {{"error", report.error()}});
      }
      if (report.ok() && report.value().still_low) {
        log_warning("disk is nearly full and nothing old is left",
                    {{"directory", options_.data_dir.string()}, {"free_bytes", free()}});
      }
    } while (wait_for(stop, kRoomPeriod));
  }

  /// The pool, its token and the admin token; each only if it is missing, so that a start that was
  /// killed half-way is completed by the next.
  Status make_first_things() {
    const std::vector<core::PoolView> pools = CIRRUS_TRY(core_->ask<std::vector<core::PoolView>>(
        [](core::State& s, core::Reply<std::vector<core::PoolView>> reply, core::Moment) {
          s.answer<std::vector<core::PoolView>>(std::move(reply), s.view_pools());
        }));
    if (pools.empty()) {
      CIRRUS_TRY(core_->ask<void>([lost_after = options_.lost_after](
                                      core::State& s, core::Reply<void> reply, core::Moment now) {
        s.create_pool("default", {lost_after, {}, {}}, "first start", std::move(reply), now);
      }));
    }
    std::error_code ignored;
    if (!std::filesystem::exists(paths_.registration_token(), ignored)) {
      const auto token = CIRRUS_TRY(core_->ask<core::State::NewToken>(
          [](core::State& s, core::Reply<core::State::NewToken> reply, core::Moment now) {
            s.create_registration_token({"default", {}, "made at first start", ""}, "first start",
                                        std::move(reply), now);
          }));
      crash_point("controller.registration_token.made");
      CIRRUS_TRY(os::write_file(paths_.registration_token(), token.token + "\n", 0600, true));
    }
    if (!std::filesystem::exists(paths_.admin_token(), ignored)) {
      const auto token = CIRRUS_TRY(core_->ask<core::State::NewToken>(
          [](core::State& s, core::Reply<core::State::NewToken> reply, core::Moment now) {
            // One of that name may be live already: of a start that was killed before it wrote the
            // file, or because an administrator keeps it elsewhere.
            s.create_api_token({s.free_token_name("admin"), core::Role::Admin, {}, {}},
                               "first start", std::move(reply), now);
          }));
      crash_point("controller.admin_token.made");
      CIRRUS_TRY(os::write_file(paths_.admin_token(), token.token + "\n", 0600, true));
    }
    return {};
  }

  ControllerOptions options_;
  const Clock& clock_;
  const blobs::Paths paths_;
  std::optional<os::FileLock> lock_;
  std::unique_ptr<store::Store> store_;
  std::optional<blobs::Stores> stores_;
  std::optional<WorkPool> pool_;
  std::optional<http::GitHost> git_;
  std::optional<secrets::SecretBox> secrets_;
  net::Admit admit_;
  std::optional<http::Api> api_;
  std::unique_ptr<core::Core> core_;
  cirrus::rpc::ShellHub shells_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  std::unique_ptr<net::HttpServer> http_;
  Thread keeper_;
  std::atomic<bool> serving_{false};  // published after everything above is there
};
}  // namespace

Status Controller::check(const ControllerOptions& options) {
  return check_addresses(options);
}

Result<std::unique_ptr<Controller>> Controller::start(ControllerOptions options,
                                                      const Clock& clock) {
  auto controller = std::make_unique<RunningController>(std::move(options), clock);
  CIRRUS_TRY(controller->begin());
  return std::unique_ptr<Controller>(std::move(controller));
}

}  // namespace cirrus::controller
