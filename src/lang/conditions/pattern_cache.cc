// SPDX-License-Identifier: MIT
#include "lang/conditions/pattern_cache.h"

#include <re2/re2.h>

#include "base/strings.h"
#include "lang/conditions/path_pattern.h"

namespace cirrus::lang {
namespace {

// Ours. RE2 is linear in the text but also in the size of the program, and `(x{1000}){9}` is a
// small text: both are bounded. The largest pattern seen in public files has 300 bytes.
constexpr std::size_t kMaxPatternBytes = 8 * 1024;
constexpr int kMaxProgram = 20'000;
constexpr std::int64_t kMaxMemory = std::int64_t{4} << 20;
constexpr std::size_t kMaxPatterns = 5'000;

}  // namespace

PatternCache::PatternCache() = default;
PatternCache::~PatternCache() = default;

Result<const re2::RE2*> PatternCache::compiled(const std::string& regex, std::string_view shown) {
  const auto found = compiled_.find(regex);
  if (found != compiled_.end()) return found->second.get();
  if (regex.size() > kMaxPatternBytes || compiled_.size() >= kMaxPatterns) {
    return error(Code::ResourceExhausted, "pattern '{}' is too long or one of too many",
                 shorten(shown, 60));
  }
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxMemory);
  auto made = std::make_unique<re2::RE2>(regex, options);
  if (!made->ok()) {
    return error(Code::InvalidArgument, "bad pattern '{}': {}", shorten(shown, 60), made->error());
  }
  if (made->ProgramSize() > kMaxProgram) {
    return error(Code::ResourceExhausted, "pattern '{}' is too complex", shorten(shown, 60));
  }
  return compiled_.emplace(regex, std::move(made)).first->second.get();
}

Result<bool> PatternCache::run(const re2::RE2& regex, std::string_view text, Budget& budget) {
  // The automaton usually takes one step per byte; when it does not fit in memory, RE2 falls back
  // to a walk that takes up to one step per instruction.
  const std::size_t factor = 1 + static_cast<std::size_t>(regex.ProgramSize()) / 16;
  if (!budget.spend_work((text.size() + 16) * factor)) {
    return error(Code::ResourceExhausted, "matching patterns takes too much work");
  }
  return re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), regex);
}

Result<bool> PatternCache::matches(std::string_view text, std::string_view pattern,
                                   Budget& budget) {
  std::string regex = "(?s)(?i)^";
  regex += pattern;
  regex += '$';
  return run(*CIRRUS_TRY(compiled(regex, pattern)), text, budget);
}

Result<bool> PatternCache::matches_path(std::string_view path, std::string_view pattern,
                                        Budget& budget) {
  std::string key(pattern);
  auto found = paths_.find(key);
  if (found == paths_.end()) {
    std::string regex = CIRRUS_TRY(path_pattern_regex(pattern));
    found = paths_.emplace(std::move(key), "^(?:" + regex + ")$").first;
  }
  return run(*CIRRUS_TRY(compiled(found->second, pattern)), path, budget);
}

}  // namespace cirrus::lang
