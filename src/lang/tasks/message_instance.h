// SPDX-License-Identifier: MIT
// Instance kinds that are given as a table of field name to protobuf message: the YAML fields are
// the message's, read by reflection.
#pragma once

#include "lang/tasks/instances.h"

namespace google::protobuf {
class Descriptor;
class DescriptorPool;
class DynamicMessageFactory;
}  // namespace google::protobuf

namespace cirrus::lang {

/// Makes empty messages of a pool's types. One per evaluation; messages must not outlive it unless
/// they are of generated types.
class MessageMaker {
 public:
  explicit MessageMaker(std::shared_ptr<const google::protobuf::DescriptorPool> pool);
  ~MessageMaker();
  MessageMaker(const MessageMaker&) = delete;
  MessageMaker& operator=(const MessageMaker&) = delete;
  /// Null if the pool does not know the type.
  std::unique_ptr<google::protobuf::Message> make(const std::string& full_name);

 private:
  std::shared_ptr<const google::protobuf::DescriptorPool> pool_;
  std::unique_ptr<google::protobuf::DynamicMessageFactory> factory_;
};

/// Reads `node` into a message of type `full_name`; sets CIRRUS_OS and CIRRUS_ARCH by the type's
/// name or its platform and architecture fields. No defaults are applied, unknown fields ignored.
/// Errors: Located or Number at the offending field; Basic if the type is unknown.
/// Source: reference CLI, message-driven instances.
Located<Instance> parse_message_instance(Scope& scope, const Node& node,
                                         const std::string& full_name, MessageMaker& maker);

}  // namespace cirrus::lang
