// SPDX-License-Identifier: MIT
#include "cli/artifact_download.h"

#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "base/ids.h"
#include "base/strings.h"
#include "os/fd.h"
#include "os/files.h"

namespace cirrus::cli {

namespace {
/// With its slashes, which separate parts of a path.
std::string escaped_path(const std::string& path) {
  std::vector<std::string> parts;
  for (const std::string& part : split(path, '/')) parts.push_back(net::percent_encode(part));
  return join(parts, "/");
}
}  // namespace

Status download_artifact_file(const ApiClient& api, const ArtifactTarget& wanted,
                              const nlohmann::json& file) {
  const std::string path = file.value("path", "");
  const std::vector<std::string> parts = split(path, '/');
  // The server checks this as well; a client does not write where a server tells it to.
  if (path.empty() || path.front() == '/' ||
      std::find(parts.begin(), parts.end(), "..") != parts.end()) {
    return error(Code::InvalidArgument, "the controller names a file '{}', which is no safe place",
                 path);
  }
  const std::filesystem::path target = wanted.into / path;
  std::error_code ignored;
  if (!wanted.force && std::filesystem::exists(target, ignored)) {
    return error(Code::AlreadyExists, "'{}' is there already: pass --force to replace it",
                 target.string());
  }
  CIRRUS_TRY(os::make_directories(std::filesystem::absolute(target.parent_path(), ignored), 0755));
  const std::filesystem::path temporary = target.string() + ".part-" + random_hex(4);
  os::Fd fd = CIRRUS_TRY(os::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644));
  const Status done = [&]() -> Status {
    std::uint64_t got = 0;
    Status written;
    CIRRUS_TRY(api.download("/api/v1/tasks/" + net::percent_encode(wanted.task) + "/artifacts/" +
                                net::percent_encode(wanted.artifact) + "/" + escaped_path(path),
                            [&](std::string_view bytes) {
                              written = os::write_all(fd.get(), bytes);
                              got += bytes.size();
                              return written.ok();
                            }));
    CIRRUS_TRY(std::move(written).note("writing '{}'", temporary.string()));
    const auto size = file.value("size", std::uint64_t{0});
    if (got != size) {
      return error(Code::DataLoss, "'{}' has {} bytes, only {} arrived: try again", path, size,
                   got);
    }
    std::error_code failure;
    std::filesystem::rename(temporary, target, failure);
    if (failure) return error(Code::Internal, "'{}': {}", target.string(), failure.message());
    return {};
  }();
  if (!done.ok()) std::filesystem::remove(temporary, ignored);
  return done;
}

}  // namespace cirrus::cli
