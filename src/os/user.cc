// SPDX-License-Identifier: MIT
#include "os/user.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include <fmt/format.h>

namespace cirrus::os {

namespace {

constexpr std::size_t kBufferSize = 64U << 10U;

std::vector<gid_t> groups_of(const std::string& name, gid_t primary) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  if (::getgrouplist(name.c_str(), primary, groups.data(), &count) < 0) {
    groups.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(name.c_str(), primary, groups.data(), &count) < 0) return {primary};
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

User to_user(const passwd& entry) {
  User user;
  user.name = entry.pw_name;
  user.uid = entry.pw_uid;
  user.gid = entry.pw_gid;
  user.home = entry.pw_dir;
  user.shell = entry.pw_shell;
  user.groups = groups_of(user.name, user.gid);
  return user;
}

template <typename Number>
bool read_number(std::string_view text, Number& number) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return !text.empty() && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

}  // namespace

std::string User::identity() const {
  std::string text = fmt::format("{}:{}:", uid, gid);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ",", groups[i]);
  }
  return text;
}

Result<User> find_user(std::string_view name) {
  const std::string text(name);
  std::vector<char> buffer(kBufferSize);
  passwd entry = {};
  passwd* found = nullptr;
  uid_t number = 0;
  ::getpwnam_r(text.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr && read_number(text, number)) {
    ::getpwuid_r(number, &entry, buffer.data(), buffer.size(), &found);
  }
  if (found == nullptr) return error(Code::NotFound, "there is no user '{}' on this machine", name);
  return to_user(*found);
}

Result<User> current_user() {
  return find_user(std::to_string(::geteuid()));
}

Status give_to(const std::filesystem::path& path, const User& user) {
  if (::lchown(path.c_str(), user.uid, user.gid) == 0) return {};
  return errno_error(errno, "cannot give '{}' to user '{}'", path.string(), user.name);
}

}  // namespace cirrus::os
