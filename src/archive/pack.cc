// SPDX-License-Identifier: MIT
#include "archive/pack.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>

#include "archive/tar.h"
#include "os/fd.h"

namespace cirrus::archive {
namespace {

// Ours: how many names a message lists.
constexpr std::size_t kNamed = 10;
constexpr std::size_t kBuffer = 256 * 1024;
// Ours: deeper trees are no caches, and each level keeps a directory open.
constexpr int kDeepest = 256;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

class Packer {
 public:
  Packer(const std::filesystem::path& base, const Sink& sink, const StopToken& stop)
      : base_(base), writer_(sink), stop_(stop), buffer_(kBuffer) {}

  Status add_root(const std::filesystem::path& root) {
    const std::filesystem::path relative = root.lexically_relative(base_);
    const std::string name = relative == "." ? "" : relative.string();
    if (relative.empty() || name == ".." || name.starts_with("../")) {
      return error(Code::InvalidArgument, "'{}' is not below '{}'", root.string(), base_.string());
    }
    if (name.empty()) {
      os::Fd directory = CIRRUS_TRY(os::open_file(root, O_RDONLY | O_DIRECTORY));
      return add_contents(std::move(directory), name, 0);
    }
    const os::Fd parent =
        CIRRUS_TRY(os::open_file(root.parent_path(), O_RDONLY | O_DIRECTORY | O_PATH));
    return add(parent.get(), root.filename().string(), name, 0);
  }
  Result<PackTotals> finish() {
    CIRRUS_TRY(writer_.finish());
    return std::move(totals_);
  }

 private:
  Status add(int parent, const std::string& file_name, const std::string& name, int depth) {
    if (stop_.stop_requested()) return error(Code::Cancelled, "packing was stopped");
    struct stat facts {};
    if (::fstatat(parent, file_name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
      // It was there when its directory was read: somebody is at work here.
      if (errno == ENOENT) return {};
      return errno_error(errno, "cannot look at '{}'", name);
    }
    TarEntry entry;
    entry.name = name;
    entry.mode = facts.st_mode & 07777U;
    entry.modified_seconds = facts.st_mtime;
    if (S_ISDIR(facts.st_mode)) {
      entry.kind = TarEntry::Kind::Directory;
      CIRRUS_TRY(begin(entry));
      os::Fd directory(
          ::openat(parent, file_name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!directory.valid()) return errno_error(errno, "cannot read the directory '{}'", name);
      return add_contents(std::move(directory), name, depth + 1);
    }
    if (S_ISLNK(facts.st_mode)) return add_link(parent, file_name, std::move(entry));
    if (S_ISREG(facts.st_mode)) return add_file(parent, file_name, std::move(entry));
    ++totals_.left_out_count;
    if (totals_.left_out.size() < kNamed) totals_.left_out.push_back(name);
    return {};
  }

  Status add_contents(os::Fd descriptor, const std::string& name, int depth) {
    if (depth > kDeepest) {
      return error(Code::ResourceExhausted, "'{}' is more than {} directories deep", name,
                   kDeepest);
    }
    const Directory directory(::fdopendir(descriptor.get()));
    if (!directory) return errno_error(errno, "cannot read the directory '{}'", name);
    const int number = descriptor.release();  // the directory's from here
    std::vector<std::string> children;
    for (;;) {
      errno = 0;
      const dirent* child = ::readdir(directory.get());
      if (child == nullptr) break;
      const std::string_view child_name = child->d_name;
      if (child_name != "." && child_name != "..") children.emplace_back(child_name);
    }
    if (errno != 0) return errno_error(errno, "cannot read the directory '{}'", name);
    std::sort(children.begin(), children.end());
    for (const std::string& child : children) {
      CIRRUS_TRY(add(number, child, name.empty() ? child : name + "/" + child, depth));
    }
    return {};
  }

  Status add_link(int parent, const std::string& file_name, TarEntry entry) {
    std::array<char, PATH_MAX> target{};
    const ssize_t size = ::readlinkat(parent, file_name.c_str(), target.data(), target.size());
    if (size < 0) return errno_error(errno, "cannot read the link '{}'", entry.name);
    entry.kind = TarEntry::Kind::Symlink;
    entry.target.assign(target.data(), static_cast<std::size_t>(size));
    const std::filesystem::path to = entry.target;
    if (to.is_absolute()) {
      const std::filesystem::path inside = to.lexically_normal().lexically_relative(base_);
      if (!inside.empty() && *inside.begin() != "..") {
        const std::filesystem::path from = (base_ / entry.name).parent_path();
        entry.target = to.lexically_normal().lexically_relative(from).string();
      }
    }
    return begin(entry);
  }

  Status add_file(int parent, const std::string& file_name, TarEntry entry) {
    const os::Fd file(
        ::openat(parent, file_name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file.valid()) return errno_error(errno, "cannot read '{}'", entry.name);
    struct stat facts {};
    if (::fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
      return error(Code::Aborted, "'{}' was replaced while it was read", entry.name);
    }
    entry.size = static_cast<std::uint64_t>(facts.st_size);
    CIRRUS_TRY(begin(entry));
    totals_.bytes += entry.size;
    while (writer_.missing() > 0) {
      const auto room =
          static_cast<std::size_t>(std::min<std::uint64_t>(writer_.missing(), buffer_.size()));
      std::size_t got = CIRRUS_TRY(os::read_some(file.get(), std::span(buffer_.data(), room))
                                       .note("reading '{}'", entry.name));
      if (got == 0) {
        // The header is out: zeros stand for what is gone.
        if (totals_.changing.size() < kNamed &&
            (totals_.changing.empty() || totals_.changing.back() != entry.name)) {
          totals_.changing.push_back(entry.name);
        }
        std::fill_n(buffer_.begin(), room, '\0');
        got = room;
      }
      CIRRUS_TRY(writer_.write({buffer_.data(), got}));
      if (stop_.stop_requested()) return error(Code::Cancelled, "packing was stopped");
    }
    return {};
  }

  Status begin(const TarEntry& entry) {
    ++totals_.entries;
    return writer_.begin(entry);
  }

  const std::filesystem::path base_;
  TarWriter writer_;
  const StopToken stop_;
  std::vector<char> buffer_;
  PackTotals totals_;
};

}  // namespace

Result<PackTotals> pack(const std::filesystem::path& base,
                        const std::vector<std::filesystem::path>& roots, const Sink& sink,
                        const StopToken& stop) {
  Packer packer(base, sink, stop);
  for (const std::filesystem::path& root : roots) CIRRUS_TRY(packer.add_root(root));
  return packer.finish();
}

}  // namespace cirrus::archive
