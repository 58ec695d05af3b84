// SPDX-License-Identifier: MIT
// TaskGateway: between one task's agent and its controller.
//
//   agent --Attach--> [ spool/<step>, results/<seq> ] --forwarder--> controller
//          <-acks--     acknowledged once on disk                     log bytes, then what
//                                                                     happened after them
//
// Log bytes and events are acknowledged to the agent when they are on disk. The forwarder sends
// them on in order: an event goes upstream only after the log bytes before it are stored there
// ("results follow bytes"). A restart of the worker finds everything on disk and goes on.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/guarded.h"
#include "base/stop.h"
#include "gateway/reference_agent.h"
#include "gateway/spool.h"
#include "gateway/task_paths.h"
#include "os/fd.h"
#include "rpc/gateway_service.h"
#include "rpc/task_service.h"

namespace cirrus::gateway {

namespace gw = cirrus::gateway::v1;

struct TaskGatewayOptions {
  std::string task_id;
  TaskPaths paths;
  Secret agent_secret;
  Secret gateway_secret;
  /// Whether the controller counts log bytes (feature `log-offsets`). If not, each step has one
  /// stream and one SaveLogs, as reference agents do it.
  bool log_offsets = true;
  /// Ours: spooled bytes the controller does not have yet, before reading from the agent stops
  /// (which blocks the script). Source: design 3.4.
  std::uint64_t spool_quota = 1ULL << 30U;
  /// Ours: bytes of the disk that artifacts of a reference agent leave free on their way.
  std::uint64_t keep_free = 1ULL << 30U;
};

/// What the owner waits for.
struct TaskProgress {
  bool attached_once = false;
  /// The agent's final report is on disk: its exit is the normal end.
  bool finished = false;
  /// It has reported an error, which says why if it ends without that report.
  bool gave_up = false;
  /// Everything on disk has reached the controller (after `finished` or `agent_gone`).
  bool forwarded = false;
  /// The controller refused this attempt's credential: it has another one, or none.
  std::optional<Error> fenced;
};

/// Thread-safe. The destructor stops forwarding; what is on disk stays there.
class TaskGateway final : public std::enable_shared_from_this<TaskGateway> {
 public:
  /// Opens what an earlier worker left in `paths`. `service` must outlive the gateway.
  static Result<std::shared_ptr<TaskGateway>> open(TaskGatewayOptions options,
                                                   rpc::TaskService& service);
  ~TaskGateway();

  const std::string& task_id() const { return options_.task_id; }
  const TaskPaths& paths() const { return options_.paths; }
  /// The one repository this task may fetch through its tunnel, without credentials.
  void allow_repository(const std::string& url);
  /// Empty: none.
  std::string clone_url() const;
  /// The one Vault server it may ask, without a path.
  void allow_vault(const std::string& url);
  std::string vault_url() const;

  /// A new stream of this task's agent; it replaces an older one at once.
  Result<std::shared_ptr<rpc::AgentSession>> attach(
      const gw::AgentMessage::Hello& hello, std::shared_ptr<rpc::AgentConnection> connection);

  /// The task's caches and artifacts for one call of its agent, until its end is on disk: what it
  /// left behind has no authority. Errors: Unauthenticated, NotFound.
  Result<rpc::BlobLease> lend_blobs(const gw::BlobCaller& caller);

  /// Words of the worker at the head of a step's log, sent on like the agent's. Only before an
  /// agent knows its task. Errors: FailedPrecondition after that; those of the disk.
  Status write_ahead(const std::string& step, std::string_view bytes);
  /// Where the agent's own bytes of such steps begin.
  std::vector<gw::LogPosition> log_positions() const;

  /// The agent is a reference CLI binary and shows the bootstrap's secrets: serves it, also after
  /// a restart of the worker. Before it can come. Errors: those of the disk.
  Status serve_reference_agent(const gw::Bootstrap& bootstrap);
  /// Errors: Unauthenticated; NotFound if the agent is one of ours.
  Result<rpc::ReferenceTask*> reference_agent(const std::string& secret);

  /// Orders the agent to stop, now or when it attaches next.
  void cancel(const std::string& reason);
  /// The agent process has ended: nothing more comes, so flush and be done.
  void agent_gone();
  /// Ends the stream, transfers and the forwarder. After it returns the service is not used any
  /// more, even if a stream's last reaction still holds this object.
  void close();

  TaskProgress progress() const;
  /// Waits until `ready(progress)`, a stop or the deadline. True if ready.
  bool wait(const StopToken& stop, std::optional<Monotonic> deadline,
            const std::function<bool(const TaskProgress&)>& ready);

 private:
  class Session;

  struct StepLog {
    std::unique_ptr<Spool> spool;
    std::uint64_t spooled = 0;   // on disk
    std::uint64_t upstream = 0;  // stored by the controller
    bool saved = false;          // SaveLogs done (reference servers only)
    bool unsure = false;         // the last segment broke: the controller may have some of it
  };
  struct State {
    std::map<std::string, StepLog, std::less<>> logs;
    std::deque<gw::AgentMessage::Event> events;  // on disk, not yet forwarded
    std::uint64_t last_sequence = 0;             // on disk
    std::shared_ptr<rpc::AgentConnection> connection;
    std::uint64_t generation = 0;  // of the connection
    bool reading_paused = false;
    bool agent_gone = false;
    std::optional<std::string> cancel_reason;
    std::string clone_url;
    std::string vault_url;
    std::unique_ptr<ReferenceAgent> reference_agent;  // set once
    int lent = 0;                                     // calls about blobs that use the service now
    bool closed = false;                              // no more of them
    TaskProgress progress;
    std::vector<os::Fd> reserve;  // see reserve_descriptors()
  };

  TaskGateway(TaskGatewayOptions options, rpc::TaskService& service)
      : options_(std::move(options)), service_(service) {}
  Status load();
  /// Where more tasks start than there are descriptors for, those that run could store nothing and
  /// end never. So each keeps a few, until it needs them.
  void reserve_descriptors();
  void give_up_reserve();
  bool on_message(std::uint64_t generation, const gw::AgentMessage& message);
  static std::uint64_t waiting_bytes(const State& state);
  bool on_log(std::uint64_t generation, const gw::AgentMessage::Log& log);
  Result<Spool*> spool_of(const std::string& step);
  /// Bytes from `offset` on; what is there already does not count. The log's size then. Errors:
  /// FailedPrecondition for a gap; those of the disk. ingest_mutex_ is held.
  Result<std::uint64_t> store_log(const std::string& step, std::uint64_t offset,
                                  std::string_view data);
  /// The same after what is there.
  Status store_at_end(const std::string& step, std::string_view bytes);
  /// The next event. ingest_mutex_ is held.
  Status store_event(const gw::AgentMessage::Event& event);

  // What a reference agent's reports become; see reference_agent.h.
  friend class ReferenceAgent;
  void agent_came();
  Status append_log(const std::string& step, std::string_view bytes);
  Status append_event(gw::AgentMessage::Event event, const std::vector<std::string>& after_steps);
  /// Waits until the controller has taken enough of what is spooled. Errors: Cancelled by close().
  Status wait_for_room();

  void on_event(std::uint64_t generation, const gw::AgentMessage::Event& event);
  void on_closed(std::uint64_t generation);

  // The forwarder's steps; its thread only. See task_forwarder.cc.
  void forward(const StopToken& stop);
  struct Work;
  Work next_work(const StopToken& stop);
  Status send_log(const std::string& step, const StopToken& stop);
  Status send_log_to_reference_server(const std::string& step, const StopToken& stop);
  Status send_event(const gw::AgentMessage::Event& event, const StopToken& stop);
  void log_stored(const std::string& step, std::uint64_t offset);
  void doubt_logs(const gw::AgentMessage::Event& event);
  rpc::LogPositions acknowledged_before(const gw::AgentMessage::Event& event);
  void event_forwarded(std::uint64_t sequence);

  const TaskGatewayOptions options_;
  rpc::TaskService& service_;
  StopSource transfers_;     // stopped by close()
  std::mutex ingest_mutex_;  // serialises streams of one task; taken before state_'s own lock
  Guarded<State> state_;
  Thread forwarder_;  // last: uses everything above
};

}  // namespace cirrus::gateway
