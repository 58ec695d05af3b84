// SPDX-License-Identifier: MIT
#include "net/tls_keys.h"

#include <openssl/ssl.h>
#include <sys/stat.h>

#include "base/log.h"

namespace cirrus::net::server {

namespace {
namespace ssl = boost::asio::ssl;
using ErrorCode = boost::system::error_code;
}  // namespace

Result<std::shared_ptr<TlsKeys>> TlsKeys::load(const TlsFiles& files) {
  std::shared_ptr<TlsKeys> keys(new TlsKeys(files));
  keys->stamp_ = keys->stamp();
  keys->context_ = CIRRUS_TRY(keys->read());
  return keys;
}

std::string TlsKeys::stamp() const {
  std::string text;
  for (const std::filesystem::path& file : {files_.certificate, files_.key}) {
    struct ::stat status {};
    if (::stat(file.c_str(), &status) != 0) return {};
    text += fmt::format("{}:{}:{}.{};", status.st_ino, status.st_size, status.st_mtim.tv_sec,
                        status.st_mtim.tv_nsec);
  }
  return text;
}

Result<std::shared_ptr<ssl::context>> TlsKeys::read() const {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 |
                       ssl::context::no_tlsv1_1 | SSL_OP_NO_RENEGOTIATION);
  ErrorCode failure;
  context->use_certificate_chain_file(files_.certificate.string(), failure);
  if (failure) {
    return error(Code::InvalidArgument, "the TLS certificate '{}' cannot be used: {}",
                 files_.certificate.string(), failure.message());
  }
  context->use_private_key_file(files_.key.string(), ssl::context::pem, failure);
  if (failure) {
    return error(Code::InvalidArgument, "the TLS key '{}' cannot be used with '{}': {}",
                 files_.key.string(), files_.certificate.string(), failure.message());
  }
  return context;
}

std::shared_ptr<ssl::context> TlsKeys::current() {
  const Monotonic now = system_clock().now();
  if (now - looked_ < std::chrono::seconds(1)) return context_;
  looked_ = now;
  const std::string seen = stamp();
  if (seen.empty() || seen == stamp_) return context_;
  stamp_ = seen;
  Result<std::shared_ptr<ssl::context>> fresh = read();
  if (!fresh.ok()) {
    log_warning("new TLS certificate not taken, the last one stays", {{"error", fresh.error()}});
    return context_;
  }
  context_ = std::move(fresh).value();
  log_info("TLS certificate taken anew", {{"certificate", files_.certificate.string()}});
  return context_;
}

}  // namespace cirrus::net::server
