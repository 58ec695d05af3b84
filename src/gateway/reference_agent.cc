// SPDX-License-Identifier: MIT
#include "gateway/reference_agent.h"

#include <algorithm>

#include "base/ids.h"
#include "gateway/spool.h"
#include "gateway/task_gateway.h"
#include "model/secrets.h"
#include "os/files.h"

namespace cirrus::gateway {
namespace {

namespace pb = rpc::pb;

constexpr std::size_t kPiece = 256U << 10U;
constexpr std::string_view kTornNotice =
    "\nThe connection to the guest broke while this was printed. Once more from there on:\n";

bool is_final(pb::Status status) {
  return status == pb::COMPLETED || status == pb::FAILED || status == pb::SKIPPED ||
         status == pb::ABORTED;
}

}  // namespace

ReferenceAgent::ReferenceAgent(TaskGateway& task, gw::Bootstrap bootstrap,
                               const std::vector<std::string>& torn_steps)
    : task_(task),
      bootstrap_(std::move(bootstrap)),
      fresh_masker_(model::masker_for({bootstrap_.commands().secrets_to_mask().begin(),
                                       bootstrap_.commands().secrets_to_mask().end()})) {
  for (const std::string& step : torn_steps) {
    Log& log = log_of(step);
    log.torn = true;
    log.counted = false;
    log.broke_at = 0;
  }
}

pb::CommandsResponse ReferenceAgent::initial_commands() {
  pb::CommandsResponse commands = bootstrap_.commands();
  commands.set_servertoken(bootstrap_.gateway_secret());
  task_.agent_came();
  return commands;
}

Status ReferenceAgent::report(gw::AgentMessage::Event event) {
  const std::lock_guard lock(mutex_);
  // What a masker holds back belongs before the word that the step has ended.
  std::vector<std::string> ended;
  if (event.has_updates()) {
    for (const pb::CommandResult& result : event.updates().updates()) {
      if (is_final(result.status()) && logs_.contains(result.name())) {
        ended.push_back(result.name());
      }
    }
  } else if (event.has_finished() || event.has_error()) {
    for (const auto& [step, log] : logs_) ended.push_back(step);
  }
  for (const std::string& step : ended) CIRRUS_TRY(flush(step));
  return task_.append_event(std::move(event), ended);
}

Status ReferenceAgent::append_log(const std::string& step, std::string_view bytes) {
  CIRRUS_TRY(task_.wait_for_room());
  return take(step, bytes);
}

Status ReferenceAgent::take(const std::string& step, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  Log& log = log_of(step);
  CIRRUS_TRY(append(step, bytes));
  log.received += bytes.size();
  if (log.broke_at && log.received > *log.broke_at) log.torn = true;
  return {};
}

void ReferenceAgent::log_broke(const std::string& step) {
  const std::lock_guard lock(mutex_);
  Log& log = log_of(step);
  log.broke_at = std::min(log.broke_at.value_or(log.received), log.received);
}

Result<std::uint64_t> ReferenceAgent::complete_log(const std::string& step, const Read& read) {
  bool torn = false;
  {
    const std::lock_guard lock(mutex_);
    torn = log_of(step).torn;
  }
  const std::uint64_t total = CIRRUS_TRY(torn ? mend(step, read) : add_the_rest(step, read));
  const std::lock_guard lock(mutex_);
  Log& log = log_of(step);
  log.received = total;
  log.broke_at.reset();
  log.torn = false;
  log.counted = true;
  CIRRUS_TRY(flush(step));
  return total;
}

/// The live log is the beginning of the whole one.
Result<std::uint64_t> ReferenceAgent::add_the_rest(const std::string& step, const Read& read) {
  std::uint64_t total = 0;
  for (;;) {
    const std::string bytes = CIRRUS_TRY(read());
    if (bytes.empty()) return total;
    std::uint64_t known = 0;
    {
      const std::lock_guard lock(mutex_);
      known = log_of(step).received;
    }
    total += bytes.size();
    if (total <= known) continue;
    const std::uint64_t fresh = std::min<std::uint64_t>(total - known, bytes.size());
    CIRRUS_TRY(task_.wait_for_room());
    CIRRUS_TRY(take(step, std::string_view(bytes).substr(bytes.size() - fresh)));
  }
}

/// Whether anything was lost shows only once the whole log is here.
Result<std::uint64_t> ReferenceAgent::mend(const std::string& step, const Read& read) {
  const std::filesystem::path directory = scratch() / ("log-" + random_hex(6));
  CIRRUS_TRY(os::make_directories(directory));
  const std::shared_ptr<void> clean_up(nullptr,
                                       [directory](void*) { (void)os::remove_tree(directory); });
  Spool whole = CIRRUS_TRY(Spool::open(directory, step));
  for (;;) {
    const std::string bytes = CIRRUS_TRY(read());
    if (bytes.empty()) break;
    CIRRUS_TRY(room_for_scratch());
    CIRRUS_TRY(whole.append(bytes));
  }
  std::uint64_t from = 0;
  {
    const std::lock_guard lock(mutex_);
    const Log& log = log_of(step);
    if (log.counted && log.received == whole.size()) return whole.size();
    from = log.broke_at.value_or(0);
    CIRRUS_TRY(append(step, kTornNotice));
  }
  while (from < whole.size()) {
    const std::string bytes = CIRRUS_TRY(whole.read(from, kPiece));
    CIRRUS_TRY(task_.wait_for_room());
    const std::lock_guard lock(mutex_);
    CIRRUS_TRY(append(step, bytes));
    from += bytes.size();
  }
  return whole.size();
}

Status ReferenceAgent::keep_agent_log(std::string_view log) {
  return os::write_file(task_.paths().directory / "reference-agent.log", log);
}

Result<rpc::BlobLease> ReferenceAgent::lend_blobs() {
  gw::BlobCaller caller;
  caller.set_task_id(bootstrap_.task_id());
  caller.set_agent_secret(bootstrap_.agent_secret());
  return task_.lend_blobs(caller);
}

std::filesystem::path ReferenceAgent::scratch() const {
  return task_.paths().directory / "passing";
}

Status ReferenceAgent::room_for_scratch() const {
  const std::uint64_t left = CIRRUS_TRY(os::free_space(task_.paths().directory));
  const std::uint64_t keep = task_.options_.keep_free;
  if (left >= keep) return {};
  return error(Code::ResourceExhausted,
               "the worker has {} MiB of free disk space left: nothing waits there for its way to "
               "the controller below {} MiB",
               left >> 20U, keep >> 20U);
}

ReferenceAgent::Log& ReferenceAgent::log_of(const std::string& step) {
  const auto found = logs_.find(step);
  return found != logs_.end() ? found->second
                              : logs_.emplace(step, Log(fresh_masker_)).first->second;
}

Status ReferenceAgent::append(const std::string& step, std::string_view bytes) {
  std::string out;
  log_of(step).masker.feed(bytes, out);
  return out.empty() ? Status() : task_.append_log(step, out);
}

Status ReferenceAgent::flush(const std::string& step) {
  std::string out;
  log_of(step).masker.finish(out);
  log_of(step).masker = fresh_masker_;
  return out.empty() ? Status() : task_.append_log(step, out);
}

}  // namespace cirrus::gateway
