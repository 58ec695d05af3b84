// SPDX-License-Identifier: MIT
// ImagePuller: keeps Tart images fresh, so that tasks do not wait for their pull.
// Source: reference worker, `tart-pre-pull`. Ours: a timer of its own and a time for each image, so
// that busy workers pull too; the reference looks only while it makes a standby VM.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/stop.h"
#include "os/process.h"

namespace cirrus::isolation {

struct PullPlan {
  std::vector<std::string> images;
  /// Between two looks at one image; 0: only at the worker's start.
  std::chrono::nanoseconds check_interval{0};
  /// Up to so much later, so that many workers do not ask at once.
  std::chrono::nanoseconds jitter{0};
};

/// One thread, which pulls one image at a time. A failure is logged, and the image is due again at
/// its next time.
class ImagePuller {
 public:
  ImagePuller(PullPlan plan, os::Environment environment);
  ImagePuller(const ImagePuller&) = delete;
  ImagePuller& operator=(const ImagePuller&) = delete;

 private:
  void run(const StopToken& stop);
  void pull(const std::string& image, const StopToken& stop) const;

  const PullPlan plan_;
  const os::Environment environment_;
  Thread thread_;  // last: uses everything above
};

}  // namespace cirrus::isolation
