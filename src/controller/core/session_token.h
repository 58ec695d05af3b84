// SPDX-License-Identifier: MIT
// Credentials: how they are made, hashed and recognised.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace cirrus::controller::core {

/// Lower-case hex SHA-256; what is kept of tokens. Fast on purpose: tokens are 256 random bits.
std::string token_hash(std::string_view token);

/// What a session token says about itself.
struct SessionClaims {
  std::string pool;
  std::string worker;
  std::string registration_token_id;  ///< revoking it ends the session
};

/// `cs1.<claims>.<mac>`: nothing about it is stored, so it stays good over restarts and restores
/// for as long as the key does.
std::string mint_session_token(const Secret& key, const SessionClaims& claims);
/// Errors: Unauthenticated if this is none of ours, or was changed.
Result<SessionClaims> read_session_token(const Secret& key, std::string_view token);

}  // namespace cirrus::controller::core
