// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace cirrus::controller::secrets {

/// Seals values for `.cirrus.yml` files: `ENCRYPTED[cirrus:<base64url>]`, XChaCha20-Poly1305 with
/// a random nonce, the repository as associated data. Immutable, so safe to share.
class SecretBox {
 public:
  static constexpr std::size_t kMaxValue = 32U << 10U;  ///< bytes; ours
  /// Shorter values are in every other log line and cannot be masked. Source: reference agent.
  static constexpr std::size_t kShortest = 4;

  /// Reads the master key, or makes it if there is no such file. Errors: DataLoss if the file is
  /// no key (without the true one every sealed value is lost: restore it from a back-up),
  /// PermissionDenied if others may read it.
  static Result<SecretBox> open(const std::filesystem::path& key_file);
  /// With a key of its own that nobody keeps: for controllers that last one build.
  static SecretBox ephemeral();

  /// `ENCRYPTED[...]`, good for `repository` (`owner/name`) only. Errors: InvalidArgument for an
  /// empty or over-long value.
  Result<std::string> seal(std::string_view repository, std::string_view value) const;
  /// Errors: InvalidArgument if it is not sealed by this controller, or for another repository.
  Result<Secret> open_value(std::string_view repository, std::string_view sealed) const;

 private:
  explicit SecretBox(Secret key) : key_(std::move(key)) {}
  Secret key_;  // constant after construction
};

/// Whether a variable's value is an encrypted one, by whomever.
bool looks_encrypted(std::string_view value);

}  // namespace cirrus::controller::secrets
