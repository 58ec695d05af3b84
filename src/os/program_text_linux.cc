// SPDX-License-Identifier: MIT
// Linux only: /proc/self/maps. A Darwin twin walks mach_vm_region and uses the same madvise; one
// that does nothing is right too, for its kernel takes clean pages away by itself.
#include <sys/mman.h>

#include <charconv>
#include <cstdint>

#include "base/strings.h"
#include "os/files.h"
#include "os/program_text.h"

namespace cirrus::os {

namespace {

/// The hexadecimal number that `text` begins with, which it loses.
std::uintptr_t take_address(std::string_view& text) {
  std::uintptr_t address = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), address, 16).ptr;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return address;
}

}  // namespace

std::size_t give_back_program_text() {
  const Result<std::string> maps = read_file("/proc/self/maps");
  if (!maps.ok()) return 0;
  std::size_t sum = 0;
  for (const std::string& line : split(maps.value(), '\n')) {
    // "begin-end r-xp …  path". Only what nobody may write: such pages are as in their file, while
    // read-only data may have been relocated.
    if (line.find(" r-xp ") == std::string::npos || line.find('/') == std::string::npos) continue;
    std::string_view rest = line;
    const std::uintptr_t begin = take_address(rest);
    rest.remove_prefix(1);
    const std::uintptr_t end = take_address(rest);
    if (begin == 0 || end <= begin) continue;
    if (::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED) == 0) {
      sum += end - begin;
    }
  }
  return sum;
}

}  // namespace cirrus::os
