// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "controller/core/core.h"
#include "net/http_server.h"

namespace cirrus::controller::http {

/// The decoded components of a path: `/api/v1/builds/7` is {"api","v1","builds","7"}.
/// Errors: InvalidArgument for bad escapes and for what is not UTF-8.
Result<std::vector<std::string>> split_path(const std::string& path);

/// Who is behind a request; the principal of everything that was admitted with a token.
struct Caller {
  core::ApiIdentity identity;
  bool task = false;       ///< a running task with its clone token
  std::string repository;  ///< the one that task may read
};

/// Decides who may send what, before a body is read: `Authorization: Bearer` for the API, HTTP
/// Basic with the token as password for git. What needs no token and how large a body may
/// be says `routes.h`.
net::Admit make_admission(core::Core& core);

}  // namespace cirrus::controller::http
