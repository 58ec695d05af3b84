// SPDX-License-Identifier: MIT
#include "agent/cache_step.h"

#include <algorithm>
#include <utility>

#include "agent/persist.h"
#include "archive/codec.h"
#include "archive/pack.h"
#include "base/digest.h"
#include "base/strings.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;

// Ours: how long a server that is away is waited for before a task goes on without its cache, and
// before what it made is given up.
constexpr std::chrono::minutes kRestorePatience{1};
constexpr std::chrono::minutes kStorePatience{5};
constexpr std::chrono::seconds kAnswerTime{30};
// Ours: changes named in the log.
constexpr std::size_t kNamed = 100;

Monotonic now() {
  return std::chrono::steady_clock::now();
}

double seconds_since(Monotonic begun) {
  return std::chrono::duration<double>(now() - begun).count();
}

std::uint64_t nanos_since(Monotonic begun) {
  return static_cast<std::uint64_t>((now() - begun).count());
}

void name_changes(const char* what, const std::vector<std::string>& names, std::size_t& left,
                  StepLog& log) {
  for (const std::string& name : names) {
    if (left == 0) return;
    --left;
    log.write(fmt::format("  {} {}\n", what, name));
  }
}

void name_left_out(const std::vector<std::string>& names, std::uint64_t count, StepLog& log) {
  if (count == 0) return;
  log.write(fmt::format(
      "Left out, being neither file, directory nor link: {}{}\n", join(names, ", "),
      count > names.size() ? fmt::format(" and {} more", count - names.size()) : std::string()));
}

}  // namespace

std::string size_text(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  const char* units[] = {"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

Result<std::optional<rpc::CacheFound>> CacheSteps::find(const std::string& key,
                                                        const std::vector<std::string>& prefixes,
                                                        const StepStop& stop) {
  return persist(stop, kRestorePatience, [&] {
    return blobs_.find_cache(key, prefixes, stop.token(), now() + kAnswerTime);
  });
}

CacheSteps::Restored CacheSteps::restore(const wire::Command& command, const std::string& key,
                                         CacheFolders folders, StepLog& log, const StepStop& stop) {
  const wire::CacheInstruction& instruction = command.cache_instruction();
  Cache& cache = caches_[command.name()];
  cache = Cache{};
  cache.key = key;
  cache.folders = std::move(folders);
  const auto save_on = command.properties().find("save_on");
  cache.save_always = save_on != command.properties().end() && save_on->second == "always";
  wire::CacheRetrievalAttempt& attempt = attempts_[key];
  attempt.mutable_miss();

  std::vector<std::string> prefixes;
  if (instruction.optimistically_restore_on_miss()) prefixes.push_back(command.name() + "-");
  const Result<std::optional<rpc::CacheFound>> found = find(key, prefixes, stop);
  if (!found.ok()) {
    log.write(fmt::format("Cannot look for the cache '{}': {}. Going on without it.\n", key,
                          found.error().to_string()));
    attempt.set_error(found.error().to_string());
    return Restored::Miss;
  }
  if (!found.value()) {
    log.write(fmt::format("Cache miss for '{}'.\n", key));
    return Restored::Miss;
  }
  const bool exact = found.value()->key == key;
  log.write(fmt::format("{} '{}': {}{}.\n",
                        exact ? "Cache hit for" : "Cache miss; the nearest one is",
                        found.value()->key, size_text(found.value()->bytes),
                        found.value()->created_by_task.empty()
                            ? std::string()
                            : ", stored by task " + found.value()->created_by_task));
  cache.available = exact;
  const Status unpacked =
      unpack(cache, *found.value(), exact && instruction.reupload_on_changes(), log, stop);
  if (!unpacked.ok()) {
    log.write(fmt::format("The cache '{}' was not restored: {}. Going on without it.\n",
                          found.value()->key, unpacked.error().to_string()));
    attempt.set_error(unpacked.error().to_string());
    // A new one shall replace it.
    cache.available = false;
    cache.before.reset();
    return Restored::Miss;
  }
  cache.upload = !exact || instruction.reupload_on_changes();
  return Restored::Hit;
}

Status CacheSteps::unpack(Cache& cache, const rpc::CacheFound& found, bool watch, StepLog& log,
                          const StepStop& stop) {
  std::map<std::string, std::string> digests;
  Sha256 digest;
  archive::Witness witness;
  if (watch) {
    witness = [&](const std::string& name, std::string_view piece) {
      digest.update(piece);
      if (piece.empty()) digests[name] = digest.hex();
    };
  }
  const Monotonic begun = now();
  std::chrono::nanoseconds waiting{0};
  const Result<archive::UnpackTotals> totals =
      persist(stop, kRestorePatience, [&]() -> Result<archive::UnpackTotals> {
        digests.clear();
        const std::unique_ptr<rpc::BlobSource> source =
            CIRRUS_TRY(blobs_.read_cache(found.key, stop.token()));
        const archive::Source read = [&]() -> Result<std::string> {
          const Monotonic asked = now();
          Result<std::string> bytes = source->read();
          waiting += now() - asked;
          return bytes;
        };
        return archive::unpack(read, cache.folders.base, limits_, stop.token(), witness);
      });
  CIRRUS_TRY(Status(totals.ok() ? Status() : Status(totals.error())));
  wire::CacheRetrievalAttempt::Hit& hit = *attempts_[cache.key].mutable_hit();
  hit.set_size_bytes(totals.value().compressed_bytes);
  hit.set_downloaded_in_nanos(static_cast<std::uint64_t>(waiting.count()));
  hit.set_extracted_in_nanos(nanos_since(begun) - static_cast<std::uint64_t>(waiting.count()));
  log.write(fmt::format("Unpacked {} entries ({}) into {} in {:.1f} s.\n", totals.value().entries,
                        size_text(totals.value().bytes), cache.folders.base.string(),
                        seconds_since(begun)));
  name_left_out(totals.value().left_out, totals.value().left_out_count, log);
  if (!watch) return {};
  Snapshot before = CIRRUS_TRY(
      look_at(cache.folders.base, CIRRUS_TRY(cache.folders.existing(stop.token())), stop.token()));
  for (auto& [name, mark] : before) {
    const auto known = digests.find(name);
    if (known != digests.end()) mark.digest = known->second;
  }
  cache.before = std::move(before);
  return {};
}

void CacheSteps::populated(const std::string& name, std::chrono::nanoseconds took) {
  const auto cache = caches_.find(name);
  if (cache == caches_.end()) return;
  attempts_[cache->second.key].mutable_miss()->set_populated_in_nanos(
      static_cast<std::uint64_t>(took.count()));
}

bool CacheSteps::saved_always(const std::string& name) const {
  const auto cache = caches_.find(name);
  return cache != caches_.end() && cache->second.save_always;
}

bool CacheSteps::upload(const std::string& name, StepLog& log, const StepStop& stop) {
  const auto found = caches_.find(name);
  if (found == caches_.end()) {
    log.write(
        fmt::format("No cache '{}' was restored in this task, so there is none to store.\n", name));
    return false;
  }
  const Cache& cache = found->second;
  if (!cache.upload) {
    log.write(fmt::format("The cache '{}' was restored; it is not stored again.\n", cache.key));
    return true;
  }
  const Result<std::vector<fs::path>> roots = cache.folders.existing(stop.token());
  if (!roots.ok()) {
    log.write(
        fmt::format("The cache '{}' is not stored: {}.\n", cache.key, roots.error().to_string()));
    return true;
  }
  const Result<bool> worth = worth_storing(cache, roots.value(), log, stop);
  if (!worth.ok()) {
    log.write(
        fmt::format("The cache '{}' is not stored: {}.\n", cache.key, worth.error().to_string()));
    return true;
  }
  if (worth.value()) store(cache, roots.value(), log, stop);
  return true;
}

Result<bool> CacheSteps::worth_storing(const Cache& cache, const std::vector<fs::path>& roots,
                                       StepLog& log, const StepStop& stop) {
  const Snapshot after = CIRRUS_TRY(look_at(cache.folders.base, roots, stop.token()));
  if (after.empty()) {
    log.write(fmt::format("There is nothing in {}; the cache '{}' is not stored.\n",
                          join(cache.folders.patterns, ", "), cache.key));
    return false;
  }
  if (cache.before) {
    const Changes changes =
        CIRRUS_TRY(compare(cache.folders.base, *cache.before, after, stop.token()));
    if (!changes.any()) {
      log.write(fmt::format("The cache '{}' has not changed.\n", cache.key));
      return false;
    }
    const std::size_t all =
        changes.created.size() + changes.modified.size() + changes.deleted.size();
    log.write(fmt::format("The cache '{}' has changed:\n", cache.key));
    std::size_t left = kNamed;
    name_changes("created ", changes.created, left, log);
    name_changes("modified", changes.modified, left, log);
    name_changes("deleted ", changes.deleted, left, log);
    if (all > kNamed) log.write(fmt::format("  and {} more\n", all - kNamed));
  }
  if (!cache.available) {
    const std::optional<rpc::CacheFound> other = CIRRUS_TRY(find(cache.key, {}, stop));
    // What could not be unpacked is there still, and is what shall be replaced.
    if (other && attempts_.at(cache.key).error().empty()) {
      log.write(fmt::format("Task {} has stored the cache '{}' meanwhile.\n",
                            other->created_by_task.empty() ? "another" : other->created_by_task,
                            cache.key));
      return false;
    }
  }
  return true;
}

void CacheSteps::store(const Cache& cache, const std::vector<fs::path>& roots, StepLog& log,
                       const StepStop& stop) {
  const Monotonic begun = now();
  std::uint64_t size = 0;
  std::chrono::nanoseconds sending{0};
  // Packing goes straight into the upload; if that breaks, both start over.
  const Result<archive::PackTotals> totals =
      persist(stop, kStorePatience, [&]() -> Result<archive::PackTotals> {
        const std::unique_ptr<rpc::BlobSink> sink =
            CIRRUS_TRY(blobs_.write_cache(cache.key, stop.token()));
        archive::Compressor compressor([&](std::string_view bytes) -> Status {
          const Monotonic asked = now();
          Status sent = sink->write(bytes);
          sending += now() - asked;
          return sent;
        });
        archive::PackTotals packed = CIRRUS_TRY(archive::pack(
            cache.folders.base, roots,
            [&](std::string_view bytes) { return compressor.write(bytes); }, stop.token()));
        CIRRUS_TRY(compressor.finish());
        size = compressor.size();
        const Monotonic asked = now();
        CIRRUS_TRY(sink->finish());
        sending += now() - asked;
        return packed;
      });
  if (!totals.ok()) {
    log.write(
        fmt::format("The cache '{}' was not stored: {}.\n", cache.key, totals.error().to_string()));
    return;
  }
  name_left_out(totals.value().left_out, totals.value().left_out_count, log);
  for (const std::string& name : totals.value().changing) {
    log.write(
        fmt::format("'{}' became shorter while it was packed; zeros stand for the rest.\n", name));
  }
  log.write(fmt::format("Stored the cache '{}': {} entries, {} packed to {}, in {:.1f} s.\n",
                        cache.key, totals.value().entries, size_text(totals.value().bytes),
                        size_text(size), seconds_since(begun)));
  wire::CacheRetrievalAttempt& attempt = attempts_[cache.key];
  if (attempt.has_hit()) return;
  attempt.mutable_miss()->set_size_bytes(size);
  attempt.mutable_miss()->set_uploaded_in_nanos(static_cast<std::uint64_t>(sending.count()));
  attempt.mutable_miss()->set_archived_in_nanos(nanos_since(begun) -
                                                static_cast<std::uint64_t>(sending.count()));
}

}  // namespace cirrus::agent
