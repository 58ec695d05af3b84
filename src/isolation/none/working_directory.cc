// SPDX-License-Identifier: MIT
#include "isolation/none/working_directory.h"

#include <sys/stat.h>

#include <cerrno>

#include "os/temp_dir.h"

namespace cirrus::isolation {

Result<std::filesystem::path> make_working_directory() {
  const std::filesystem::path first = os::temporary_root() / "cirrus-build";
  // mkdir decides the race: it never follows a link and fails on whatever is there.
  if (::mkdir(first.c_str(), 0700) == 0) return first;
  if (errno != EEXIST) {
    return errno_error(errno, "cannot create the working directory '{}'", first.string());
  }
  os::TempDir directory = CIRRUS_TRY(os::TempDir::create("cirrus-build"));
  return directory.release();
}

}  // namespace cirrus::isolation
