// SPDX-License-Identifier: MIT
// Settings: what a worker's owner configured, from flags and the YAML file.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/secret.h"
#include "worker/container_settings.h"
#include "worker/security_policy.h"
#include "worker/vm_settings.h"

namespace cirrus::worker {

/// PEM files; empty: the system's authorities, no client certificate.
struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;

  friend bool operator==(const TlsFiles&, const TlsFiles&) = default;
};

struct UpstreamSettings {
  Secret token;
  std::string endpoint;
  TlsFiles tls;
};

struct LogSettings {
  LogLevel level = LogLevel::Info;
  /// Empty: standard error.
  std::string file;
  /// Bytes; 0: never rotate.
  std::uint64_t rotate_size = 0;
  /// 0: keep all.
  std::uint64_t max_rotations = 0;
};

/// When the worker stops by itself. Ours: the reference has no such options.
struct LifeSettings {
  /// Tasks it takes before it drains and ends; 0: no limit, 1: `--ephemeral`.
  std::uint64_t max_tasks = 0;
  /// It ends when no task ran for this long.
  std::optional<std::chrono::milliseconds> exit_after_idle;
  /// A drain that takes longer cancels what still runs.
  std::optional<std::chrono::milliseconds> drain_timeout;
};

struct Settings {
  std::string name;
  std::vector<UpstreamSettings> upstreams;
  /// The owner's labels; the reserved ones are added when they are sent.
  std::map<std::string, std::string> labels;
  std::map<std::string, double> resources;
  LogSettings log;
  SecurityPolicy security;
  /// Sentences the owner should see at start.
  std::vector<std::string> warnings;
  /// Between a stop order and the end of every process of the task.
  /// Ours: long enough for `always` steps; the reference kills after 3 s.
  std::chrono::milliseconds cancel_grace{30'000};
  LifeSettings life;
  /// The user that tasks of isolation `none` run as; empty: the worker's own. Needs root.
  std::string task_user;
  /// Bytes that must be free below the state directory, else no task is taken; 0: no check.
  std::uint64_t min_free_space = 0;
  /// Absent: tasks inherit the worker's environment less what is the worker's own
  /// (Source: reference worker). Present: only these names.
  std::optional<std::vector<std::string>> inherited_variables;
  /// Whether tasks clone through mirrors that the worker keeps below its data directory. Ours.
  bool git_mirror = true;
  /// Not in the file: off where every mirror would be used once (`cirrus run`). Tasks without
  /// isolation then fetch by themselves.
  bool git_mirror_without_isolation = true;
  /// PEM files to trust for repositories below these URLs; not in the file, `standalone` sets them.
  std::map<std::string, std::string> git_authorities;
  /// `host:port` for /metrics and /healthz; empty: none.
  std::string metrics_address;
  /// Tasks get spans, for `Worker::take_spans`. The environment's word, not the file's.
  bool traces = false;
  /// Empty: `--data-dir` or the default.
  std::string data_directory;
  VmSettings vm;
  ContainerSettings container;
  /// The file as it is written, by key such as `security.max-timeout`, without tokens.
  std::map<std::string, std::string> written;
};

/// What flags (and the environment below them) say; absent members were not given.
struct Flags {
  std::optional<std::string> name;
  std::optional<Secret> token;
  std::optional<std::string> endpoint;
  std::map<std::string, std::string> labels;
  std::map<std::string, double> resources;
  LifeSettings life;
  std::optional<std::string> metrics_address;
};

/// Reads `k=v[,k=v…]` with CSV quoting. Errors: InvalidArgument naming the pair.
Result<std::map<std::string, std::string>> parse_labels(const std::vector<std::string>& flags);
/// Reads `k=number[,…]`. Errors: InvalidArgument; NaN, infinite and negative amounts are refused.
Result<std::map<std::string, double>> parse_resources(const std::vector<std::string>& flags);
/// `640 KB`, `100 MiB`, `1.5G`, `1,000`: bytes. Source: reference worker, logging.
Result<std::uint64_t> parse_size(std::string_view text);

/// Lays the YAML text (empty: no file) over the flags and checks the whole. `file` names it in
/// errors, `default_name` is used when nobody named the worker.
/// Errors: InvalidArgument: one sentence with `file:line:column` where the file is wrong.
Result<Settings> make_settings(const Flags& flags, std::string_view yaml, const std::string& file,
                               const std::string& default_name);

/// The host name without `.lan` and then `.local` at its end. Source: reference worker, --name.
std::string name_from_host(std::string host);

}  // namespace cirrus::worker
