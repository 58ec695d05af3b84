// SPDX-License-Identifier: MIT
// Linux half: oom_score_adj. A Darwin twin sets the priority alone: there is no such score there.
#include <fcntl.h>
#include <sys/resource.h>

#include <string>

#include "os/fd.h"
#include "os/priority.h"

namespace cirrus::os {

void let_others_first(pid_t child) {
  constexpr int kNice = 5;
  constexpr char kScore[] = "300";
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(child), kNice);
  const Result<Fd> score = open_file("/proc/" + std::to_string(child) + "/oom_score_adj", O_WRONLY);
  if (score.ok()) (void)write_all(score.value().get(), kScore);
}

}  // namespace cirrus::os
