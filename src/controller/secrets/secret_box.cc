// SPDX-License-Identifier: MIT
#include "controller/secrets/secret_box.h"

#include <sodium.h>
#include <sys/stat.h>

#include <vector>

#include "base/check.h"
#include "os/files.h"

namespace cirrus::controller::secrets {

namespace {
constexpr std::string_view kPrefix = "ENCRYPTED[cirrus:";
constexpr std::size_t kKeyBytes = crypto_aead_xchacha20poly1305_ietf_KEYBYTES;
constexpr std::size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;

void prepare() {
  CIRRUS_CHECK(sodium_init() >= 0, "libsodium has no source of randomness");
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

std::string encode(std::string_view bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), kVariant), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes_of(bytes), bytes.size(), kVariant);
  text.pop_back();  // the terminating zero
  return text;
}

Result<std::string> decode(std::string_view text) {
  std::string bytes(text.size(), '\0');
  std::size_t size = 0;
  const char* end = nullptr;
  if (sodium_base642bin(bytes_of(bytes), bytes.size(), text.data(), text.size(), nullptr, &size,
                        &end, kVariant) != 0 ||
      end != text.data() + text.size()) {
    return error(Code::InvalidArgument, "the encrypted value is not whole");
  }
  bytes.resize(size);
  return bytes;
}

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  randombytes_buf(bytes.data(), bytes.size());
  return bytes;
}
}  // namespace

bool looks_encrypted(std::string_view value) {
  return value.starts_with("ENCRYPTED[") && value.ends_with("]");
}

SecretBox SecretBox::ephemeral() {
  prepare();
  return SecretBox(Secret(random_bytes(kKeyBytes)));
}

Result<SecretBox> SecretBox::open(const std::filesystem::path& key_file) {
  prepare();
  struct ::stat status {};
  if (::stat(key_file.c_str(), &status) != 0) {
    if (errno != ENOENT) {
      return error(Code::PermissionDenied, "cannot look at the master key {}", key_file.string());
    }
    const std::string key = random_bytes(kKeyBytes);
    CIRRUS_TRY(os::write_file(key_file, encode(key) + "\n", 0600, true)
                   .note("making the master key {}", key_file.string()));
    return SecretBox(Secret(key));
  }
  if ((status.st_mode & 077U) != 0) {
    return error(Code::PermissionDenied, "others may read the master key {}: chmod 600 it",
                 key_file.string());
  }
  std::string text = CIRRUS_TRY(os::read_file(key_file, 4096).note("reading the master key"));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  Result<std::string> key = decode(text);
  if (!key.ok() || key.value().size() != kKeyBytes) {
    return error(Code::DataLoss,
                 "{} is not a master key: restore it from a back-up, or remove it to start with a "
                 "new one that opens none of the values encrypted so far",
                 key_file.string());
  }
  return SecretBox(Secret(std::move(key).value()));
}

Result<std::string> SecretBox::seal(std::string_view repository, std::string_view value) const {
  if (value.empty()) return error(Code::InvalidArgument, "there is nothing to encrypt");
  if (value.size() > kMaxValue) {
    return error(Code::InvalidArgument, "the value has {} bytes; {} are allowed", value.size(),
                 kMaxValue);
  }
  std::string sealed = random_bytes(kNonceBytes);
  sealed.resize(kNonceBytes + value.size() + kTagBytes);
  unsigned char* const whole = bytes_of(sealed);
  crypto_aead_xchacha20poly1305_ietf_encrypt(
      whole + kNonceBytes, nullptr, bytes_of(value), value.size(), bytes_of(repository),
      repository.size(), nullptr, whole, bytes_of(std::string_view(key_.reveal())));
  return std::string(kPrefix) + encode(sealed) + "]";
}

Result<Secret> SecretBox::open_value(std::string_view repository, std::string_view sealed) const {
  if (!sealed.starts_with(kPrefix) || !sealed.ends_with("]")) {
    return error(Code::InvalidArgument, "it was not encrypted by this controller");
  }
  sealed.remove_prefix(kPrefix.size());
  sealed.remove_suffix(1);
  const std::string bytes = CIRRUS_TRY(decode(sealed));
  if (bytes.size() <= kNonceBytes + kTagBytes) {
    return error(Code::InvalidArgument, "the encrypted value is not whole");
  }
  const std::string_view whole = bytes;
  std::string value(bytes.size() - kNonceBytes - kTagBytes, '\0');
  const int opened = crypto_aead_xchacha20poly1305_ietf_decrypt(
      bytes_of(value), nullptr, nullptr, bytes_of(whole.substr(kNonceBytes)),
      whole.size() - kNonceBytes, bytes_of(repository), repository.size(), bytes_of(whole),
      bytes_of(std::string_view(key_.reveal())));
  if (opened != 0) {
    return error(Code::InvalidArgument,
                 "it was encrypted by another controller or for another repository than '{}'",
                 repository);
  }
  return Secret(std::move(value));
}

}  // namespace cirrus::controller::secrets
