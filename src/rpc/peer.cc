// SPDX-License-Identifier: MIT
#include "rpc/peer.h"

#include "base/strings.h"

namespace cirrus::rpc {

Features Features::parse(std::string_view text) {
  Features features;
  for (const std::string& part : split(text.substr(0, 1024), ',')) {
    const std::string_view name = trim(part);
    if (!name.empty()) features.names_.emplace(name);
  }
  return features;
}

Features Features::ours() {
  return parse("hold,commands,log-offsets,instance");
}

std::string Features::to_string() const {
  return join(std::vector<std::string>(names_.begin(), names_.end()), ",");
}

}  // namespace cirrus::rpc
