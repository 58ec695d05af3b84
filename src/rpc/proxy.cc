// SPDX-License-Identifier: MIT
#include "rpc/proxy.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstdint>
#include <optional>

#include "base/strings.h"

namespace cirrus::rpc {

namespace {

std::optional<std::uint32_t> ipv4_of(std::string_view text) {
  in_addr address = {};
  if (::inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

// `10.0.0.0/8` holds `host`.
bool in_network(std::string_view network, std::string_view host) {
  const std::size_t slash = network.find('/');
  if (slash == std::string_view::npos) return false;
  const auto base = ipv4_of(network.substr(0, slash));
  const auto address = ipv4_of(host);
  const std::string_view text = network.substr(slash + 1);
  unsigned bits = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), bits);
  if (!base || !address || parsed.ec != std::errc() || bits > 32) return false;
  if (bits == 0) return true;
  return (*base >> (32 - bits)) == (*address >> (32 - bits));
}

bool exempt(std::string_view rule, std::string_view host, std::string_view port) {
  if (rule == "*") return true;
  if (in_network(rule, host)) return true;
  const std::size_t colon = rule.rfind(':');
  if (colon != std::string_view::npos && rule.find(':') == colon) {
    if (rule.substr(colon + 1) != port) return false;
    rule = rule.substr(0, colon);
  }
  if (rule.empty()) return false;
  if (rule.starts_with("*.")) rule.remove_prefix(1);
  if (rule.starts_with('.')) return host.ends_with(rule);
  if (host == rule) return true;
  // `example.org` also stands for its subdomains.
  return host.size() > rule.size() && host.ends_with(rule) &&
         host[host.size() - rule.size() - 1] == '.' && !ipv4_of(rule);
}

}  // namespace

std::string proxy_for(const Endpoint& endpoint,
                      const std::map<std::string, std::string, std::less<>>& environment) {
  if (endpoint.target.starts_with("unix:")) return {};
  const auto variable = [&](const char* upper, const char* lower) -> std::string {
    for (const char* name : {upper, lower}) {
      const auto found = environment.find(name);
      if (found != environment.end() && !found->second.empty()) return found->second;
    }
    return {};
  };
  std::string proxy = variable("HTTPS_PROXY", "https_proxy");
  if (proxy.empty()) return {};
  const std::size_t colon = endpoint.target.rfind(':');
  std::string host = to_lower(endpoint.target.substr(0, colon));
  const std::string port =
      colon == std::string::npos ? std::string() : endpoint.target.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  if (host == "localhost" || host == "::1" || in_network("127.0.0.0/8", host)) return {};
  const std::string rules = to_lower(variable("NO_PROXY", "no_proxy"));
  std::string_view rest = rules;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (exempt(trim(rest.substr(0, comma)), host, port)) return {};
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return proxy.find("://") == std::string::npos ? "http://" + proxy : proxy;
}

}  // namespace cirrus::rpc
