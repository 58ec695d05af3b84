// SPDX-License-Identifier: MIT
// Vault: variables whose values are kept in a HashiCorp Vault. Source: reference agent, Vault.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/expansion.h"
#include "base/result.h"
#include "rpc/vault_link.h"

namespace cirrus::agent {

/// `VAULT[path selector key=value…]` or `VAULT_NOCACHE[…]`.
struct VaultReference {
  std::string path;
  std::vector<std::string> selector;
  std::vector<std::pair<std::string, std::string>> arguments;
  bool cached = true;
};

/// Absent: an ordinary value. Errors: InvalidArgument for a value that looks like a reference and
/// is none.
Result<std::optional<VaultReference>> parse_vault_reference(std::string_view value);

/// How to log in; from the task's variables.
struct VaultLogin {
  std::string token;       ///< CIRRUS_VAULT_TOKEN, or VAULT_TOKEN of the process
  std::string oidc_token;  ///< CIRRUS_OIDC_TOKEN
  std::string role;        ///< CIRRUS_VAULT_ROLE
  std::string auth_path;   ///< CIRRUS_VAULT_AUTH_PATH
  std::string name_space;  ///< CIRRUS_VAULT_NAMESPACE
};

/// Reads from one Vault server, each path once. Blocks.
class Vault {
 public:
  Vault(rpc::VaultLink& link, VaultLogin login) : link_(link), login_(std::move(login)) {}

  /// The value a reference stands for: a string, or an object as JSON. Errors: those of the
  /// server, and InvalidArgument if there is no such value or it is neither.
  Result<std::string> read(const VaultReference& reference);

 private:
  Status log_in();
  Result<std::string> data_at(const std::string& path_and_query, bool cached);

  rpc::VaultLink& link_;
  const VaultLogin login_;
  std::string token_;
  std::map<std::string, Result<std::string>> read_;  // by path and query: `data` as JSON
};

/// Replaces references among `variables`, looking at their values in `expanded`; the names of those
/// replaced. Nothing is asked if there are none. Errors: as above, naming the variable.
Result<std::vector<std::string>> unbox_vault_variables(rpc::VaultLink& link, VaultLogin login,
                                                       const Variables& expanded,
                                                       Variables& variables);

}  // namespace cirrus::agent
