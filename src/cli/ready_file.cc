// SPDX-License-Identifier: MIT
#include "cli/ready_file.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "os/files.h"

namespace cirrus::cli {

Result<ReadyFile> ReadyFile::write(const std::filesystem::path& path,
                                   const std::map<std::string, std::string>& fields) {
  ReadyFile file;
  if (path.empty()) return file;
  nlohmann::ordered_json document;
  document["schema_version"] = 1;
  document["pid"] = ::getpid();
  for (const auto& [key, value] : fields) document[key] = value;
  CIRRUS_TRY(os::write_file(path, document.dump(2) + "\n", 0644).note("announcing readiness"));
  file.path_ = path;
  return file;
}

ReadyFile::~ReadyFile() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace cirrus::cli
