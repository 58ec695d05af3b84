// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/work_pool.h"
#include "controller/blobs/stores.h"
#include "controller/core/core.h"
#include "controller/http/admission.h"
#include "controller/http/git_host.h"
#include "controller/http/live_feeds.h"
#include "controller/http/metrics.h"
#include "controller/http/shells.h"
#include "controller/http/submit.h"
#include "controller/secrets/secret_box.h"
#include "net/http_server.h"

namespace cirrus::controller::http {

/// All routes. What they answer is documented in `docs/api.md`. Everything given must outlive it.
class Api {
 public:
  Api(core::Core& core, blobs::Stores& stores, WorkPool& pool, GitHost& git,
      const secrets::SecretBox& secrets, cirrus::rpc::ShellHub& shells)
      : core_(core),
        stores_(stores),
        logs_(stores.logs),
        pool_(pool),
        git_(git),
        submission_(core, git, pool, secrets),
        feeds_(core, pool, [this] { return troubles(); }),
        shells_(core, shells, stores.shells),
        secrets_(secrets) {}

  /// For HttpServer: routes one admitted request.
  void handle(net::ServerRequest request, std::shared_ptr<net::Responder> responder);
  /// Ends what runs by itself; requests are answered until the server stops.
  void stop() {
    feeds_.stop();
    shells_.stop();
  }

 private:
  using Parts = std::vector<std::string>;
  using Answer = std::shared_ptr<net::Responder>;

  void route_builds(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void route_tasks(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  // In api_fleet.cc.
  void route_fleet(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void route_workers(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void route_pools(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void route_tokens(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void list_pools(const net::ServerRequest& request, const Answer& answer);
  void list_tokens(const net::ServerRequest& request, bool api_tokens, const Answer& answer);
  void list_audit(const net::ServerRequest& request, const Answer& answer);
  void who_am_i(const net::ServerRequest& request, const Answer& answer);
  // In api_blobs.cc.
  void route_artifacts(const net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void list_artifacts(const net::ServerRequest& request, const std::string& task,
                      const Answer& answer);
  void route_shell_records(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void list_shell_records(model::TaskId task, const Answer& answer);
  void send_shell_record(model::TaskId task, int number, std::uint64_t offset,
                         const Answer& answer);
  // In api_reports.cc.
  void route_reports(const net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void list_annotations(const net::ServerRequest& request, const std::string& task,
                        const Answer& answer);
  void route_shells(net::ServerRequest request, const Parts& parts, const Answer& answer);
  void route_caches(net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void send_file(const core::TaskView& task, const std::string& name, const std::string& path,
                 const Answer& answer);
  void route_git(net::ServerRequest request, const Parts& parts, const Answer& answer);
  void rerun(const core::TaskView& task, const core::Actor& actor, core::RerunWish wish,
             const Answer& answer);
  void rerun_build(const std::string& id, const core::Actor& actor, const Answer& answer);
  void list_workers(const net::ServerRequest& request, const Answer& answer);
  // In api_service.cc: what runs and watches the controller itself.
  void route_service(const net::ServerRequest& request, const Parts& parts, const Answer& answer);
  void send_metrics(const Answer& answer);
  /// What is wrong with the controller itself, as sentences. Any thread.
  std::vector<std::string> troubles() const;
  void seal_secret(const net::ServerRequest& request, const Answer& answer);
  void list_builds(const net::ServerRequest& request, const Answer& answer);
  void send_log(const core::TaskView& task, const std::string& step, std::uint64_t offset,
                const Answer& answer);

  /// Finds a build in memory or in the store and hands it on, or answers 404.
  void with_build(const std::string& id, const Answer& answer,
                  std::function<void(const core::BuildView&)> found);
  void with_task(const std::string& id, const Answer& answer,
                 std::function<void(const core::TaskView&)> found);
  /// Runs `command` on the loop once the build is in memory, also if it had left it.
  void with_rows(model::BuildId build, const Answer& answer,
                 std::function<void(core::State&, core::Moment)> command);
  void post(const Answer& answer, core::Core::Command command);
  /// Why there is no such thing: it never was there, or it was removed. Reads the store.
  std::string absence_of(model::BuildId id);
  std::string absence_of(model::TaskId id);

  core::Core& core_;       // constant after construction
  blobs::Stores& stores_;  // constant after construction
  blobs::LogStore& logs_;  // constant after construction
  WorkPool& pool_;         // constant after construction
  GitHost& git_;           // constant after construction
  Submission submission_;
  LiveFeeds feeds_;
  Shells shells_;
  RequestCounts requests_;
  const secrets::SecretBox& secrets_;  // constant after construction
  /// A slow reader of a large file holds a thread: these are for nothing else.
  WorkPool downloads_{8, 256};
};

}  // namespace cirrus::controller::http
