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

RulePlaces places_in(const yaml::StrictMap& map, const std::string& file) {
  RulePlaces places;
  for (const yaml::Entry& entry : map.entries()) {
    places[entry.key->resolved().text] =
        fmt::format("{}:{}", file, yaml::to_string(entry.key->mark));
  }
  return places;
}

Result<std::vector<VolumeRule>> read_volumes(const yaml::Node& node, const std::string& file) {
  std::vector<VolumeRule> rules;
  if (!node.is_list()) return at(file, node.mark, "allowed-volumes must be a list");
  for (const yaml::Node* item : node.resolved().items) {
    yaml::StrictMap rule = CIRRUS_TRY(open_map(*item, file, "allowed-volumes"));
    VolumeRule volume;
    volume.source = CIRRUS_TRY(take_text(rule, "source", {}, file));
    volume.force_readonly = CIRRUS_TRY(take_bool(rule, "force-readonly", false, file));
    CIRRUS_TRY(close_map(rule, file));
    rules.push_back(std::move(volume));
  }
  return rules;
}

Result<TartPolicy> read_tart(const yaml::Node& node, const std::string& file) {
  TartPolicy policy;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "tart"));
  policy.places = places_in(map, file);
  policy.allowed_images = CIRRUS_TRY(take_list(map, "allowed-images", file));
  policy.softnet_allow = CIRRUS_TRY(take_list(map, "softnet-allow", file));
  policy.force_softnet = CIRRUS_TRY(take_bool(map, "force-softnet", false, file));
  if (const yaml::Node* volumes = map.take("allowed-volumes"); volumes && !volumes->is_null()) {
    policy.allowed_volumes = CIRRUS_TRY(read_volumes(*volumes, file));
  }
  CIRRUS_TRY(close_map(map, file));
  return policy;
}

Result<VetuPolicy> read_vetu(const yaml::Node& node, const std::string& file) {
  VetuPolicy policy;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "vetu"));
  policy.places = places_in(map, file);
  policy.allowed_images = CIRRUS_TRY(take_list(map, "allowed-images", file));
  CIRRUS_TRY(close_map(map, file));
  return policy;
}

Result<ContainerPolicy> read_container(const yaml::Node& node, const std::string& file) {
  ContainerPolicy policy;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "container"));
  policy.places = places_in(map, file);
  policy.allowed_images = CIRRUS_TRY(take_list(map, "allowed-images", file));
  policy.allowed_networks = CIRRUS_TRY(take_list(map, "allowed-networks", file));
  policy.allow_privileged = CIRRUS_TRY(take_bool(map, "allow-privileged", false, file));
  if (const yaml::Node* volumes = map.take("allowed-volumes"); volumes && !volumes->is_null()) {
    policy.allowed_volumes = CIRRUS_TRY(read_volumes(*volumes, file));
  }
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

bool image_allowed(const std::vector<std::string>& allowed, const std::string& image) {
  if (allowed.empty()) return true;
  for (const std::string& pattern : allowed) {
    if (matches_wildcard(pattern, image)) return true;
  }
  return false;
}

// `/a/../b` is `/b`, and a slash at the end stays. Source: reference worker, volumes.
std::string cleaned(const std::string& source) {
  std::string clean = std::filesystem::path(source).lexically_normal().string();
  if (source.ends_with('/') && !clean.ends_with('/')) clean += '/';
  if (!source.ends_with('/') && clean.size() > 1 && clean.ends_with('/')) clean.pop_back();
  return clean;
}

const VolumeRule* first_rule(const std::vector<VolumeRule>& rules, const std::string& path) {
  for (const VolumeRule& rule : rules) {
    if (matches_wildcard(rule.source, path)) return &rule;
  }
  return nullptr;
}

// Empty: allowed. Else what is wrong with it, to follow `volume '<source>' `.
std::string volume_problem(const std::vector<VolumeRule>& rules, const std::string& source,
                           bool read_only) {
  const std::string clean = cleaned(source);
  const VolumeRule* rule = first_rule(rules, clean);
  if (rule == nullptr) return "is not allowed";
  if (rule->force_readonly && !read_only) return "must be read-only";
  // Where the path leads in truth must be allowed as well.
  std::error_code failure;
  std::string real = std::filesystem::weakly_canonical(clean, failure).string();
  if (failure) return "cannot be resolved, so it is not allowed";
  if (source.ends_with('/') && !real.ends_with('/')) real += '/';
  if (real == clean) return {};
  const VolumeRule* real_rule = first_rule(rules, real);
  if (real_rule == nullptr) return fmt::format("leads to '{}', which is not allowed", real);
  if (real_rule->force_readonly && !read_only) {
    return fmt::format("leads to '{}', which must be read-only", real);
  }
  return {};
}

// The same text where no link is on the way.
std::string where_it_leads(const std::string& source) {
  const std::string clean = cleaned(source);
  std::error_code failure;
  std::string real = std::filesystem::weakly_canonical(clean, failure).string();
  if (source.ends_with('/') && !real.ends_with('/')) real += '/';
  return failure || real == clean ? source : real;
}

// These characters separate a mount's parts on the tools' command lines.
bool has_separator(const std::string& text) {
  return text.find_first_of(std::string(":,\n\0", 4)) != std::string::npos;
}

}  // namespace

Result<SecurityPolicy> SecurityPolicy::read(const yaml::Node& node, const std::string& file) {
  SecurityPolicy policy;
  if (node.is_null()) return policy;
  policy.place_ = fmt::format("{}:{}", file, yaml::to_string(node.mark));
  yaml::StrictMap security = CIRRUS_TRY(open_map(node, file, "security"));
  policy.places_ = places_in(security, file);
  const yaml::Node* allowed = security.take("allowed-isolations");
  policy.allowed_repositories_ = CIRRUS_TRY(take_list(security, "allowed-repositories", file));
  if (const yaml::Node* variables = security.take("allowed-variables");
      variables != nullptr && !variables->is_null()) {
    policy.allowed_variables_ = CIRRUS_TRY(take_list(security, "allowed-variables", file));
  }
  if (const yaml::Node* timeout = security.take("max-timeout"); timeout && !timeout->is_null()) {
    Result<std::chrono::nanoseconds> time =
        parse_duration(timeout->is_scalar() ? timeout->resolved().text : "");
    if (!time.ok()) return at(file, timeout->mark, time.error().message());
    policy.max_timeout_ = std::chrono::ceil<std::chrono::seconds>(time.value());
  }
  CIRRUS_TRY(close_map(security, file));
  if (allowed == nullptr || allowed->is_null()) {
    return policy;
  }
  policy.isolations_at_ = fmt::format("{}:{}", file, yaml::to_string(allowed->mark));
  yaml::StrictMap map = CIRRUS_TRY(open_map(*allowed, file, "allowed-isolations"));
  policy.none_ = CIRRUS_TRY(read_empty(map, "none", file));
  policy.parallels_ = CIRRUS_TRY(read_empty(map, "parallels", file));
  const auto present = [&](const char* kind) -> const yaml::Node* {
    const yaml::Node* kind_node = map.take(kind);
    return kind_node == nullptr || kind_node->is_null() ? nullptr : kind_node;
  };
  policy.container_.reset();
  if (const yaml::Node* container = present("container")) {
    policy.container_ = CIRRUS_TRY(read_container(*container, file));
  }
  policy.tart_.reset();
  if (const yaml::Node* tart = present("tart")) policy.tart_ = CIRRUS_TRY(read_tart(*tart, file));
  policy.vetu_.reset();
  if (const yaml::Node* vetu = present("vetu")) policy.vetu_ = CIRRUS_TRY(read_vetu(*vetu, file));
  CIRRUS_TRY(close_map(map, file));
  return policy;
}

Status SecurityPolicy::denied(std::string what, const RulePlaces* places,
                              std::string_view rule) const {
  what += " by this Persistent Worker's security settings";
  std::string place = isolations_at_.empty() ? place_ : isolations_at_;
  if (places != nullptr) {
    const auto written = places->find(rule);
    if (written != places->end()) place = written->second;
  }
  if (!place.empty()) what += " (" + place + ")";
  return error(Code::PermissionDenied, "{}", what);
}

Status SecurityPolicy::check_container(
    const org::cirruslabs::ci::services::cirruscigrpc::ContainerInstance& container) const {
  if (!container_) return denied("isolation 'container' is not allowed");
  const auto check_privilege = [&](const std::string& what, bool privileged) -> Status {
    if (!privileged || container_->allow_privileged) return {};
    return denied(fmt::format("{} wants to be privileged, which is not allowed", what),
                  &container_->places, "allow-privileged");
  };
  CIRRUS_TRY(check_privilege("the container", container.privileged()));
  for (const auto& companion : container.additional_containers()) {
    if (!image_allowed(container_->allowed_images, companion.image())) {
      return denied(fmt::format("container image '{}' is not allowed", companion.image()),
                    &container_->places, "allowed-images");
    }
    CIRRUS_TRY(
        check_privilege(fmt::format("container '{}'", companion.name()), companion.privileged()));
  }
  return {};
}

Status SecurityPolicy::check(const Isolation* isolation) const {
  const auto kind_denied = [&](const char* kind) {
    return denied(fmt::format("isolation '{}' is not allowed", kind));
  };
  const auto check_image = [&](const auto& policy, const std::string& image,
                               const char* kind) -> Status {
    if (image_allowed(policy.allowed_images, image)) return {};
    return denied(fmt::format("{} image '{}' is not allowed", kind, image), &policy.places,
                  "allowed-images");
  };
  const auto check_volume = [&](const RulePlaces& places, const std::vector<VolumeRule>& rules,
                                const std::string& source, bool read_only) -> Status {
    const std::string problem = volume_problem(rules, source, read_only);
    if (problem.empty()) return {};
    return denied(fmt::format("volume '{}' {}", source, problem), &places, "allowed-volumes");
  };
  if (isolation == nullptr) return none_ ? Status() : kind_denied("none");
  switch (isolation->type_case()) {
    case Isolation::kNone: return none_ ? Status() : kind_denied("none");
    case Isolation::kParallels: return parallels_ ? Status() : kind_denied("parallels");
    case Isolation::kContainer: {
      if (!container_) return kind_denied("container");
      const auto& container = isolation->container();
      CIRRUS_TRY(check_image(*container_, container.image(), "container"));
      if (!container_->allowed_volumes) return {};
      for (const auto& volume : container.volumes()) {
        CIRRUS_TRY(check_volume(container_->places, *container_->allowed_volumes, volume.source(),
                                volume.read_only()));
      }
      return {};
    }
    case Isolation::kTart: {
      if (!tart_) return kind_denied("tart");
      CIRRUS_TRY(check_image(*tart_, isolation->tart().image(), "tart"));
      for (const auto& volume : isolation->tart().volumes()) {
        if (has_separator(volume.source()) || has_separator(volume.name())) {
          return error(Code::InvalidArgument,
                       "volume '{}' ('{}') has a colon, a comma or a line end in its name or path, "
                       "which would change its meaning",
                       volume.source(), volume.name());
        }
        CIRRUS_TRY(check_volume(tart_->places, tart_->allowed_volumes, volume.source(),
                                volume.read_only()));
      }
      return {};
    }
    case Isolation::kVetu:
      if (!vetu_) return kind_denied("vetu");
      return check_image(*vetu_, isolation->vetu().image(), "vetu");
    case Isolation::TYPE_NOT_SET: break;
  }
  return error(Code::InvalidArgument, "unsupported isolation type");
}

Status SecurityPolicy::check_task(const std::map<std::string, std::string>& environment,
                                  std::chrono::seconds timeout) const {
  const auto denied_here = [&](const std::string& what, std::string_view rule) {
    const auto written = places_.find(rule);
    return error(Code::PermissionDenied, "{} by this Persistent Worker's security settings ({})",
                 what, written == places_.end() ? place_ : written->second);
  };
  if (!allowed_repositories_.empty()) {
    const auto found = environment.find("CIRRUS_REPO_FULL_NAME");
    const std::string repository = found == environment.end() ? "" : found->second;
    if (repository.empty() || !image_allowed(allowed_repositories_, repository)) {
      return denied_here(fmt::format("repository '{}' is not allowed", repository),
                         "allowed-repositories");
    }
  }
  if (max_timeout_ && timeout > *max_timeout_) {
    return denied_here(fmt::format("a task of {} s is longer than the {} s that are allowed",
                                   timeout.count(), max_timeout_->count()),
                       "max-timeout");
  }
  if (allowed_variables_) {
    for (const auto& [name, value] : environment) {
      // What the controller itself says about the task is no wish of the task's author.
      if (name == "CI" || name.starts_with("CIRRUS_")) continue;
      if (!image_allowed(*allowed_variables_, name)) {
        return denied_here(fmt::format("variable '{}' is not allowed", name), "allowed-variables");
      }
    }
  }
  return {};
}

SecurityPolicy::Isolation SecurityPolicy::enforced(Isolation isolation) const {
  if (isolation.has_tart() && tart_ && tart_->force_softnet) {
    isolation.mutable_tart()->set_softnet(true);
  }
  if (isolation.has_tart()) {
    for (auto& volume : *isolation.mutable_tart()->mutable_volumes()) {
      volume.set_source(where_it_leads(volume.source()));
    }
  }
  if (isolation.has_container() && container_ && container_->allowed_volumes) {
    for (auto& volume : *isolation.mutable_container()->mutable_volumes()) {
      volume.set_source(where_it_leads(volume.source()));
    }
  }
  return isolation;
}

std::vector<std::string> SecurityPolicy::softnet_allow() const {
  return tart_ ? tart_->softnet_allow : std::vector<std::string>{};
}

}  // namespace cirrus::worker
