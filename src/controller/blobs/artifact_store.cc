// SPDX-License-Identifier: MIT
// On disk an artifact is a directory: `files/` as they were uploaded, and `list`, which says what
// there is: a version, then name, type and format (hex, because they are anybody's words), then a
// line
// `<bytes> <path in hex>` for each file.
#include "controller/blobs/artifact_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "controller/blobs/retention.h"
#include "os/files.h"

namespace cirrus::controller::blobs {

namespace {

constexpr std::size_t kMaxPath = 4096;
constexpr std::size_t kMaxPart = 255;
constexpr std::size_t kMaxParts = 64;
constexpr std::size_t kMaxList = 512U << 20U;
constexpr std::size_t kMaxWord = 1024;

std::string hex_of(std::string_view bytes) {
  std::string hex;
  hex.reserve(2 * bytes.size());
  constexpr char kDigits[] = "0123456789abcdef";
  for (const char c : bytes) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4U];
    hex += kDigits[static_cast<unsigned char>(c) & 15U];
  }
  return hex;
}

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2) {
    unsigned byte = 0;
    std::from_chars(hex.data() + at, hex.data() + at + 2, byte, 16);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string list_of(const Artifact& artifact) {
  std::string text = "1\n" + hex_of(artifact.name) + "\n" + hex_of(artifact.type) + "\n" +
                     hex_of(artifact.format) + "\n";
  for (const ArtifactFile& file : artifact.files) {
    text += fmt::format("{} {}\n", file.bytes, hex_of(file.path));
  }
  return text;
}

Result<Artifact> read_list(const std::filesystem::path& place) {
  const std::string text = CIRRUS_TRY(os::read_file(place / "list", kMaxList));
  const std::vector<std::string> lines = split(text, '\n');
  if (lines.size() < 5 || lines[0] != "1") return error(Code::DataLoss, "its list is damaged");
  Artifact artifact{from_hex(lines[1]), from_hex(lines[2]), from_hex(lines[3]), {}};
  for (std::size_t i = 4; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    ArtifactFile file;
    const auto parsed =
        std::from_chars(lines[i].data(), lines[i].data() + lines[i].size(), file.bytes);
    const auto used = static_cast<std::size_t>(parsed.ptr - lines[i].data());
    if (parsed.ec != std::errc() || used >= lines[i].size() || lines[i][used] != ' ') {
      return error(Code::DataLoss, "its list is damaged");
    }
    file.path = from_hex(std::string_view(lines[i]).substr(used + 1));
    artifact.files.push_back(std::move(file));
  }
  return artifact;
}

}  // namespace

Status ArtifactStore::check_path(std::string_view path) {
  const auto refuse = [&](const char* why) {
    return error(Code::InvalidArgument, "the artifact's path '{}' is refused: {}",
                 shorten(std::string(path), 200), why);
  };
  if (path.empty()) return refuse("it is empty");
  if (path.size() > kMaxPath) return refuse("it is over 4096 bytes");
  if (path.front() == '/') return refuse("it is not relative");
  const bool odd = std::any_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\';
  });
  if (odd) return refuse("it has a control character or a backslash");
  const std::vector<std::string> parts = split(path, '/');
  if (parts.size() > kMaxParts) return refuse("it is too deep");
  for (const std::string& part : parts) {
    if (part.empty() || part == "." || part == "..") return refuse("it has a part that is no name");
    if (part.size() > kMaxPart) return refuse("a part is over 255 bytes");
  }
  return {};
}

ArtifactUpload::~ArtifactUpload() {
  if (temporary_.empty()) return;
  fd_.reset();
  const Status removed = os::remove_tree(temporary_);
  if (!removed.ok()) log_warning("half an artifact stays", {{"error", removed.error()}});
}

Status ArtifactUpload::begin(const std::string& path) {
  CIRRUS_TRY(ArtifactStore::check_path(path));
  if (!sizes_.contains(path) && sizes_.size() >= limits_.files) {
    return error(Code::ResourceExhausted, "an artifact may have {} files at most", limits_.files);
  }
  const std::filesystem::path target = temporary_ / "files" / path;
  // Only directories of our own making are below: nobody else writes there, and no link is made.
  if (target.parent_path() != made_) {
    CIRRUS_TRY(os::make_directories(target.parent_path())
                   .note("'{}' needs a directory where a file is", shorten(path, 200)));
    made_ = target.parent_path();
  }
  fd_ = CIRRUS_TRY(os::open_file(target, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW)
                       .note("'{}' cannot be stored", shorten(path, 200)));
  // A path that comes again begins anew. Source: protocol, artifacts.
  std::uint64_t& size = sizes_[path];
  size_ -= size;
  size = 0;
  current_ = path;
  return {};
}

Status ArtifactUpload::append(std::string_view path, std::string_view bytes) {
  if (path != current_ || !fd_.valid()) CIRRUS_TRY(begin(std::string(path)));
  if (size_ + bytes.size() > limits_.bytes) {
    return error(Code::ResourceExhausted, "an artifact may have {} bytes at most", limits_.bytes);
  }
  if (disk_ != nullptr) CIRRUS_TRY(disk_->admit_growth(size_, size_ + bytes.size()));
  CIRRUS_TRY(os::write_all(fd_.get(), bytes));
  sizes_[current_] += bytes.size();
  size_ += bytes.size();
  return {};
}

Status ArtifactUpload::commit() {
  fd_.reset();
  for (const auto& [path, bytes] : sizes_) artifact_.files.push_back({path, bytes});
  CIRRUS_TRY(os::make_directories(temporary_));
  CIRRUS_TRY(os::write_file(temporary_ / "list", list_of(artifact_), 0600, true));
  CIRRUS_TRY(os::make_directories(place_.parent_path()));
  // The older one first goes aside: a directory cannot be replaced in one step. A crash between
  // loses the older one only, which was about to be replaced.
  const std::filesystem::path aside = temporary_.string() + "-old";
  if (::rename(place_.c_str(), aside.c_str()) != 0 && errno != ENOENT) {
    return errno_error(errno, "cannot replace an artifact");
  }
  CIRRUS_TRY(fail_point("artifacts.publish.before"));
  if (::rename(temporary_.c_str(), place_.c_str()) != 0) {
    return errno_error(errno, "cannot put an artifact in place");
  }
  crash_point("artifacts.publish.after");
  temporary_.clear();
  *bytes_stored_ += size_;
  return os::remove_tree(aside);
}

Result<ArtifactUpload> ArtifactStore::create(model::TaskId task, const std::string& name,
                                             const std::string& type, const std::string& format) {
  if (name.empty() || name.size() > kMaxWord || type.size() > kMaxWord ||
      format.size() > kMaxWord) {
    return error(Code::InvalidArgument, "an artifact needs a name of 1 to {} bytes", kMaxWord);
  }
  if (disk_ != nullptr) CIRRUS_TRY(disk_->admit());
  const std::filesystem::path temporary = paths_.temporary() / ("artifact-" + random_hex(8));
  CIRRUS_TRY(os::make_directories(temporary / "files"));
  return ArtifactUpload({name, type, format, {}}, limits_, disk_, &bytes_stored_,
                        paths_.artifacts_of(task) / encode_component(name), temporary);
}

Result<std::vector<Artifact>> ArtifactStore::list(model::TaskId task) const {
  std::vector<Artifact> artifacts;
  std::error_code failure;
  for (const auto& entry :
       std::filesystem::directory_iterator(paths_.artifacts_of(task), failure)) {
    if (entry.path().filename() == kExpiredMarker) continue;
    Result<Artifact> one = read_list(entry.path());
    if (!one.ok()) {
      log_warning("artifact left out", {{"path", entry.path().string()}, {"error", one.error()}});
      continue;
    }
    artifacts.push_back(std::move(one).value());
  }
  std::sort(artifacts.begin(), artifacts.end(),
            [](const Artifact& a, const Artifact& b) { return a.name < b.name; });
  return artifacts;
}

Result<ArtifactStore::File> ArtifactStore::open(model::TaskId task, std::string_view name,
                                                std::string_view path) const {
  CIRRUS_TRY(check_path(path));
  const std::filesystem::path target =
      paths_.artifacts_of(task) / encode_component(name) / "files" / std::string(path);
  File file;
  Result<os::Fd> fd = os::open_file(target, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd.ok()) {
    if (const auto note = expiry_note(paths_.artifacts_of(task))) {
      return error(Code::NotFound, "{}", trim(*note));
    }
    return error(Code::NotFound, "task {} has no file '{}' in artifact '{}'", task,
                 shorten(std::string(path), 200), shorten(std::string(name), 200));
  }
  struct stat facts {};
  if (::fstat(fd.value().get(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
    return error(Code::NotFound, "'{}' is no file", shorten(std::string(path), 200));
  }
  file.fd = std::move(fd).value();
  file.bytes = static_cast<std::uint64_t>(facts.st_size);
  return file;
}

}  // namespace cirrus::controller::blobs
