// SPDX-License-Identifier: MIT
// save, restore: megabytes a second of a cache of many files, from the step's start to its end (the
// upload is durable, the files are there). Beside it plain tar with gzip and with zstd on the same
// files in the same run: ratio_gzip and ratio_zstd are their time to pack over our time to save.
#include <cstring>
#include <fstream>

#include "base/clock.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

/// Text like source code: words from a small vocabulary, so that it packs as sources do.
class Words {
 public:
  std::string text(std::size_t bytes) {
    static constexpr const char* kWords[] = {
        "return ", "const ", "std::string ", "if (",  ") {\n", "}\n",    "value", "size",
        " = ",     "0;\n",   "for (",        "auto ", "index", "result", "->",    "begin()"};
    std::string text;
    while (text.size() < bytes) {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      text += kWords[state_ >> 60U];
      // Names and numbers that occur once, as in objects and debug information.
      if ((state_ >> 40U) % 4 == 0) text += std::to_string(state_ >> 30U);
    }
    text.resize(bytes);
    return text;
  }

 private:
  std::uint64_t state_ = 42;
};

void make_tree(const std::filesystem::path& root, std::size_t files, std::size_t bytes) {
  Words words;
  const std::size_t each = bytes / files;
  for (std::size_t i = 0; i < files; ++i) {
    const std::filesystem::path directory = root / std::to_string(i % 100) / std::to_string(i % 7);
    std::filesystem::create_directories(directory);
    // Small ones and large ones, with the given mean.
    std::ofstream(directory / std::to_string(i)) << words.text(each / 4 + (i % 7) * each / 4);
  }
}

std::string config(const std::string& tree, const std::string& key) {
  return "task:\n  name: t\n  persistent_worker:\n    isolation:\n      none: {}\n"
         "  tree_cache:\n    folder: tree\n    fingerprint_key: " +
         key + "\n    populate_script: cp -r " + tree + " tree\n  script: 'true'\n";
}

int run(bool full) {
  const Result<Stack> stack = Stack::start("slot=4");
  if (!stack.ok()) return give_up(stack.error());
  const std::size_t files = full ? 30'000 : 9'000;
  const std::size_t bytes = files * 16'667;
  const std::filesystem::path tree = stack.value().scratch() / "tree";
  make_tree(tree, files, bytes);
  const double size = static_cast<double>(bytes) / 1e6;
  std::vector<double> save;
  std::vector<double> restore;
  std::vector<double> gzip;
  std::vector<double> zstd;
  const std::string root = stack.value().scratch().string();
  for (int round = 0; round < 2; ++round) {
    const std::string key = "k" + std::to_string(round);
    const auto first = stack.value().run_task(config(tree.string(), key));
    if (!first.ok()) return give_up(first.error());
    save.push_back(step_seconds(first.value(), "Upload 'tree' cache"));
    const auto second = stack.value().run_task(config(tree.string(), key));
    if (!second.ok()) return give_up(second.error());
    restore.push_back(step_seconds(second.value(), "tree"));
    const Result<double> by_gzip =
        time_shell("tar -C " + root + " -cf - tree | gzip -6 > " + root + "/t.gz");
    const Result<double> by_zstd = time_shell("tar -C " + root + " -cf - tree | zstd -q -3 -T0 > " +
                                              root + "/t.zst; rm " + root + "/t.zst");
    if (!by_gzip.ok()) return give_up(by_gzip.error());
    if (!by_zstd.ok()) return give_up(by_zstd.error());
    gzip.push_back(by_gzip.value());
    zstd.push_back(by_zstd.value());
  }
  const Result<double> unpack =
      time_shell("mkdir " + root + "/u; tar -C " + root + "/u -xzf " + root + "/t.gz");
  if (!unpack.ok()) return give_up(unpack.error());
  const auto best = [](const std::vector<double>& all) {
    return *std::min_element(all.begin(), all.end());
  };
  print_figure("save", size / best(save), "MB/s", files);
  print_figure("restore", size / best(restore), "MB/s", files);
  print_figure("ratio_gzip", best(gzip) / best(save), "x", save.size());
  print_figure("ratio_zstd", best(zstd) / best(save), "x", save.size());
  print_figure("ratio_restore_gzip", unpack.value() / best(restore), "x", restore.size());
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  return cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
}
