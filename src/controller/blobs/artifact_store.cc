// SPDX-License-Identifier: MIT
// On disk an artifact is a directory: `files/` as they were uploaded, and `list`, which says what
// there is (artifact_list.h).
#include "controller/blobs/artifact_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>

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
constexpr std::size_t kMaxWord = 1024;

Result<ArtifactList> list_in(const std::filesystem::path& place) {
  return ArtifactList::open(place / "list");
}

Result<Artifact> read_all(const std::filesystem::path& place) {
  ArtifactList list = CIRRUS_TRY(list_in(place));
  Artifact artifact = list.head();
  while (std::optional<ArtifactFile> file = CIRRUS_TRY(list.next())) {
    artifact.files.push_back(std::move(*file));
  }
  return artifact;
}

void left_out(const std::filesystem::path& place, const Error& why) {
  log_warning("artifact left out", {{"path", place.string()}, {"error", why}});
}

/// Fills one page, artifact by artifact in their order.
class Pager {
 public:
  Pager(const ArtifactPlace& after, std::size_t most) : after_(after), most_(most), last_(after) {}

  /// What there is to show of one artifact. False: the page ends within or before it. Errors: its
  /// list cannot be read; nothing of it is shown.
  Result<bool> add(const std::filesystem::path& place) {
    ArtifactList list = CIRRUS_TRY(list_in(place));
    Artifact artifact = list.head();
    const bool goes_on = artifact.name == after_.name;
    const Fill before = fill_;
    ArtifactPlace end{artifact.name, ""};
    bool whole = true;
    for (;;) {
      Result<std::optional<ArtifactFile>> file = list.next();
      if (!file.ok()) {
        fill_ = before;
        return file.error();
      }
      if (!file.value()) break;
      if (goes_on && file.value()->path <= after_.path) continue;
      whole = count(file.value()->path.size());
      if (!whole) break;
      end.path = file.value()->path;
      artifact.files.push_back(std::move(*file.value()));
    }
    if (artifact.files.empty() && (goes_on || !whole)) return whole;
    if (artifact.files.empty() && !count(0)) return false;
    last_ = std::move(end);
    page_.artifacts.push_back(std::move(artifact));
    return whole;
  }
  const ArtifactPlace& last() const { return last_; }
  ArtifactPage take(std::optional<ArtifactPlace> next) {
    page_.next = std::move(next);
    return std::move(page_);
  }

 private:
  struct Fill {
    std::size_t files = 0;
    std::size_t bytes = 0;
  };
  bool count(std::size_t bytes) {
    if (fill_.files >= most_ || fill_.bytes >= ArtifactPage::kMostPathBytes) return false;
    ++fill_.files;
    fill_.bytes += bytes;
    return true;
  }

  const ArtifactPlace& after_;
  const std::size_t most_;
  ArtifactPlace last_;  // what the page shows up to
  Fill fill_;
  ArtifactPage page_;
};

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
  CIRRUS_TRY(os::write_file(temporary_ / "list", write_artifact_list(artifact_), 0600, true));
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
    Result<Artifact> one = read_all(entry.path());
    if (!one.ok()) {
      left_out(entry.path(), one.error());
      continue;
    }
    artifacts.push_back(std::move(one).value());
  }
  std::sort(artifacts.begin(), artifacts.end(),
            [](const Artifact& a, const Artifact& b) { return a.name < b.name; });
  return artifacts;
}

ArtifactStore::Places ArtifactStore::places_from(model::TaskId task, const std::string& name,
                                                 std::size_t most) const {
  Places places;
  std::error_code failure;
  for (const auto& entry :
       std::filesystem::directory_iterator(paths_.artifacts_of(task), failure)) {
    if (entry.path().filename() == kExpiredMarker) continue;
    const Result<ArtifactList> list = list_in(entry.path());
    if (!list.ok()) {
      left_out(entry.path(), list.error());
      continue;
    }
    if (list.value().head().name < name) continue;
    places.by_name.emplace(list.value().head().name, entry.path());
    if (places.by_name.size() <= most) continue;
    places.by_name.erase(std::prev(places.by_name.end()));
    places.more = true;
  }
  return places;
}

Result<ArtifactPage> ArtifactStore::page(model::TaskId task, const ArtifactPlace& after,
                                         std::size_t most) const {
  // One more than fits: the one that the page before ended in may have nothing more to show.
  const Places places = places_from(task, after.name, most + 1);
  Pager pager(after, most);
  for (const auto& [name, place] : places.by_name) {
    const Result<bool> whole = pager.add(place);
    if (!whole.ok()) left_out(place, whole.error());
    if (whole.ok() && !whole.value()) return pager.take(pager.last());
  }
  if (!places.more) return pager.take(std::nullopt);
  const std::string& seen = places.by_name.rbegin()->first;
  return pager.take(pager.last().name == seen ? pager.last() : ArtifactPlace{seen, ""});
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
