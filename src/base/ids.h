// SPDX-License-Identifier: MIT
// Random identifiers and secrets.
#pragma once

#include <cstddef>
#include <string>

namespace cirrus {

/// `bytes` random bytes from the kernel as lower-case hex digits (twice as many characters).
/// 16 bytes name things; 32 bytes are a credential.
std::string random_hex(std::size_t bytes);

/// A version 4 UUID in its usual text form.
std::string random_uuid();

}  // namespace cirrus
