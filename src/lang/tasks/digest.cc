// SPDX-License-Identifier: MIT
#include "lang/tasks/digest.h"

#include <openssl/evp.h>

#include <fmt/format.h>

#include "base/check.h"

namespace cirrus::lang {
namespace {

std::string hex_digest(std::string_view bytes, const EVP_MD* algorithm) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  CIRRUS_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &size, algorithm, nullptr) == 1,
               "digest failed");
  std::string result;
  for (unsigned int i = 0; i < size; ++i) result += fmt::format("{:02x}", digest[i]);
  return result;
}

}  // namespace

std::string md5_hex(std::string_view bytes) {
  return hex_digest(bytes, EVP_md5());
}
std::string sha256_hex(std::string_view bytes) {
  return hex_digest(bytes, EVP_sha256());
}

}  // namespace cirrus::lang
