// SPDX-License-Identifier: MIT
#include "cli/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/log.h"
#include "os/fd.h"
#include "os/files.h"

namespace cirrus::cli {

namespace {

// `2026-06-01T12:34:56.789Z` as a file name's part.
std::string stamp() {
  std::string text = to_rfc3339(system_clock().wall());
  std::replace(text.begin(), text.end(), ':', '-');
  text.pop_back();
  return text;
}

bool is_stamp(std::string_view text) {
  static constexpr std::string_view kShape = "dddd-dd-ddTdd-dd-dd.ddd";
  if (text.size() != kShape.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return false;
  }
  return true;
}

class LogFile {
 public:
  explicit LogFile(worker::LogSettings settings)
      : settings_(std::move(settings)), path_(settings_.file) {}

  Status open() {
    if (path_.has_parent_path()) CIRRUS_TRY(os::make_directories(path_.parent_path(), 0755));
    fd_ = CIRRUS_TRY(os::open_file(path_, O_WRONLY | O_CREAT | O_APPEND, mode_));
    struct stat info {};
    if (::fstat(fd_.get(), &info) != 0) return errno_error(errno, "cannot read the log's size");
    size_ = static_cast<std::uint64_t>(info.st_size);
    mode_ = info.st_mode & 0777U;
    if (settings_.rotate_size != 0 && size_ >= settings_.rotate_size) rotate();
    prune();
    return {};
  }

  void write(std::string_view line) {
    const std::string text = std::string(line) + "\n";
    if (settings_.rotate_size != 0 && size_ != 0 && size_ + text.size() > settings_.rotate_size) {
      rotate();
      prune();
    }
    // A line longer than the limit is written all the same.
    if (os::write_all(fd_.get(), text).ok()) size_ += text.size();
  }

 private:
  void rotate() {
    const std::filesystem::path rotated =
        path_.parent_path() / (path_.stem().string() + "-" + stamp() + path_.extension().string());
    std::error_code ignored;
    std::filesystem::rename(path_, rotated, ignored);
    Result<os::Fd> fresh = os::open_file(path_, O_WRONLY | O_CREAT | O_APPEND, mode_);
    if (!fresh.ok()) return;  // goes on in the renamed file
    fd_ = std::move(fresh).value();
    size_ = 0;
  }

  void prune() const {
    if (settings_.max_rotations == 0) return;
    const std::string prefix = path_.stem().string() + "-";
    const std::string suffix = path_.extension().string();
    std::vector<std::filesystem::path> rotated;
    std::error_code failure;
    const std::filesystem::path directory = path_.has_parent_path() ? path_.parent_path() : ".";
    for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
      if (name.size() < prefix.size() + suffix.size()) continue;
      if (is_stamp(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()))) {
        rotated.push_back(entry.path());
      }
    }
    std::sort(rotated.begin(), rotated.end());
    for (std::size_t i = 0; i + settings_.max_rotations < rotated.size(); ++i) {
      std::filesystem::remove(rotated[i], failure);
    }
  }

  const worker::LogSettings settings_;
  const std::filesystem::path path_;
  os::Fd fd_;
  std::uint64_t size_ = 0;
  unsigned mode_ = 0600;
};

}  // namespace

Status open_log(const worker::LogSettings& settings) {
  set_log_level(settings.level);
  if (settings.file.empty()) {
    set_log_sink({});
    return {};
  }
  const auto file = std::make_shared<LogFile>(settings);
  CIRRUS_TRY(file->open().note("opening the log file '{}'", settings.file));
  set_log_sink([file](LogLevel, std::string_view line) { file->write(line); });
  return {};
}

}  // namespace cirrus::cli
