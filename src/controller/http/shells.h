// SPDX-License-Identifier: MIT
// Shells: people's terminals in running tasks, over HTTP.
//
//   POST /api/v1/tasks/{id}/shell      orders one: its id
//   GET  /api/v1/shells/{id}/output    what it prints, until it ends
//   POST /api/v1/shells/{id}/input     frames of what is typed (rpc/shell_frames.h)
//   DELETE /api/v1/shells/{id}         hangs up
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/work_pool.h"
#include "controller/blobs/shell_records.h"
#include "controller/core/core.h"
#include "net/http_types.h"
#include "rpc/shell_hub.h"

namespace cirrus::controller::http {

/// Thread-safe.
class Shells {
 public:
  using Answer = std::shared_ptr<net::Responder>;

  /// All must outlive it.
  Shells(core::Core& core, cirrus::rpc::ShellHub& hub, const blobs::ShellRecords& records)
      : core_(core), hub_(hub), records_(records) {}

  void open(model::TaskId task, net::ServerRequest request, const Answer& answer);
  /// `id` as in the path. A shell belongs to the token that opened it.
  void output(const std::string& id, const std::string& token_id, const Answer& answer);
  void input(const std::string& id, const std::string& token_id, std::string frames,
             const Answer& answer);
  void close(const std::string& id, const std::string& token_id, const Answer& answer);
  /// Hangs up everywhere.
  void stop();

 private:
  struct Open {
    std::shared_ptr<cirrus::rpc::ByteChannel> channel;
    std::string token_id;
    Monotonic opened = std::chrono::steady_clock::now();
    bool is_read = false;
  };
  using Map = std::map<std::string, Open>;

  /// Orders it where the core says and answers its id; blocks while its recording begins.
  void begin(model::TaskId task, const cirrus::rpc::ShellOrder& order,
             const core::State::ShellPlace& place, const core::Actor& actor, const Answer& answer);
  /// Null, and answered with 404, if it is nobody's or somebody else's.
  std::shared_ptr<cirrus::rpc::ByteChannel> find(const std::string& id, const std::string& token_id,
                                                 const Answer& answer);

  core::Core& core_;
  cirrus::rpc::ShellHub& hub_;
  const blobs::ShellRecords& records_;
  Guarded<Map> open_;
  /// A thread reads each shell; writing to one that does not listen holds another, opening one a
  /// moment.
  WorkPool readers_{cirrus::rpc::ShellHub::kMostShells, cirrus::rpc::ShellHub::kMostShells};
  WorkPool writers_{8, 1024};
};

}  // namespace cirrus::controller::http
