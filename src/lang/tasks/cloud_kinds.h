// SPDX-License-Identifier: MIT
// Messages of the instance kinds the hosted service had beside its own.
#pragma once

#include <map>
#include <memory>
#include <string>

namespace google::protobuf {
class DescriptorPool;
}

namespace cirrus::lang {

/// Field name to message name of every known kind.
const std::map<std::string, std::string>& cloud_kind_messages();

/// The generated messages of this program plus those of the cloud kinds. Built once.
const std::shared_ptr<const google::protobuf::DescriptorPool>& known_messages();

}  // namespace cirrus::lang
