// SPDX-License-Identifier: MIT
// On disk a cache is one file: a head that says what it is, then the content.
//
//   "CIRRUSC1" | u32 length of the head's text, little endian | text | content
//
// The text is one line each: key in hex, task, created in milliseconds. The time of the last use is
// the file's modification time.
#include "controller/blobs/cache_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <tuple>

#include "base/digest.h"
#include "base/fail_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "os/files.h"

namespace cirrus::controller::blobs {

namespace {

constexpr std::string_view kMagic = "CIRRUSC1";
constexpr std::size_t kFixed = kMagic.size() + 4;
constexpr std::uint32_t kMaxText = 8192;

std::string hex_of(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

std::optional<std::string> from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2) {
    unsigned byte = 0;
    const char* const begin = hex.data() + at;
    if (std::from_chars(begin, begin + 2, byte, 16).ptr != begin + 2) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string head_of(const CacheEntry& entry) {
  const std::string text =
      fmt::format("{}\n{}\n{}\n", hex_of(entry.key), entry.created_by_task, entry.created_millis);
  std::string head(kMagic);
  for (unsigned shift = 0; shift < 32; shift += 8) {
    head += static_cast<char>((text.size() >> shift) & 0xFFU);
  }
  return head + text;
}

/// Reads the head of an open cache file. Errors: DataLoss.
Result<CacheReader> read_head(os::Fd fd) {
  const auto damaged = [] { return error(Code::DataLoss, "its head is damaged"); };
  std::string fixed(kFixed, '\0');
  if (::pread(fd.get(), fixed.data(), fixed.size(), 0) != static_cast<ssize_t>(kFixed) ||
      !fixed.starts_with(kMagic)) {
    return damaged();
  }
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    length |= static_cast<std::uint32_t>(static_cast<unsigned char>(fixed[kMagic.size() + i]))
              << (8U * i);
  }
  if (length > kMaxText) return damaged();
  std::string text(length, '\0');
  if (::pread(fd.get(), text.data(), text.size(), kFixed) != static_cast<ssize_t>(length)) {
    return damaged();
  }
  const std::vector<std::string> lines = split(text, '\n');
  const std::optional<std::string> key =
      lines.size() == 4 ? from_hex(lines[0]) : std::optional<std::string>();
  struct stat facts {};
  if (!key || ::fstat(fd.get(), &facts) != 0) return damaged();
  CacheReader reader;
  reader.header = kFixed + length;
  if (static_cast<std::uint64_t>(facts.st_size) < reader.header) return damaged();
  reader.entry.key = *key;
  reader.entry.created_by_task = lines[1];
  std::from_chars(lines[2].data(), lines[2].data() + lines[2].size(), reader.entry.created_millis);
  reader.entry.bytes = static_cast<std::uint64_t>(facts.st_size) - reader.header;
  reader.entry.used_millis =
      static_cast<std::int64_t>(facts.st_mtim.tv_sec) * 1000 + facts.st_mtim.tv_nsec / 1'000'000;
  reader.fd = std::move(fd);
  return reader;
}

}  // namespace

CacheUpload::~CacheUpload() {
  if (fd_.valid()) ::unlink(temporary_.c_str());
}

Status CacheUpload::append(std::string_view bytes) {
  if (size_ + bytes.size() > store_->limits_.entry_bytes) {
    return error(Code::ResourceExhausted, "a cache may have {} bytes at most",
                 store_->limits_.entry_bytes);
  }
  if (store_->disk_ != nullptr) {
    CIRRUS_TRY(store_->disk_->admit_growth(size_, size_ + bytes.size()));
  }
  CIRRUS_TRY(os::write_all(fd_.get(), bytes));
  size_ += bytes.size();
  return {};
}

Status CacheUpload::commit() {
  return store_->publish(*this);
}

Result<std::string> CacheReader::read(std::uint64_t offset, std::size_t limit) const {
  if (offset >= entry.bytes) return std::string();
  std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(limit, entry.bytes - offset)),
                    '\0');
  const ssize_t got =
      ::pread(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(header + offset));
  if (got < 0) return errno_error(errno, "cannot read a cache");
  bytes.resize(static_cast<std::size_t>(got));
  return bytes;
}

Status CacheStore::check_key(std::string_view key) {
  if (key.empty()) return error(Code::InvalidArgument, "a cache needs a key");
  if (key.size() <= kMaxKey) return {};
  return error(Code::InvalidArgument, "the cache key has {} bytes, {} are allowed", key.size(),
               kMaxKey);
}

std::filesystem::path CacheStore::path_of(const std::string& repository,
                                          const std::string& key) const {
  const std::size_t slash = repository.find('/');
  return paths_.caches() / encode_component(repository.substr(0, slash)) /
         encode_component(slash == std::string::npos ? "" : repository.substr(slash + 1)) /
         sha256_hex(key);
}

// The names of directories are read back as they are written: two levels, encoded.
Status CacheStore::load(State& state) const {
  if (state.loaded) return {};
  CIRRUS_TRY(os::make_directories(paths_.caches()));
  std::error_code failure;
  for (const auto& file : std::filesystem::recursive_directory_iterator(
           paths_.caches(), std::filesystem::directory_options::none, failure)) {
    if (!file.is_regular_file(failure)) continue;
    const std::filesystem::path place = file.path().parent_path();
    Result<os::Fd> fd = os::open_file(file.path(), O_RDONLY | O_NOFOLLOW);
    Result<CacheReader> reader = fd.ok() ? read_head(std::move(fd).value()) : fd.error();
    if (!reader.ok()) {
      log_warning("cache left alone", {{"path", file.path().string()}, {"error", reader.error()}});
      continue;
    }
    const std::string directory =
        place.parent_path().filename().string() + "/" + place.filename().string();
    state.total += reader.value().entry.bytes;
    state.index[directory][reader.value().entry.key] = reader.value().entry;
  }
  state.loaded = true;
  return {};
}

namespace {
/// How the index names a repository: by its directories.
std::string directory_of(const std::string& repository) {
  const std::size_t slash = repository.find('/');
  return encode_component(repository.substr(0, slash)) + "/" +
         encode_component(slash == std::string::npos ? "" : repository.substr(slash + 1));
}
}  // namespace

Result<std::optional<CacheEntry>> CacheStore::find(const std::string& repository,
                                                   const std::string& key,
                                                   const std::vector<std::string>& prefixes) {
  return state_.with([&](State& state) -> Result<std::optional<CacheEntry>> {
    CIRRUS_TRY(load(state));
    const auto caches = state.index.find(directory_of(repository));
    if (caches == state.index.end()) return std::optional<CacheEntry>();
    const auto exact = caches->second.find(key);
    if (exact != caches->second.end()) return std::optional(exact->second);
    for (const std::string& prefix : prefixes) {
      std::optional<CacheEntry> newest;
      for (auto at = caches->second.lower_bound(prefix);
           at != caches->second.end() && at->first.starts_with(prefix); ++at) {
        if (!newest || at->second.created_millis > newest->created_millis) newest = at->second;
      }
      if (newest) return newest;
    }
    return std::optional<CacheEntry>();
  });
}

Result<CacheReader> CacheStore::open(const std::string& repository, const std::string& key) {
  Result<os::Fd> fd = os::open_file(path_of(repository, key), O_RDONLY | O_NOFOLLOW);
  if (!fd.ok() && fd.error().code() == Code::NotFound) {
    return error(Code::NotFound, "there is no cache '{:.200}'", key);
  }
  CacheReader reader = CIRRUS_TRY(read_head(CIRRUS_TRY(std::move(fd))));
  // Used now, for the eviction.
  (void)::utimensat(AT_FDCWD, path_of(repository, key).c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
  const std::int64_t now = to_unix_millis(clock_.wall());
  state_.with([&](State& state) {
    const auto caches = state.index.find(directory_of(repository));
    if (caches == state.index.end()) return;
    const auto found = caches->second.find(key);
    if (found != caches->second.end()) found->second.used_millis = now;
  });
  return reader;
}

Result<CacheUpload> CacheStore::create(const std::string& repository, const std::string& key,
                                       const std::string& task) {
  CIRRUS_TRY(check_key(key));
  if (disk_ != nullptr) CIRRUS_TRY(disk_->admit());
  CacheEntry entry;
  entry.key = key;
  entry.created_by_task = task;
  entry.created_millis = to_unix_millis(clock_.wall());
  entry.used_millis = entry.created_millis;
  CIRRUS_TRY(os::make_directories(paths_.temporary()));
  const std::filesystem::path temporary = paths_.temporary() / ("cache-" + random_hex(8));
  os::Fd fd = CIRRUS_TRY(os::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
  const std::string head = head_of(entry);
  CacheUpload upload(*this, repository, std::move(entry), head.size(), temporary, std::move(fd));
  CIRRUS_TRY(os::write_all(upload.fd_.get(), head));
  return upload;
}

Status CacheStore::publish(CacheUpload& upload) {
  // Before it is visible: after a power cut it is whole or absent.
  if (::fdatasync(upload.fd_.get()) != 0) return errno_error(errno, "cannot store a cache");
  const std::filesystem::path path = path_of(upload.repository_, upload.entry_.key);
  CIRRUS_TRY(os::make_directories(path.parent_path()));
  upload.entry_.bytes = upload.size_;
  CIRRUS_TRY(state_.with([&](State& state) -> Status {
    CIRRUS_TRY(load(state));
    CIRRUS_TRY(fail_point("caches.publish.before"));
    if (::rename(upload.temporary_.c_str(), path.c_str()) != 0) {
      return errno_error(errno, "cannot put a cache in place");
    }
    crash_point("caches.publish.after");
    upload.fd_.reset();
    forget(state, upload.repository_, upload.entry_.key);
    state.total += upload.entry_.bytes;
    state.index[directory_of(upload.repository_)][upload.entry_.key] = upload.entry_;
    return {};
  }));
  return evict();
}

void CacheStore::forget(State& state, const std::string& repository, const std::string& key) const {
  const auto caches = state.index.find(directory_of(repository));
  if (caches == state.index.end()) return;
  const auto found = caches->second.find(key);
  if (found == caches->second.end()) return;
  state.total -= std::min(state.total, found->second.bytes);
  caches->second.erase(found);
}

Status CacheStore::remove(const std::string& repository, const std::string& key) {
  return state_.with([&](State& state) -> Status {
    CIRRUS_TRY(load(state));
    if (::unlink(path_of(repository, key).c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) {
      return errno_error(errno, "cannot remove a cache");
    }
    forget(state, repository, key);
    return {};
  });
}

Result<std::vector<CacheEntry>> CacheStore::list(const std::string& repository) {
  return state_.with([&](State& state) -> Result<std::vector<CacheEntry>> {
    CIRRUS_TRY(load(state));
    std::vector<CacheEntry> entries;
    const auto caches = state.index.find(directory_of(repository));
    if (caches != state.index.end()) {
      for (const auto& [key, entry] : caches->second) entries.push_back(entry);
    }
    std::sort(entries.begin(), entries.end(), [](const CacheEntry& a, const CacheEntry& b) {
      return std::tie(b.created_millis, a.key) < std::tie(a.created_millis, b.key);
    });
    return entries;
  });
}

Status CacheStore::evict(std::optional<std::uint64_t> at_most) {
  const std::uint64_t most = std::min(limits_.total_bytes, at_most.value_or(limits_.total_bytes));
  const std::int64_t oldest = to_unix_millis(clock_.wall() - limits_.unused);
  return state_.with([&](State& state) -> Status {
    CIRRUS_TRY(load(state));
    struct Candidate {
      std::int64_t used;
      std::string directory;
      std::string key;
      std::uint64_t bytes;
    };
    std::vector<Candidate> all;
    for (const auto& [directory, caches] : state.index) {
      for (const auto& [key, entry] : caches) {
        all.push_back({entry.used_millis, directory, key, entry.bytes});
      }
    }
    std::sort(all.begin(), all.end(),
              [](const Candidate& a, const Candidate& b) { return a.used < b.used; });
    for (const Candidate& one : all) {
      if (one.used >= oldest && state.total <= most) break;
      const std::filesystem::path path = paths_.caches() / one.directory / sha256_hex(one.key);
      if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
        return errno_error(errno, "cannot remove an old cache");
      }
      state.total -= std::min(state.total, one.bytes);
      state.index[one.directory].erase(one.key);
      log_info("cache evicted",
               {{"repository", one.directory}, {"key", one.key}, {"bytes", one.bytes}});
    }
    return {};
  });
}

}  // namespace cirrus::controller::blobs
