// SPDX-License-Identifier: MIT
// The JSON of the API, `schema_version` 1: fields are added, never changed.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "controller/core/state.h"
#include "controller/core/views.h"

namespace cirrus::controller::http {

/// `{"schema_version":1,"build":{...}}`
std::string build_json(const core::BuildView& build);
/// `{"schema_version":1,"builds":[...],"next_before":...,"removed":...}`; `more`: there are older
/// ones; `removed` is there if any build was removed.
std::string builds_json(const std::vector<core::BuildView>& builds, bool more,
                        const store::RemovalSummary& removed);
/// `{"schema_version":1,"task":{...}}`
std::string task_json(const core::TaskView& task);
/// `{"schema_version":1,"reasons":[...]}`
std::string why_json(const core::TaskView& task);
/// Of lists: `next_after` is what the next page is after; empty: this is the last one.
std::string workers_json(const std::vector<core::WorkerView>& workers,
                         const std::string& next_after);
/// `{"schema_version":1,"worker":{...}}`
std::string worker_json(const core::WorkerView& worker);
std::string pools_json(const std::vector<core::PoolView>& pools, const std::string& next_after);
/// `{"schema_version":1,"pool":{...}}`
std::string pool_json(const core::PoolView& pool);
/// `{"schema_version":1,"name":...,"role":...}`
std::string identity_json(const core::ApiIdentity& identity);
/// `{"schema_version":1,"tokens":[...]}`, without anything that is secret.
std::string tokens_json(const core::ApiTokenViews& tokens, const std::string& next_after);
std::string tokens_json(const core::RegistrationTokenViews& tokens, const std::string& next_after);
std::string audit_json(const std::vector<store::AuditRecord>& entries);
/// `{"schema_version":1,"id":...,"token":...}`: the only time a token is shown.
std::string token_json(const core::State::NewToken& token);
/// `{"schema_version":1,"id":...}`
std::string id_json(const std::string& id);
/// Data of the live feeds' events. A build is shown by its counts of tasks, a worker's time of its
/// last poll to the minute, so that a feed is quiet while nothing happens.
std::string build_event_json(const core::BuildView& build);
std::string worker_event_json(const core::WorkerView& worker, WallTime now);
std::string pool_event_json(const core::PoolView& pool);
/// `{"key":"controller","troubles":[...]}`: sentences.
std::string troubles_event_json(const std::vector<std::string>& troubles);
/// `{"key":"worker/default/mac-1"}`
std::string removed_event_json(const std::string& key);
/// `{"schema_version":1,"tasks":[...]}`: ids.
std::string ids_json(const std::vector<model::TaskId>& ids);
/// Data of a `log` event.
std::string log_event_json(std::uint64_t offset, const std::string& bytes);

}  // namespace cirrus::controller::http
