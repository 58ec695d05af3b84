// SPDX-License-Identifier: MIT
// What the two ends of a connection tell each other beside the messages: features, metadata names.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace cirrus::rpc {

// Metadata keys of the reference. Source: protocol, identity and metadata.
inline constexpr char kRegistrationToken[] = "registration-token";
inline constexpr char kSessionToken[] = "session-token";
inline constexpr char kWorkerName[] = "worker-name";
inline constexpr char kTaskId[] = "org.cirruslabs.task-id";
inline constexpr char kClientSecret[] = "org.cirruslabs.client-secret";
inline constexpr char kApiEndpoint[] = "org.cirruslabs.api-endpoint";
// Ours; a peer that does not know them ignores them.
inline constexpr char kFeatures[] = "cirrus-features";
inline constexpr char kInstance[] = "cirrus-instance";
inline constexpr char kPollNumber[] = "cirrus-poll-number";
inline constexpr char kDraining[] = "cirrus-draining";
inline constexpr char kLeaving[] = "cirrus-leaving";
inline constexpr char kLogOffset[] = "cirrus-log-offset";
inline constexpr char kLogStored[] = "cirrus-log-stored";
inline constexpr char kLogSynced[] = "cirrus-log-synced";
inline constexpr char kLogAfter[] = "cirrus-log-after-bin";

/// What a peer can do beyond the reference: a set of names, `hold,commands,...` on the wire.
/// Absent metadata is the empty set: a reference peer.
class Features {
 public:
  Features() = default;
  static Features parse(std::string_view text);
  /// Everything this program can do.
  static Features ours();

  std::string to_string() const;
  bool has(std::string_view name) const { return names_.contains(name); }
  bool hold() const { return has("hold"); }
  bool commands() const { return has("commands"); }
  bool log_offsets() const { return has("log-offsets"); }
  bool instance() const { return has("instance"); }

 private:
  std::set<std::string, std::less<>> names_;
};

}  // namespace cirrus::rpc
