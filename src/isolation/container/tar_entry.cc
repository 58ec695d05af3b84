// SPDX-License-Identifier: MIT
#include "isolation/container/tar_entry.h"

#include <fmt/format.h>

namespace cirrus::isolation {

namespace {
constexpr std::size_t kBlock = 512;

// Source: pax(1), the ustar format; fields by their offsets.
std::string header(std::string_view name, char type, unsigned mode, std::size_t size) {
  std::string block(kBlock, '\0');
  const auto put = [&](std::size_t offset, std::string_view text) {
    block.replace(offset, text.size(), text);
  };
  put(0, name);
  put(100, fmt::format("{:07o}", mode));
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", size));
  put(136, "00000000000");
  put(148, "        ");
  put(156, std::string_view(&type, 1));
  put(257, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum));
  block[154] = '\0';
  return block;
}
}  // namespace

std::string tar_directory(std::string_view name, unsigned mode) {
  return header(std::string(name) + "/", '5', mode, 0);
}

std::string tar_file(std::string_view name, std::string_view content) {
  std::string entry = header(name, '0', 0644, content.size());
  entry += content;
  entry.resize((entry.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return entry;
}

std::string tar_end() {
  return std::string(2 * kBlock, '\0');
}

}  // namespace cirrus::isolation
