// SPDX-License-Identifier: MIT
// What every call to a server needs. For this folder's own files.
#pragma once

#include <charconv>
#include <functional>
#include <map>
#include <string>

#include <grpcpp/client_context.h>

#include "rpc/task_service.h"

namespace cirrus::rpc {

inline std::chrono::system_clock::time_point to_deadline(Monotonic deadline) {
  const auto left = deadline - system_clock().now();
  return system_clock().wall() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(left);
}

inline std::string first_value(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata,
                               const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

// One call's context: cancelled on stop, bounded by the deadline.
struct Call {
  grpc::ClientContext context;
  StopCallback<std::function<void()>> on_stop;

  Call(const StopToken& stop, Monotonic deadline)
      : on_stop(stop, std::function<void()>([this] { context.TryCancel(); })) {
    context.set_deadline(to_deadline(deadline));
  }
  Call(const StopToken& stop, std::nullptr_t)
      : on_stop(stop, std::function<void()>([this] { context.TryCancel(); })) {}

  Features server_features() const {
    return Features::parse(first_value(context.GetServerInitialMetadata(), kFeatures));
  }
};

inline void add_task(grpc::ClientContext& context, const TaskCredential& task) {
  context.AddMetadata(kTaskId, task.task_id);
  context.AddMetadata(kClientSecret, task.client_secret.reveal());
}

// The deprecated message, filled only for decimal ids. Source: protocol, rule 2.
inline pb::TaskIdentification identification(const TaskCredential& task) {
  pb::TaskIdentification message;
  std::int64_t number = 0;
  const char* end = task.task_id.data() + task.task_id.size();
  const auto parsed = std::from_chars(task.task_id.data(), end, number);
  if (parsed.ec == std::errc() && parsed.ptr == end) {
    message.set_task_id(number);
    message.set_secret(task.client_secret.reveal());
  }
  return message;
}

}  // namespace cirrus::rpc
