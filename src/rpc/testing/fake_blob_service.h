// SPDX-License-Identifier: MIT
// FakeBlobService: caches and artifacts in memory, scripted by data.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/guarded.h"
#include "rpc/blob_service.h"

namespace cirrus::rpc::testing {

/// Keeps what is finished, and nothing of what is not. Thread-safe.
class FakeBlobService final : public BlobService {
 public:
  struct State {
    std::map<std::string, std::string> caches;
    /// By artifact name and path.
    std::map<std::string, std::map<std::string, std::string>> artifacts;
    std::vector<ArtifactSet> sets;
    /// The next calls fail with these, one each, whatever they are.
    std::vector<Error> failures;
    /// The next uploads break after so many bytes; one entry each.
    std::vector<std::size_t> break_after;
    int looked_up = 0;
    int written = 0;
  };
  Guarded<State>& state() { return state_; }

  Result<std::optional<CacheFound>> find_cache(const std::string& key,
                                               const std::vector<std::string>& prefixes,
                                               const StopToken&, Monotonic) override {
    return state_.with([&](State& state) -> Result<std::optional<CacheFound>> {
      CIRRUS_TRY(fail(state));
      ++state.looked_up;
      const auto exact = state.caches.find(key);
      if (exact != state.caches.end()) return found(*exact);
      for (const std::string& prefix : prefixes) {
        for (const auto& entry : state.caches) {
          if (entry.first.starts_with(prefix)) return found(entry);
        }
      }
      return std::optional<CacheFound>();
    });
  }
  Result<std::unique_ptr<BlobSource>> read_cache(const std::string& key,
                                                 const StopToken&) override {
    return state_.with([&](State& state) -> Result<std::unique_ptr<BlobSource>> {
      CIRRUS_TRY(fail(state));
      const auto entry = state.caches.find(key);
      if (entry == state.caches.end()) return error(Code::NotFound, "no cache '{}'", key);
      return std::unique_ptr<BlobSource>(std::make_unique<Source>(entry->second));
    });
  }
  Result<std::unique_ptr<BlobSink>> write_cache(const std::string& key, const StopToken&) override {
    return state_.with([&](State& state) -> Result<std::unique_ptr<BlobSink>> {
      CIRRUS_TRY(fail(state));
      return std::unique_ptr<BlobSink>(std::make_unique<Sink>(*this, key, take_break(state)));
    });
  }
  Status delete_cache(const std::string& key, const StopToken&, Monotonic) override {
    return state_.with([&](State& state) -> Status {
      CIRRUS_TRY(fail(state));
      if (state.caches.erase(key) == 0) return error(Code::NotFound, "no cache '{}'", key);
      return {};
    });
  }
  Result<std::unique_ptr<ArtifactSink>> write_artifacts(const ArtifactSet& set,
                                                        const StopToken&) override {
    return state_.with([&](State& state) -> Result<std::unique_ptr<ArtifactSink>> {
      CIRRUS_TRY(fail(state));
      return std::unique_ptr<ArtifactSink>(
          std::make_unique<Artifacts>(*this, set, take_break(state)));
    });
  }

 private:
  using Limit = std::optional<std::size_t>;

  class Source final : public BlobSource {
   public:
    explicit Source(std::string bytes) : bytes_(std::move(bytes)) {}
    Result<std::string> read() override {
      std::string piece = bytes_.substr(at_, 1000);
      at_ += piece.size();
      return piece;
    }

   private:
    const std::string bytes_;
    std::size_t at_ = 0;
  };
  class Sink final : public BlobSink {
   public:
    Sink(FakeBlobService& service, std::string key, Limit limit)
        : service_(service), key_(std::move(key)), limit_(limit) {}
    Status write(std::string_view bytes) override {
      bytes_ += bytes;
      return check(bytes_.size(), limit_);
    }
    Status finish() override {
      CIRRUS_TRY(check(bytes_.size(), limit_));
      service_.state_.with([this](State& state) {
        ++state.written;
        state.caches[key_] = bytes_;
      });
      return {};
    }

   private:
    FakeBlobService& service_;
    const std::string key_;
    const Limit limit_;
    std::string bytes_;
  };
  class Artifacts final : public ArtifactSink {
   public:
    Artifacts(FakeBlobService& service, ArtifactSet set, Limit limit)
        : service_(service), set_(std::move(set)), limit_(limit) {}
    Status begin_file() override {
      if (next_ > 0 && files_[set_.files[next_ - 1].path].size() != set_.files[next_ - 1].bytes) {
        return error(Code::FailedPrecondition, "a file is not complete");
      }
      if (next_ == set_.files.size()) return error(Code::FailedPrecondition, "too many files");
      files_[set_.files[next_++].path].clear();
      return {};
    }
    Status write(std::string_view bytes) override {
      files_[set_.files[next_ - 1].path] += bytes;
      size_ += bytes.size();
      return check(size_, limit_);
    }
    Status finish() override {
      CIRRUS_TRY(check(size_, limit_));
      if (next_ != set_.files.size()) return error(Code::FailedPrecondition, "too few files");
      service_.state_.with([this](State& state) {
        ++state.written;
        state.artifacts[set_.name] = files_;
        state.sets.push_back(set_);
      });
      return {};
    }

   private:
    FakeBlobService& service_;
    const ArtifactSet set_;
    const Limit limit_;
    std::map<std::string, std::string> files_;
    std::size_t next_ = 0;
    std::size_t size_ = 0;
  };

  static Status check(std::size_t size, Limit limit) {
    if (limit && size > *limit) return error(Code::Unavailable, "the upload broke");
    return {};
  }
  static Status fail(State& state) {
    if (state.failures.empty()) return {};
    Error failure = state.failures.front();
    state.failures.erase(state.failures.begin());
    return failure;
  }
  static Limit take_break(State& state) {
    if (state.break_after.empty()) return std::nullopt;
    const std::size_t limit = state.break_after.front();
    state.break_after.erase(state.break_after.begin());
    return limit;
  }
  static std::optional<CacheFound> found(const std::pair<const std::string, std::string>& entry) {
    return CacheFound{entry.first, entry.second.size(), "41", 1'700'000'000};
  }

  Guarded<State> state_;
};

}  // namespace cirrus::rpc::testing
