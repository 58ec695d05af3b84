// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cirrus::controller::blobs {

/// Replaces secrets in a stream of chunks, also where one is cut by a chunk's border, by
/// `HIDDEN-BY-CIRRUS-CI`. Only for streams without offsets: masking changes byte counts.
/// Source of the text: reference agent.
class LogMasker {
 public:
  explicit LogMasker(std::vector<std::string> secrets);
  /// What may be stored now; up to (longest secret - 1) bytes are held back.
  std::string feed(std::string_view chunk);
  /// What was held back.
  std::string finish();

 private:
  std::string mask(bool last);

  std::vector<std::string> secrets_;  // longest first; constant after construction
  std::string pending_;
};

}  // namespace cirrus::controller::blobs
