// SPDX-License-Identifier: MIT
#include "controller/core/session_token.h"

#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <span>
#include <vector>

#include <fmt/format.h>

namespace cirrus::controller::core {

namespace {
constexpr std::string_view kPrefix = "cs1.";

std::string to_hex(std::span<const unsigned char> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const unsigned char byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool from_hex(std::string_view hex, std::string& bytes) {
  if (hex.size() % 2 != 0) return false;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const int high = digit(hex[i]);
    const int low = digit(hex[i + 1]);
    if (high < 0 || low < 0) return false;
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  return true;
}

std::string mac(const Secret& key, std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.reveal().data(), static_cast<int>(key.reveal().size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  return to_hex({digest, size});
}

std::string hex_of(std::string_view text) {
  return to_hex({reinterpret_cast<const unsigned char*>(text.data()), text.size()});
}
}  // namespace

std::string token_hash(std::string_view token) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest);
  return to_hex(digest);
}

std::string mint_session_token(const Secret& key, const SessionClaims& claims) {
  const std::string body = fmt::format("{}{}.{}.{}", kPrefix, hex_of(claims.pool),
                                       hex_of(claims.worker), hex_of(claims.registration_token_id));
  return body + "." + mac(key, body);
}

Result<SessionClaims> read_session_token(const Secret& key, std::string_view token) {
  const auto bad = [] { return error(Code::Unauthenticated, "the session token is not valid"); };
  const std::size_t last = token.rfind('.');
  if (!token.starts_with(kPrefix) || last == std::string_view::npos || last < kPrefix.size()) {
    return bad();
  }
  const std::string_view body = token.substr(0, last);
  if (!equal_in_constant_time(mac(key, body), token.substr(last + 1))) return bad();
  SessionClaims claims;
  std::string* const fields[] = {&claims.pool, &claims.worker, &claims.registration_token_id};
  std::string_view rest = body.substr(kPrefix.size());
  for (std::string* const field : fields) {
    const std::size_t end = rest.find('.');
    if (!from_hex(rest.substr(0, end), *field)) return bad();
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return claims;
}

}  // namespace cirrus::controller::core
