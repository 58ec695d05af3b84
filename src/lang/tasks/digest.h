// SPDX-License-Identifier: MIT
// MD5, by which the reference names some images, in lower-case hex.
#pragma once

#include <string>
#include <string_view>

namespace cirrus::lang {

std::string md5_hex(std::string_view bytes);

}  // namespace cirrus::lang
