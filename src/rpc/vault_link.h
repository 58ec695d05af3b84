// SPDX-License-Identifier: MIT
// VaultLink: a task's Vault server, as its agent reaches it through the gateway.
#pragma once

#include <string>

#include "base/result.h"

namespace cirrus::rpc {

struct VaultCall {
  std::string method;  ///< GET or PUT
  std::string path;    ///< below `/v1/`, with its query
  std::string body;
  std::string token;
  std::string name_space;
};

struct VaultAnswer {
  long status = 0;
  std::string body;
};

class VaultLink {
 public:
  virtual ~VaultLink() = default;
  /// Blocks. Errors: FailedPrecondition if the task has no CIRRUS_VAULT_URL, Unavailable if nobody
  /// answers there. A refusal by Vault is an answer.
  virtual Result<VaultAnswer> call(const VaultCall& call) = 0;
};

}  // namespace cirrus::rpc
