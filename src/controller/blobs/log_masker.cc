// SPDX-License-Identifier: MIT
#include "controller/blobs/log_masker.h"

#include <algorithm>
#include <utility>

namespace cirrus::controller::blobs {

namespace {
constexpr std::string_view kMask = "HIDDEN-BY-CIRRUS-CI";
}

LogMasker::LogMasker(std::vector<std::string> secrets) : secrets_(std::move(secrets)) {
  std::erase_if(secrets_, [](const std::string& secret) { return secret.empty(); });
  std::sort(secrets_.begin(), secrets_.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
}

std::string LogMasker::feed(std::string_view chunk) {
  if (secrets_.empty()) return std::string(chunk);
  pending_ += chunk;
  return mask(false);
}

std::string LogMasker::finish() {
  return mask(true);
}

std::string LogMasker::mask(bool last) {
  if (secrets_.empty()) return std::exchange(pending_, {});
  const std::size_t hold = last ? 0 : secrets_.front().size() - 1;
  std::string out;
  std::size_t at = 0;
  while (at + hold < pending_.size()) {
    // The earliest secret from here on; the longest one where several start at one place.
    std::size_t start = std::string::npos;
    std::size_t length = 0;
    for (const std::string& secret : secrets_) {
      const std::size_t found = pending_.find(secret, at);
      if (found < start) {
        start = found;
        length = secret.size();
      }
    }
    const std::size_t settled = pending_.size() - hold;
    if (start == std::string::npos || start >= settled) {
      out.append(pending_, at, settled - at);
      at = settled;
      break;
    }
    out.append(pending_, at, start - at);
    out += kMask;
    at = start + length;
  }
  pending_.erase(0, std::min(at, pending_.size()));
  return out;
}

}  // namespace cirrus::controller::blobs
