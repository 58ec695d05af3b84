// SPDX-License-Identifier: MIT
// What is sent while it happens: builds and logs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/work_pool.h"
#include "controller/blobs/log_store.h"
#include "controller/core/core.h"
#include "net/http_types.h"

namespace cirrus::controller::http {

/// `event: build` with the whole build on every change (coalesced while the client is slow), then
/// `event: end`. The build must exist; `responder` is answered with the stream. `last_id`: the
/// `Last-Event-ID` of a client that comes back; a state it has is not repeated.
void stream_build(core::Core& core, const core::BuildView& first, const std::string& last_id,
                  const std::shared_ptr<net::Responder>& responder);

/// The same for one task: `event: task`.
void stream_task(core::Core& core, const core::TaskView& first, const std::string& last_id,
                 const std::shared_ptr<net::Responder>& responder);

/// The log of one step from `offset`: `event: log` as bytes arrive, `event: end` once no more can.
/// The id of each event is the offset after it.
void stream_log(core::Core& core, blobs::LogStore& logs, WorkPool& pool, const core::TaskView& task,
                const std::string& step, std::uint64_t offset,
                const std::shared_ptr<net::Responder>& responder);

}  // namespace cirrus::controller::http
