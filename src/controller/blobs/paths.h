// SPDX-License-Identifier: MIT
// The controller's data directory on disk.
//
//   <data>/
//     controller.lock           held while a controller runs
//     controller.db             rows (../store), with its -wal and -shm
//     admin-token               0600, API token made at first start
//     master-key                0600, seals secrets; what it sealed is lost without it
//     registration-token        0600, of the pool `default`, made at first start
//     logs/<task id>/<step>     one file per step; step names encoded
//     logs/<task id>/%shell-<n> what a recorded shell showed
//     caches/<owner>/<name>/    one file per cache of a repository; names are hashes of keys
//     artifacts/<task id>/<artifact>/  its list and its files
//     reports/<task id>/        annotations, warnings and figures
//     git/<owner>/<name>.git/   bare repositories
//     tmp/                      spooled requests; emptied at start
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "model/entity_ids.h"
#include "model/safe_name.h"

namespace cirrus::controller::blobs {

/// A step name as one path component: letters, digits, `-`, `_` and inner `.` stay, every other
/// byte becomes `%XX`; what would exceed 200 bytes is cut and ends in `%` and its SHA-256. Two
/// different names never give the same component.
std::string encode_component(std::string_view name);

/// The file that stands in a task's folder for what retention removed; never an encoded name,
/// because `%x` begins no escape.
inline constexpr const char* kExpiredMarker = "%xpired";
/// What the files of recorded shells begin with, in the folder of a task's logs; no encoded name
/// either.
inline constexpr const char* kShellRecordPrefix = "%shell-";

/// Builds every path below the data directory.
class Paths {
 public:
  explicit Paths(std::filesystem::path data) : data_(std::move(data)) {}

  const std::filesystem::path& data() const { return data_; }
  std::filesystem::path lock() const { return data_ / "controller.lock"; }
  std::filesystem::path database() const { return data_ / "controller.db"; }
  std::filesystem::path admin_token() const { return data_ / "admin-token"; }
  std::filesystem::path registration_token() const { return data_ / "registration-token"; }
  std::filesystem::path master_key() const { return data_ / "master-key"; }
  std::filesystem::path temporary() const { return data_ / "tmp"; }
  std::filesystem::path logs() const { return data_ / "logs"; }
  std::filesystem::path logs_of(model::TaskId task) const { return logs() / task.to_string(); }
  std::filesystem::path log(model::TaskId task, std::string_view step) const {
    return logs_of(task) / encode_component(step);
  }
  std::filesystem::path shell_record(model::TaskId task, int number) const {
    return logs_of(task) / (kShellRecordPrefix + std::to_string(number));
  }
  std::filesystem::path caches() const { return data_ / "caches"; }
  std::filesystem::path artifacts() const { return data_ / "artifacts"; }
  std::filesystem::path artifacts_of(model::TaskId task) const {
    return artifacts() / task.to_string();
  }
  std::filesystem::path reports() const { return data_ / "reports"; }
  std::filesystem::path reports_of(model::TaskId task) const {
    return reports() / task.to_string();
  }
  std::filesystem::path repositories() const { return data_ / "git"; }
  std::filesystem::path repository(const model::RepositoryName& name) const {
    return repositories() / name.owner() / (name.name() + ".git");
  }

 private:
  std::filesystem::path data_;  // constant after construction
};

}  // namespace cirrus::controller::blobs
