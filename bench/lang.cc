// SPDX-License-Identifier: MIT
// How long one evaluation takes: the largest public configuration of the corpus, and a file of
// 1,200 lines made of repeated public parts. One JSON line per figure; the median counts.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "lang/evaluate.h"

namespace cirrus {
namespace {

constexpr std::size_t kLines = 1'200;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream content;
  content << stream.rdbuf();
  return content.str();
}

/// The public file with most lines.
std::string largest_configuration() {
  std::string largest;
  std::ptrdiff_t lines = 0;
  const std::filesystem::path folder = CIRRUS_SOURCE_DIR "/tests/corpus/data/real-world";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".yml") continue;
    std::string text = read_file(entry.path());
    const std::ptrdiff_t count = std::count(text.begin(), text.end(), '\n');
    if (count <= lines) continue;
    lines = count;
    largest = std::move(text);
  }
  return largest;
}

/// 1,200 lines with what real files have: a template merged by every task, matrices, conditions,
/// caches, dependencies.
std::string long_configuration() {
  std::string text =
      "env:\n  GLOBAL: value\n  VERSION: 1.2.3\n"
      ".template: &template\n  only_if: $CIRRUS_BRANCH == 'main' || $CIRRUS_PR != ''\n"
      "  skip: \"!changesInclude('src/**', '**.md')\"\n"
      "  ccache_cache:\n    folder: ~/.ccache\n    fingerprint_key: ccache-$NAME\n"
      "  timeout_in: 30m\n";
  std::size_t lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  for (int i = 0; lines < kLines; ++i) {
    std::string task = fmt::format(
        "t{0}_task:\n  <<: *template\n  name: Build {0} $COMPILER\n  persistent_worker:\n"
        "    labels:\n      os: linux\n      arch: $ARCH\n    isolation:\n      container:\n"
        "        image: debian:$VERSION\n  env:\n    NAME: t{0}\n    ARCH: amd64\n    matrix:\n"
        "      - COMPILER: gcc\n      - COMPILER: clang\n  install_script:\n    - apt-get update\n"
        "    - apt-get install -y $COMPILER\n  build_script: |\n    cmake -B build\n"
        "    cmake --build build\n  test_script: ctest --test-dir build\n  always:\n"
        "    logs_artifacts:\n      path: build/*.log\n",
        i);
    if (i > 0) task += fmt::format("  depends_on: Build {} gcc\n", i - 1);
    lines += static_cast<std::size_t>(std::count(task.begin(), task.end(), '\n'));
    text += task;
  }
  return text;
}

void measure(const char* name, const std::string& text, int runs) {
  lang::EvaluateOptions options = lang::controller_options();
  options.environment = {{"CIRRUS_BRANCH", "main"},
                         {"CIRRUS_DEFAULT_BRANCH", "main"},
                         {"CI", "true"},
                         {"CIRRUS_REPO_FULL_NAME", "example/project"}};
  options.affected_files = {"README.md", "src/a.c"};
  const lang::MemorySourceTree files;
  std::vector<double> times;
  std::size_t tasks = 0;
  for (int i = 0; i < runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const lang::Outcome outcome = lang::evaluate(text, files, options);
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
    tasks = outcome.evaluation.tasks.size();
    if (outcome.error) fmt::print(stderr, "{}: {}\n", name, lang::render(*outcome.error));
  }
  std::sort(times.begin(), times.end());
  fmt::print(stderr, "{}: {} lines, {} tasks, best {:.3f} ms\n", name,
             std::count(text.begin(), text.end(), '\n'), tasks, times.front());
  fmt::print("{{\"name\":\"{}\",\"value\":{:.3f},\"unit\":\"ms\",\"n\":{}}}\n", name,
             times[times.size() / 2], runs);
}

}  // namespace
}  // namespace cirrus

int main(int argc, char** argv) {
  const bool full = argc > 1 && std::strcmp(argv[1], "--full") == 0;
  const int runs = full ? 2'000 : 200;
  cirrus::measure("lang_largest_public", cirrus::largest_configuration(), runs);
  cirrus::measure("lang_1200_lines", cirrus::long_configuration(), runs);
}
