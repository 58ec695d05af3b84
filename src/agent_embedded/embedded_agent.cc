// SPDX-License-Identifier: MIT
#include "agent_embedded/embedded_agent.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <zstd.h>

#include "base/ids.h"
#include "embedded_agent_data.h"
#include "os/fd.h"
#include "os/files.h"

// The bytes go into the read-only data of this object; the linker resolves the two names.
asm(".section .rodata\n"
    ".balign 16\n"
    ".global cirrus_embedded_agent_begin\n"
    ".global cirrus_embedded_agent_end\n"
    "cirrus_embedded_agent_begin:\n"
    ".incbin \"" CIRRUS_EMBEDDED_AGENT_FILE
    "\"\n"
    "cirrus_embedded_agent_end:\n"
    ".byte 0\n"
    ".text\n");
extern "C" {
extern const char cirrus_embedded_agent_begin[];
extern const char cirrus_embedded_agent_end[];
}

namespace cirrus {
namespace {

Status unpack_to(int fd) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          &ZSTD_freeDStream);
  const std::string_view packed = embedded_agent_zstd();
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::vector<char> buffer(ZSTD_DStreamOutSize());
  std::size_t left = 1;
  while (left != 0) {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    left = ZSTD_decompressStream(stream.get(), &out, &in);
    if (ZSTD_isError(left) != 0 || (out.pos == 0 && in.pos == in.size && left != 0)) {
      return error(Code::Internal, "the agent inside this program is damaged");
    }
    CIRRUS_TRY(os::write_all(fd, {buffer.data(), out.pos}));
  }
  return {};
}

/// Gives back the memory that reading the packed bytes took: they come again from the program's
/// file.
void forget_packed() {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(cirrus_embedded_agent_begin);
  const auto end = reinterpret_cast<std::uintptr_t>(cirrus_embedded_agent_end);
  // Whole pages of it; neighbours are others'. A refusal costs memory only.
  const std::uintptr_t first = (begin + page - 1) / page * page;
  const std::uintptr_t last = end / page * page;
  if (first < last) (void)::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

bool is_whole(const std::filesystem::path& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) &&
         facts.st_size == CIRRUS_EMBEDDED_AGENT_SIZE && (facts.st_mode & S_IXUSR) != 0;
}

}  // namespace

std::string_view embedded_agent_zstd() {
  return {cirrus_embedded_agent_begin,
          static_cast<std::size_t>(cirrus_embedded_agent_end - cirrus_embedded_agent_begin)};
}

std::string_view embedded_agent_sha256() {
  return CIRRUS_EMBEDDED_AGENT_SHA256;
}

Result<std::filesystem::path> unpack_embedded_agent(const std::filesystem::path& dir) {
  const std::string name = "cirrus-agent-" + std::string(embedded_agent_sha256().substr(0, 16));
  const std::filesystem::path path = dir / name;
  if (is_whole(path)) return path;
  CIRRUS_TRY(os::make_directories(dir, 0755).note("making a place for the agent"));
  const std::filesystem::path temporary = dir / ("." + name + "." + random_hex(8));
  Status written;
  {
    const os::Fd file = CIRRUS_TRY(
        os::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0755).note("unpacking the agent"));
    written = unpack_to(file.get());
    forget_packed();
    // Whatever the umask says: a task of another user must be able to run it.
    if (written.ok() && ::fchmod(file.get(), 0755) != 0) {
      written = errno_error(errno, "cannot make '{}' executable", temporary.string());
    }
  }
  if (written.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = errno_error(errno, "cannot rename '{}'", temporary.string());
  }
  if (!written.ok()) {
    (void)::unlink(temporary.c_str());
    return std::move(written).error();
  }
  return path;
}

}  // namespace cirrus
