// SPDX-License-Identifier: MIT
#include "controller/rpc/call_metadata.h"

#include <charconv>

#include "base/strings.h"

namespace cirrus::controller::rpc {

std::string header(const grpc::CallbackServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

Result<std::optional<std::uint64_t>> number_header(const grpc::CallbackServerContext& context,
                                                   const char* key) {
  const std::string text = header(context, key);
  if (text.empty()) return std::optional<std::uint64_t>();
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) {
    return error(Code::InvalidArgument, "metadata '{}' is not a number: '{:.40}'", key, text);
  }
  return std::optional(value);
}

std::string peer_address(const grpc::CallbackServerContext& context) {
  return peer_address(context.peer());
}

std::string peer_address(const std::string& peer) {
  // `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`, `unix:/path` or `unix:`.
  if (peer.starts_with("unix")) return "unix";
  const std::size_t begin = peer.find(':');
  const std::size_t end = peer.rfind(':');
  if (begin == std::string::npos || end <= begin) return peer;
  std::string address = peer.substr(begin + 1, end - begin - 1);
  if (address.starts_with("%5B")) address = "[" + address.substr(3);
  if (address.ends_with("%5D")) address = address.substr(0, address.size() - 3) + "]";
  return address;
}

core::WorkerCredential worker_credential(const grpc::CallbackServerContext& context) {
  return {header(context, "registration-token"), header(context, "session-token"),
          header(context, "worker-name"), header(context, "cirrus-instance"),
          peer_address(context)};
}

core::WorkerCredential worker_credential(const std::map<std::string, std::string>& metadata) {
  const auto value = [&metadata](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  return {value("registration-token"), value("session-token"), value("worker-name"),
          value("cirrus-instance"), peer_address(value("peer"))};
}

core::TaskCredential task_credential(const grpc::CallbackServerContext& context) {
  return {header(context, "org.cirruslabs.task-id"),
          header(context, "org.cirruslabs.client-secret")};
}

core::WorkerFeatures worker_features(const grpc::CallbackServerContext& context) {
  core::WorkerFeatures features;
  for (const std::string& part : split(header(context, "cirrus-features"), ',')) {
    const std::string_view name = trim(part);
    if (name == "hold") features.hold = true;
    if (name == "commands") features.commands = true;
  }
  return features;
}

void announce_features(grpc::CallbackServerContext& context) {
  context.AddInitialMetadata("cirrus-features", "hold,commands,log-offsets,instance,shells");
}

grpc::Status to_status(const Error& failure) {
  return {static_cast<grpc::StatusCode>(failure.code()), failure.to_string()};
}

Error disk_failure(Error failure) {
  if (failure.code() != Code::PermissionDenied && failure.code() != Code::Internal) return failure;
  return error(Code::Unavailable, "the controller cannot use its disk ({})", failure.to_string());
}

grpc::Status shutting_down() {
  return {grpc::StatusCode::UNAVAILABLE, "the controller is shutting down"};
}

}  // namespace cirrus::controller::rpc
