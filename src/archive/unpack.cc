// SPDX-License-Identifier: MIT
#include "archive/unpack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "archive/merge.h"
#include "archive/tar.h"
#include "base/ids.h"
#include "os/fd.h"
#include "os/files.h"

namespace cirrus::archive {
namespace {

constexpr std::size_t kNamed = 10;
constexpr std::size_t kBuffer = 256 * 1024;
constexpr char kStagePrefix[] = ".cirrus-restore-";

/// The parts of an entry's name: no empty ones, no `.`. Errors: InvalidArgument for `..`.
Result<std::vector<std::string>> parts_of(const std::string& name, std::size_t deepest) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (at < name.size()) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    const std::string part = name.substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      return error(Code::InvalidArgument, "the archive has an entry '{}' that leads outside", name);
    }
    parts.push_back(part);
  }
  if (parts.size() > deepest) {
    return error(Code::ResourceExhausted, "the archive has an entry {} directories deep",
                 parts.size());
  }
  return parts;
}

/// Makes things below one directory, without following a link.
class Tree {
 public:
  explicit Tree(os::Fd root) : root_(std::move(root)) {}

  /// The directory `parts` names, made if need be. The descriptor is the tree's, good until the
  /// next call.
  Result<int> directory(const std::vector<std::string>& parts) {
    if (parts.empty()) return root_.get();
    if (parts == open_parts_) return open_.get();
    os::Fd here;
    for (const std::string& part : parts) {
      const int parent = here.valid() ? here.get() : root_.get();
      if (::mkdirat(parent, part.c_str(), 0755) != 0 && errno != EEXIST) {
        return errno_error(errno, "cannot make the directory '{}'", part);
      }
      os::Fd next(::openat(parent, part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!next.valid()) {
        return error(Code::InvalidArgument,
                     "the archive has an entry below '{}', which is no directory in it", part);
      }
      here = std::move(next);
    }
    open_parts_ = parts;
    open_ = std::move(here);
    return open_.get();
  }
  /// Makes room for a new entry of this name: of two equal ones the last counts.
  static Status clear(int parent, const std::string& name) {
    if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno == EISDIR || errno == EPERM) {
      return error(Code::InvalidArgument, "the archive has '{}' as a directory and as a file",
                   name);
    }
    return errno_error(errno, "cannot replace '{}'", name);
  }

 private:
  const os::Fd root_;
  std::vector<std::string> open_parts_;
  os::Fd open_;
};

class Unpacker {
 public:
  Unpacker(const Source& source, os::Fd stage, const UnpackLimits& limits, const StopToken& stop,
           const Witness& witness)
      : input_(source),
        reader_([this](std::span<char> buffer) { return input_.read(buffer); }),
        tree_(std::move(stage)),
        limits_(limits),
        stop_(stop),
        witness_(witness),
        buffer_(kBuffer) {}

  Result<UnpackTotals> all() {
    for (;;) {
      std::optional<TarEntry> entry = CIRRUS_TRY(reader_.next());
      if (!entry) break;
      if (stop_.stop_requested()) return error(Code::Cancelled, "unpacking was stopped");
      if (++totals_.entries > limits_.entries) {
        return error(Code::ResourceExhausted, "the archive has more than {} entries",
                     limits_.entries);
      }
      CIRRUS_TRY(add(*entry).note("unpacking '{}'", entry->name));
    }
    // To the end of the stream, where its checksum is.
    while (CIRRUS_TRY(input_.read(buffer_)) > 0) {
      if (stop_.stop_requested()) return error(Code::Cancelled, "unpacking was stopped");
    }
    // Ours ends as a tar archive should; a frame may end between any two entries.
    if (input_.is_ours() && !reader_.is_closed()) {
      return error(Code::DataLoss, "the archive is cut off");
    }
    totals_.compressed_bytes = input_.consumed();
    return std::move(totals_);
  }

 private:
  Status add(const TarEntry& entry) {
    std::vector<std::string> parts = CIRRUS_TRY(parts_of(entry.name, limits_.depth));
    if (entry.kind == TarEntry::Kind::Directory) {
      (void)CIRRUS_TRY(tree_.directory(parts));
      return {};
    }
    if (entry.kind == TarEntry::Kind::Other || parts.empty()) {
      ++totals_.left_out_count;
      if (totals_.left_out.size() < kNamed) totals_.left_out.push_back(entry.name);
      return {};
    }
    const std::string name = std::move(parts.back());
    parts.pop_back();
    if (entry.kind == TarEntry::Kind::HardLink) return add_hard_link(parts, name, entry.target);
    const int parent = CIRRUS_TRY(tree_.directory(parts));
    CIRRUS_TRY(Tree::clear(parent, name));
    if (entry.kind == TarEntry::Kind::File) return add_file(parent, parts, name, entry);
    if (entry.target.empty()) return error(Code::InvalidArgument, "a link leads nowhere");
    if (::symlinkat(entry.target.c_str(), parent, name.c_str()) != 0) {
      return errno_error(errno, "cannot make a link");
    }
    return {};
  }

  // Only onto what this archive brought: both ends are found without following a link.
  Status add_hard_link(const std::vector<std::string>& parts, const std::string& name,
                       const std::string& target) {
    std::vector<std::string> to = CIRRUS_TRY(parts_of(target, limits_.depth));
    if (to.empty()) return error(Code::InvalidArgument, "a hard link leads nowhere");
    const std::string to_name = std::move(to.back());
    to.pop_back();
    const int to_parent = CIRRUS_TRY(tree_.directory(to));
    const os::Fd from(::openat(to_parent, to_name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat facts {};
    if (!from.valid() || ::fstat(from.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
      return error(Code::InvalidArgument,
                   "a hard link leads to '{}', which is no file unpacked before", target);
    }
    const os::Fd held(::fcntl(to_parent, F_DUPFD_CLOEXEC, 3));
    const int parent = CIRRUS_TRY(tree_.directory(parts));
    CIRRUS_TRY(Tree::clear(parent, name));
    if (::linkat(held.get(), to_name.c_str(), parent, name.c_str(), 0) != 0) {
      return errno_error(errno, "cannot make a hard link");
    }
    return {};
  }

  Status add_file(int parent, const std::vector<std::string>& parts, const std::string& name,
                  const TarEntry& entry) {
    // Never set-id: what a cache brings is not trusted more than its task.
    const unsigned mode = entry.mode & 0777U;
    const os::Fd file(
        ::openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.valid()) return errno_error(errno, "cannot make the file");
    std::string whole_name;
    if (witness_) {
      for (const std::string& part : parts) whole_name += part + "/";
      whole_name += name;
    }
    for (;;) {
      const std::size_t got = CIRRUS_TRY(reader_.read(buffer_));
      if (got == 0) break;
      CIRRUS_TRY(account(got));
      const std::string_view bytes(buffer_.data(), got);
      CIRRUS_TRY(os::write_all(file.get(), bytes));
      if (witness_) witness_(whole_name, bytes);
      if (stop_.stop_requested()) return error(Code::Cancelled, "unpacking was stopped");
    }
    if (witness_) witness_(whole_name, {});
    if (::fchmod(file.get(), mode) != 0) return errno_error(errno, "cannot set the mode");
    return {};
  }

  Status account(std::size_t bytes) {
    totals_.bytes += bytes;
    if (totals_.bytes > limits_.bytes) {
      return error(Code::ResourceExhausted, "the archive unpacks to more than {} bytes",
                   limits_.bytes);
    }
    if (totals_.bytes > limits_.ratio_from && totals_.bytes / limits_.ratio > input_.consumed()) {
      return error(Code::ResourceExhausted,
                   "the archive unpacks to more than {} times its size, which no cache does",
                   limits_.ratio);
    }
    return {};
  }

  Decompressor input_;
  TarReader reader_;
  Tree tree_;
  const UnpackLimits limits_;
  const StopToken stop_;
  const Witness& witness_;
  std::vector<char> buffer_;
  UnpackTotals totals_;
};

/// A directory below the destination that is gone when this is.
class Stage {
 public:
  static Result<Stage> create(const std::filesystem::path& directory) {
    const std::filesystem::path path = directory / (kStagePrefix + random_hex(8));
    CIRRUS_TRY(os::make_directories(path, 0700));
    return Stage(path);
  }
  Stage(Stage&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Stage& operator=(Stage&&) = delete;
  ~Stage() {
    if (!path_.empty()) (void)os::remove_tree(path_);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit Stage(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace

Result<UnpackTotals> unpack(const Source& source, const std::filesystem::path& directory,
                            const UnpackLimits& limits, const StopToken& stop,
                            const Witness& witness) {
  CIRRUS_TRY(os::make_directories(directory, 0755).note("making '{}'", directory.string()));
  const Stage stage = CIRRUS_TRY(Stage::create(directory));
  os::Fd root = CIRRUS_TRY(os::open_file(stage.path(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  UnpackTotals totals = CIRRUS_TRY(Unpacker(source, std::move(root), limits, stop, witness).all());
  CIRRUS_TRY(
      move_into(stage.path(), directory).note("putting files into '{}'", directory.string()));
  return totals;
}

}  // namespace cirrus::archive
