// SPDX-License-Identifier: MIT
// Message digests in lower-case hex.
#pragma once

#include <string>
#include <string_view>

namespace cirrus::lang {

std::string md5_hex(std::string_view bytes);
std::string sha256_hex(std::string_view bytes);

}  // namespace cirrus::lang
