// SPDX-License-Identifier: MIT
// An agent's one connection to its gateway.
#pragma once

#include <memory>
#include <string>

namespace grpc {
class Channel;
}

namespace cirrus::rpc {

/// The channel that all calls of an agent share for its whole life. In a VM there is one byte
/// stream to the worker and no more, so two channels would end each other's connections for ever.
/// Opens nothing before the first call, and connects again by itself when a call is due. Proxies
/// are never used. `socket_path`: the gateway's unix socket.
std::shared_ptr<grpc::Channel> make_gateway_channel(const std::string& socket_path);

}  // namespace cirrus::rpc
