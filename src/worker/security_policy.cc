// SPDX-License-Identifier: MIT
#include "worker/security_policy.h"

#include <filesystem>

#include "worker/settings_reader.h"

namespace cirrus::worker {

bool matches_wildcard(std::string_view pattern, std::string_view text) {
  // Greedy with one point to come back to: linear in practice, never exponential.
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

namespace {

Result<TartPolicy> read_tart(const yaml::Node& node, const std::string& file) {
  TartPolicy policy;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "tart"));
  policy.allowed_images = CIRRUS_TRY(take_list(map, "allowed-images", file));
  policy.softnet_allow = CIRRUS_TRY(take_list(map, "softnet-allow", file));
  policy.force_softnet = CIRRUS_TRY(take_bool(map, "force-softnet", false, file));
  if (const yaml::Node* volumes = map.take("allowed-volumes"); volumes && !volumes->is_null()) {
    if (!volumes->is_list()) return at(file, volumes->mark, "allowed-volumes must be a list");
    for (const yaml::Node* item : volumes->resolved().items) {
      yaml::StrictMap rule = CIRRUS_TRY(open_map(*item, file, "allowed-volumes"));
      VolumeRule volume;
      volume.source = CIRRUS_TRY(take_text(rule, "source", {}, file));
      volume.force_readonly = CIRRUS_TRY(take_bool(rule, "force-readonly", false, file));
      CIRRUS_TRY(close_map(rule, file));
      policy.allowed_volumes.push_back(std::move(volume));
    }
  }
  CIRRUS_TRY(close_map(map, file));
  return policy;
}

Result<VetuPolicy> read_vetu(const yaml::Node& node, const std::string& file) {
  VetuPolicy policy;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "vetu"));
  policy.allowed_images = CIRRUS_TRY(take_list(map, "allowed-images", file));
  CIRRUS_TRY(close_map(map, file));
  return policy;
}

// Whether the kind is allowed at all: its key is there and has a map.
Result<bool> read_empty(yaml::StrictMap& map, const char* kind, const std::string& file) {
  const yaml::Node* node = map.take(kind);
  if (node == nullptr || node->is_null()) return false;
  const yaml::StrictMap inner = CIRRUS_TRY(open_map(*node, file, kind));
  CIRRUS_TRY(close_map(inner, file));
  return true;
}

Status denied(const char* kind) {
  return error(Code::PermissionDenied,
               "isolation '{}' is not allowed by this Persistent Worker's security settings", kind);
}

Status check_image(const std::vector<std::string>& allowed, const std::string& image,
                   const char* kind) {
  if (allowed.empty()) return {};
  for (const std::string& pattern : allowed) {
    if (matches_wildcard(pattern, image)) return {};
  }
  return error(Code::PermissionDenied,
               "{} image '{}' is not allowed by this Persistent Worker's security settings", kind,
               image);
}

Status check_volume(const TartPolicy& policy, const std::string& source, bool read_only) {
  // `/a/../b` is `/b`, and a slash at the end stays. Source: reference worker, volumes.
  std::string clean = std::filesystem::path(source).lexically_normal().string();
  if (source.ends_with('/') && !clean.ends_with('/')) clean += '/';
  if (!source.ends_with('/') && clean.size() > 1 && clean.ends_with('/')) clean.pop_back();
  for (const VolumeRule& rule : policy.allowed_volumes) {
    if (!matches_wildcard(rule.source, clean)) continue;
    if (rule.force_readonly && !read_only) {
      return error(Code::PermissionDenied,
                   "volume '{}' must be read-only by this Persistent Worker's security settings",
                   source);
    }
    return {};
  }
  return error(Code::PermissionDenied,
               "volume '{}' is not allowed by this Persistent Worker's security settings", source);
}

}  // namespace

Result<SecurityPolicy> SecurityPolicy::read(const yaml::Node& node, const std::string& file) {
  SecurityPolicy policy;
  if (node.is_null()) return policy;
  yaml::StrictMap security = CIRRUS_TRY(open_map(node, file, "security"));
  const yaml::Node* allowed = security.take("allowed-isolations");
  CIRRUS_TRY(close_map(security, file));
  if (allowed == nullptr || allowed->is_null()) return policy;
  yaml::StrictMap map = CIRRUS_TRY(open_map(*allowed, file, "allowed-isolations"));
  policy.none_ = CIRRUS_TRY(read_empty(map, "none", file));
  policy.container_ = CIRRUS_TRY(read_empty(map, "container", file));
  policy.parallels_ = CIRRUS_TRY(read_empty(map, "parallels", file));
  const yaml::Node* tart = map.take("tart");
  policy.tart_.reset();
  if (tart != nullptr && !tart->is_null()) policy.tart_ = CIRRUS_TRY(read_tart(*tart, file));
  const yaml::Node* vetu = map.take("vetu");
  policy.vetu_.reset();
  if (vetu != nullptr && !vetu->is_null()) policy.vetu_ = CIRRUS_TRY(read_vetu(*vetu, file));
  CIRRUS_TRY(close_map(map, file));
  return policy;
}

Status SecurityPolicy::check(
    const org::cirruslabs::ci::services::cirruscigrpc::Isolation* isolation) const {
  using org::cirruslabs::ci::services::cirruscigrpc::Isolation;
  if (isolation == nullptr) return none_ ? Status() : denied("none");
  switch (isolation->type_case()) {
    case Isolation::kNone: return none_ ? Status() : denied("none");
    case Isolation::kContainer: return container_ ? Status() : denied("container");
    case Isolation::kParallels: return parallels_ ? Status() : denied("parallels");
    case Isolation::kTart: {
      if (!tart_) return denied("tart");
      CIRRUS_TRY(check_image(tart_->allowed_images, isolation->tart().image(), "tart"));
      for (const auto& volume : isolation->tart().volumes()) {
        CIRRUS_TRY(check_volume(*tart_, volume.source(), volume.read_only()));
      }
      return {};
    }
    case Isolation::kVetu:
      if (!vetu_) return denied("vetu");
      return check_image(vetu_->allowed_images, isolation->vetu().image(), "vetu");
    case Isolation::TYPE_NOT_SET: break;
  }
  return error(Code::InvalidArgument, "unsupported isolation type");
}

}  // namespace cirrus::worker
