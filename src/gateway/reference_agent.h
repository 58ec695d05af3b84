// SPDX-License-Identifier: MIT
// ReferenceAgent: what a reference CLI binary, as agent in a guest, says to its worker.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cirrus_gateway.pb.h"
#include "model/masker.h"
#include "rpc/reference_task.h"

namespace cirrus::gateway {

class TaskGateway;

/// Turns the reference's reports and logs into what the spool of its task holds. Its masking is
/// done once more: the reference's misses what a border of chunks cuts. Thread-safe.
class ReferenceAgent final : public rpc::ReferenceTask {
 public:
  /// `torn_steps`: those whose logs another worker had begun, so that nobody knows how far they
  /// came. `task` outlives this.
  ReferenceAgent(TaskGateway& task, cirrus::gateway::v1::Bootstrap bootstrap,
                 const std::vector<std::string>& torn_steps);

  org::cirruslabs::ci::services::cirruscigrpc::CommandsResponse initial_commands() override;
  Status report(cirrus::gateway::v1::AgentMessage::Event event) override;
  Status append_log(const std::string& step, std::string_view bytes) override;
  void log_broke(const std::string& step) override;
  Result<std::uint64_t> complete_log(const std::string& step,
                                     const std::function<Result<std::string>()>& read) override;
  Status keep_agent_log(std::string_view log) override;
  Result<rpc::BlobLease> lend_blobs() override;
  std::filesystem::path scratch() const override;
  Status room_for_scratch() const override;

 private:
  /// A step's log, counted in the agent's bytes.
  struct Log {
    explicit Log(model::Masker fresh) : masker(std::move(fresh)) {}
    model::Masker masker;
    std::uint64_t received = 0;
    std::optional<std::uint64_t> broke_at;  ///< how much had come when a live log broke
    bool torn = false;                      ///< more came after that, or before this worker
    bool counted = true;                    ///< nothing came before this worker
  };
  using Logs = std::map<std::string, Log, std::less<>>;

  using Read = std::function<Result<std::string>()>;

  // These want mutex_ held.
  Log& log_of(const std::string& step);
  Status append(const std::string& step, std::string_view bytes);
  Status flush(const std::string& step);
  // These take it.
  Status take(const std::string& step, std::string_view bytes);
  Result<std::uint64_t> add_the_rest(const std::string& step, const Read& read);
  Result<std::uint64_t> mend(const std::string& step, const Read& read);

  TaskGateway& task_;
  const cirrus::gateway::v1::Bootstrap bootstrap_;
  const model::Masker fresh_masker_;
  std::mutex mutex_;  // taken before any lock of the task's
  Logs logs_;         // guarded by mutex_
};

}  // namespace cirrus::gateway
