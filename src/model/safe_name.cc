// SPDX-License-Identifier: MIT
#include "model/safe_name.h"

#include <algorithm>

namespace cirrus::model {

namespace {
bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

Status check_text(std::string_view text, std::string_view what, std::size_t limit) {
  if (text.empty()) return error(Code::InvalidArgument, "the {} is empty", what);
  if (text.size() > limit)
    return error(Code::InvalidArgument, "the {} exceeds {} bytes", what, limit);
  if (std::any_of(text.begin(), text.end(), is_control)) {
    return error(Code::InvalidArgument, "the {} contains a control character", what);
  }
  return {};
}
}  // namespace

Result<SafeName> SafeName::create(std::string_view text, std::string_view what) {
  if (text.empty()) return error(Code::InvalidArgument, "the {} is empty", what);
  if (text.size() > kMaxBytes) {
    return error(Code::InvalidArgument, "the {} exceeds {} characters", what, kMaxBytes);
  }
  if (text.front() == '.' || text.front() == '-') {
    return error(Code::InvalidArgument, "the {} may not start with '{}'", what, text.front());
  }
  const auto bad = std::find_if_not(text.begin(), text.end(), is_plain);
  if (bad != text.end()) {
    return error(Code::InvalidArgument,
                 "the {} may hold letters, digits, '.', '_' and '-' only, not byte 0x{:02x}", what,
                 static_cast<unsigned>(static_cast<unsigned char>(*bad)));
  }
  return SafeName(std::string(text));
}

Result<RepositoryName> RepositoryName::create(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || text.find('/', slash + 1) != std::string_view::npos) {
    return error(Code::InvalidArgument, "a repository is named owner/name");
  }
  SafeName owner = CIRRUS_TRY(SafeName::create(text.substr(0, slash), "repository owner"));
  SafeName name = CIRRUS_TRY(SafeName::create(text.substr(slash + 1), "repository name"));
  if (name.text().size() >= 4 && name.text().ends_with(".git")) {
    return error(Code::InvalidArgument, "the repository name may not end in '.git'");
  }
  return RepositoryName(std::move(owner), std::move(name));
}

Status check_worker_name(std::string_view text) {
  return check_text(text, "worker name", 256);
}

Status check_ref_name(std::string_view text) {
  CIRRUS_TRY(check_text(text, "branch", 512));
  const bool broken = text.find("..") != text.npos || text.find("@{") != text.npos ||
                      text.find("//") != text.npos || text.starts_with('/') ||
                      text.ends_with('/') || text.ends_with('.') || text.ends_with(".lock") ||
                      text.find_first_of(" ~^:?*[\\\x7f") != text.npos;
  if (broken) {
    return error(Code::InvalidArgument, "'{:.70}' is not a name that git allows for a branch",
                 text);
  }
  return {};
}

Status check_commit(std::string_view text) {
  const bool hex = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!hex || (text.size() != 40 && text.size() != 64)) {
    return error(Code::InvalidArgument, "'{:.70}' is not a full commit id", text);
  }
  return {};
}

}  // namespace cirrus::model
