// SPDX-License-Identifier: MIT
#include "lang/tasks/digest.h"

#include <openssl/evp.h>

#include <fmt/format.h>

#include "base/check.h"

namespace cirrus::lang {

std::string md5_hex(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  CIRRUS_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_md5(), nullptr) == 1,
               "MD5 is missing");
  std::string result;
  for (unsigned int i = 0; i < size; ++i) result += fmt::format("{:02x}", digest[i]);
  return result;
}

}  // namespace cirrus::lang
