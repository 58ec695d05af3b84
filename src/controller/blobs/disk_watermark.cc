// SPDX-License-Identifier: MIT
#include "controller/blobs/disk_watermark.h"

#include "base/log.h"

namespace cirrus::controller::blobs {

namespace {
constexpr std::uint64_t kMebibyte = 1U << 20U;
}  // namespace

std::optional<std::uint64_t> DiskWatermark::free_bytes() const {
  const Result<std::uint64_t> free = free_bytes_();
  return free.ok() ? std::optional(free.value()) : std::nullopt;
}

std::optional<std::uint64_t> DiskWatermark::too_little() const {
  const std::uint64_t free = free_bytes().value_or(least_free_);
  return free < least_free_ ? std::optional(free) : std::nullopt;
}

std::optional<std::string> DiskWatermark::notice() const {
  if (!too_little()) return std::nullopt;
  return fmt::format(
      "the controller's disk is nearly full: caches and artifacts are refused until {} MB are free "
      "(--uploads-least-free); logs and results are still taken",
      least_free_ / kMebibyte);
}

std::optional<std::string> DiskWatermark::refusal() const {
  const std::optional<std::uint64_t> free = too_little();
  if (!free) return std::nullopt;
  return fmt::format(
      "the controller's disk has {} MB free and caches and artifacts need {} MB "
      "(--uploads-least-free): free space there, or keep less; logs and results are still taken",
      *free / kMebibyte, least_free_ / kMebibyte);
}

Status DiskWatermark::admit() const {
  const std::optional<std::string> why = refusal();
  if (refuses_.exchange(why.has_value()) != why.has_value()) {
    if (why) {
      log_warning("uploads are refused", {{"why", *why}});
    } else {
      log_info("uploads are taken again");
    }
  }
  if (!why) return {};
  ++refused_;
  return error(Code::ResourceExhausted, "{}", *why);
}

Status DiskWatermark::admit_growth(std::uint64_t before, std::uint64_t after) const {
  if (before / kLook == after / kLook) return {};
  return admit();
}

}  // namespace cirrus::controller::blobs
