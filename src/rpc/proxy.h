// SPDX-License-Identifier: MIT
// Which proxy leads to an endpoint, by the usual variables.
#pragma once

#include <map>
#include <string>

#include "rpc/endpoint.h"

namespace cirrus::rpc {

/// The proxy's URL (`http://user:password@host:port`), or empty for a direct connection.
/// HTTPS_PROXY, whatever the endpoint's scheme, because every call goes through CONNECT, in upper
/// or lower case; NO_PROXY is a list of names, `.suffixes`, `*`, addresses and `a.b.c.d/n`
/// networks. Loopback addresses, `localhost` and unix sockets never go through a proxy. Source: the
/// reference's RPC library.
std::string proxy_for(const Endpoint& endpoint,
                      const std::map<std::string, std::string, std::less<>>& environment);

}  // namespace cirrus::rpc
