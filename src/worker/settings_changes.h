// SPDX-License-Identifier: MIT
// What a reload changes, in sentences for the log.
#pragma once

#include <string>
#include <vector>

#include "worker/settings.h"

namespace cirrus::worker {

/// A line for each setting that differs, such as `labels: kind=old -> kind=new` or
/// `security.max-timeout: absent -> 1h`. Those that a running worker does not take over end in
/// `takes effect after a restart`. Never shows a token.
std::vector<std::string> changes_between(const Settings& before, const Settings& after);

}  // namespace cirrus::worker
