// SPDX-License-Identifier: MIT
#include "os/identity.h"

#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <vector>

#include <fmt/format.h>

namespace cirrus::os {

namespace {

template <typename Number>
bool read_number(std::string_view text, Number& number) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return !text.empty() && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

}  // namespace

Status become(std::string_view identity) {
  const auto malformed = [&] {
    return error(Code::InvalidArgument, "'{}' is no identity: uid:gid:group[,group...]", identity);
  };
  const std::size_t first = identity.find(':');
  const std::size_t second =
      first == std::string_view::npos ? first : identity.find(':', first + 1);
  if (second == std::string_view::npos) return malformed();
  uid_t uid = 0;
  gid_t gid = 0;
  if (!read_number(identity.substr(0, first), uid) ||
      !read_number(identity.substr(first + 1, second - first - 1), gid)) {
    return malformed();
  }
  std::vector<gid_t> groups;
  std::string_view rest = identity.substr(second + 1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    gid_t group = 0;
    if (!read_number(rest.substr(0, comma), group)) return malformed();
    groups.push_back(group);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (::setgroups(groups.size(), groups.data()) != 0) return errno_error(errno, "setgroups");
  if (::setgid(gid) != 0) return errno_error(errno, "setgid {}", gid);
  if (::setuid(uid) != 0) return errno_error(errno, "setuid {}", uid);
  // A process that could go back has not become anybody.
  if (uid != 0 && (::setuid(0) == 0 || ::geteuid() != uid || ::getegid() != gid)) {
    return error(Code::Internal, "the process kept its old privileges");
  }
  return {};
}

}  // namespace cirrus::os
