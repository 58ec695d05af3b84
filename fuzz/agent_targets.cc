// SPDX-License-Identifier: MIT
#include "agent_targets.h"

#include "agent/annotations/annotations.h"
#include "agent/env_file.h"
#include "agent/shell.h"
#include "archive/unpack.h"
#include "base/check.h"
#include "base/strings.h"
#include "model/clone_plan.h"
#include "model/testing/plain_mask.h"
#include "os/temp_dir.h"

namespace cirrus::fuzz {

void run_masker(std::string_view input) {
  if (input.empty() || input.size() > 4096) return;
  const std::size_t piece = static_cast<unsigned char>(input.front()) % 32U + 1U;
  input.remove_prefix(1);
  const std::size_t newline = std::min(input.find('\n'), input.size());
  std::vector<std::string> patterns = split(input.substr(0, newline), ' ');
  std::erase(patterns, std::string());
  const std::string text(input.substr(std::min(newline + 1, input.size())));

  model::Masker masker(std::make_shared<const model::PatternSet>(patterns));
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    masker.feed(std::string_view(text).substr(at, piece), out);
  }
  masker.finish(out);
  CIRRUS_CHECK(out == model::testing::plain_mask(patterns, text), "masking follows the plain rule");
}

void run_env_file(std::string_view input) {
  const agent::EnvFile file = agent::parse_env_file(input);
  for (const auto& [name, value] : file.variables) {
    CIRRUS_CHECK(!name.empty() && name.find('=') == std::string::npos, "names are names");
  }
  for (const std::string& line : split(input, '\n')) {
    (void)agent::split_words(line);
    (void)model::split_clone_url(line);
  }
}

void run_archive(std::string_view input) {
  static const os::TempDir scratch = std::move(os::TempDir::create("fuzz-archive")).value();
  const std::filesystem::path directory = scratch.path() / "in";
  std::size_t at = 0;
  // In pieces of a size no structure has.
  const archive::Source source = [&]() -> Result<std::string> {
    const std::string piece(input.substr(at, 300));
    at += piece.size();
    return piece;
  };
  archive::UnpackLimits limits;
  limits.entries = 1000;
  limits.bytes = 1U << 20U;
  limits.ratio_from = 1U << 16U;
  (void)archive::unpack(source, directory, limits, {});
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.path(), ignored)) {
    CIRRUS_CHECK(entry.path().filename() == "in", "an archive wrote beside its directory");
  }
  std::filesystem::remove_all(directory, ignored);
}

void run_report(std::string_view input) {
  static constexpr std::string_view kFormats[] = {
      "junit",  "golangci",    "android-lint", "eslint", "rspec", "rubocop",
      "qodana", "xclogparser", "flutter",      "boost",  "buf",   "swiftformat",
      "cirrus", "go-test",     "unknown",      "cargo"};
  if (input.empty()) return;
  const auto format = static_cast<unsigned char>(input.front()) % std::size(kFormats);
  (void)agent::read_report(kFormats[format], input.substr(1));
}

}  // namespace cirrus::fuzz
