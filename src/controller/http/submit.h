// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>

#include "base/work_pool.h"
#include "controller/core/core.h"
#include "controller/http/git_host.h"
#include "controller/secrets/secret_box.h"
#include "net/http_types.h"

namespace cirrus::controller::http {

/// `POST /api/v1/builds`: reads the request, finds and evaluates the configuration on the pool
/// (never on the state loop), and posts the finished build.
class Submission {
 public:
  Submission(core::Core& core, GitHost& git, WorkPool& pool, const secrets::SecretBox& secrets)
      : core_(core), git_(git), pool_(pool), secrets_(secrets) {}
  /// Answers 201 with the build, 422 with the place of a configuration error, or another problem.
  /// Encrypted values that `actor` may not use are left out, with a warning in the build.
  void submit(std::string body, core::Actor actor, std::shared_ptr<net::Responder> responder);

 private:
  core::Core& core_;                   // constant after construction
  GitHost& git_;                       // constant after construction
  WorkPool& pool_;                     // constant after construction
  const secrets::SecretBox& secrets_;  // constant after construction
};

}  // namespace cirrus::controller::http
