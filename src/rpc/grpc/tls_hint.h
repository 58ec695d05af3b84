// SPDX-License-Identifier: MIT
// What a failed TLS handshake means for whoever reads of it. For this folder's own files.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace cirrus::rpc {

/// Adds what to look at to an error that comes from a handshake; any other answer stays as it is.
/// The library says the reason in its text alone.
inline Status with_tls_hint(Status answered) {
  if (answered.ok() || answered.error().code() != Code::Unavailable) return answered;
  const std::string text = answered.error().message();
  const auto says = [&text](const char* words) { return text.find(words) != std::string::npos; };
  if (says("certificate verify failed") || says("CERTIFICATE_VERIFY_FAILED") ||
      says("is not in peer certificate")) {
    return std::move(answered).note(
        "the server's certificate was not accepted: check 'ca-file', the host's name in the "
        "certificate and its dates (the clock of this machine says {})",
        to_rfc3339(system_clock().wall()));
  }
  if (says("wrong version number") || says("WRONG_VERSION_NUMBER")) {
    return std::move(answered).note("the server does not speak TLS there: use http:// for it");
  }
  if (says("alert certificate required") || says("handshake failure") || says("bad certificate")) {
    return std::move(answered).note(
        "the server wants a client certificate that it knows: check 'client-certificate-file' and "
        "'client-key-file'");
  }
  return answered;
}

}  // namespace cirrus::rpc
