// SPDX-License-Identifier: MIT
#include "agent/artifact_step.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <set>

#include "agent/cache_step.h"
#include "agent/glob.h"
#include "agent/persist.h"
#include "base/utf8.h"
#include "os/fd.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;

// Ours: more is a mistake in a pattern, and a list of this length is 20 MB.
constexpr std::size_t kMostFiles = 200'000;
// Ours: files passed over that are named.
constexpr int kNamed = 20;
// Source: reference agent: from here on it remarks on the size.
constexpr std::uint64_t kLarge = 100'000'000;
constexpr std::size_t kBuffer = 256 * 1024;

/// Files in the order they are found, each once.
class Selection {
 public:
  Selection(fs::path inside, StepLog& log) : inside_(std::move(inside)), log_(log) {}

  Status add(const fs::path& path) {
    const fs::path relative = path.lexically_normal().lexically_relative(inside_);
    if (relative.empty() || *relative.begin() == "..") {
      return error(Code::InvalidArgument,
                   "'{}' is outside of the working directory '{}'; copy it there first",
                   path.string(), inside_.string());
    }
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) {
      pass_over(relative, "a link that leads nowhere");
      return {};
    }
    if (S_ISDIR(facts.st_mode)) {
      ++directories_;
      return {};
    }
    if (!S_ISREG(facts.st_mode)) {
      pass_over(relative, "no file");
      return {};
    }
    if (!names_.insert(relative.string()).second) return {};
    // Source: reference agent: names travel as text, and it fails too.
    if (!is_utf8(relative.string())) {
      return error(Code::InvalidArgument,
                   "the name '{}' is not UTF-8, which artifacts' names must be; rename it",
                   as_utf8(relative.string()));
    }
    if (files_.size() == kMostFiles) {
      return error(Code::ResourceExhausted, "the patterns match more than {} files", kMostFiles);
    }
    const auto size = static_cast<std::uint64_t>(facts.st_size);
    if (size > kLarge) {
      log_.write(fmt::format("{} is large: {}.\n", relative.string(), size_text(size)));
    }
    files_.push_back({relative.string(), size});
    return {};
  }
  std::vector<rpc::ArtifactFile> take() {
    if (directories_ > 0) {
      log_.write(fmt::format("Passed over {} {}: only files are stored.\n", directories_,
                             directories_ == 1 ? "directory" : "directories"));
    }
    if (passed_over_ > kNamed) {
      log_.write(fmt::format("Passed over {} more.\n", passed_over_ - kNamed));
    }
    return std::move(files_);
  }

 private:
  void pass_over(const fs::path& path, const char* why) {
    if (++passed_over_ > kNamed) return;
    log_.write(fmt::format("Passed over {}: {}.\n", path.string(), why));
  }

  const fs::path inside_;
  StepLog& log_;
  std::vector<rpc::ArtifactFile> files_;
  std::set<std::string> names_;
  int passed_over_ = 0;
  int directories_ = 0;
};

Status send_file(const fs::path& path, const rpc::ArtifactFile& file, rpc::ArtifactSink& sink,
                 std::vector<char>& buffer, const StepStop& stop) {
  CIRRUS_TRY(sink.begin_file());
  const os::Fd input = CIRRUS_TRY(os::open_file(path, O_RDONLY | O_NONBLOCK));
  std::uint64_t left = file.bytes;
  while (left > 0) {
    if (stop.stopped()) return error(Code::Cancelled, "the upload was stopped");
    const auto room = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer.size()));
    const std::size_t got = CIRRUS_TRY(os::read_some(input.get(), std::span(buffer.data(), room)));
    if (got == 0) {
      return error(Code::Aborted, "'{}' became shorter while it was read", file.path);
    }
    CIRRUS_TRY(sink.write({buffer.data(), got}));
    left -= got;
  }
  return {};
}

Status send_all(rpc::BlobService& blobs, const rpc::ArtifactSet& set, const fs::path& directory,
                const StepStop& stop) {
  const std::unique_ptr<rpc::ArtifactSink> sink =
      CIRRUS_TRY(blobs.write_artifacts(set, stop.token()));
  std::vector<char> buffer(kBuffer);
  for (const rpc::ArtifactFile& file : set.files) {
    CIRRUS_TRY(send_file(directory / file.path, file, *sink, buffer, stop));
  }
  return sink->finish();
}

}  // namespace

Result<std::vector<rpc::ArtifactFile>> select_artifacts(
    const std::vector<std::string>& patterns, const fs::path& working_directory,
    const std::function<std::string(const std::string&)>& expand, StepLog& log,
    const StopToken& stop) {
  const fs::path inside = (working_directory / "").lexically_normal().parent_path();
  Selection selection(inside, log);
  for (const std::string& pattern : patterns) {
    fs::path path = expand(pattern);
    if (path.is_relative()) path = inside / path;
    const std::vector<fs::path> found = CIRRUS_TRY(glob(path.lexically_normal().string(), stop));
    if (found.empty()) log.write(fmt::format("Nothing matches '{}'.\n", pattern));
    for (const fs::path& one : found) CIRRUS_TRY(selection.add(one));
  }
  return selection.take();
}

Status upload_artifacts(rpc::BlobService& blobs, const rpc::ArtifactSet& set,
                        const fs::path& working_directory, const StepStop& stop) {
  const auto attempt = [&] {
    return persist(stop, std::chrono::nanoseconds::max(),
                   [&] { return send_all(blobs, set, working_directory, stop); });
  };
  Status sent = attempt();
  // Source: reference agent: two tries of the whole.
  if (!sent.ok() && !stop.stopped()) sent = attempt();
  return sent;
}

}  // namespace cirrus::agent
