// SPDX-License-Identifier: MIT
#include "worker/container_settings.h"

#include <algorithm>
#include <charconv>

#include "worker/settings_reader.h"

namespace cirrus::worker {

namespace {

using isolation::ContainerDefaults;

Status read_pull(const yaml::Node& node, const std::string& file, ContainerDefaults& defaults) {
  using Pull = ContainerDefaults::Pull;
  const std::string text = node.is_scalar() ? node.resolved().text : "";
  if (text == "if-not-present") {
    defaults.pull = Pull::IfNotPresent;
  } else if (text == "always") {
    defaults.pull = Pull::Always;
  } else if (text == "never") {
    defaults.pull = Pull::Never;
  } else {
    return at(file, node.mark, "'pull' is if-not-present, always or never");
  }
  return {};
}

// `1024` or `1024:4096`: soft and hard, as `docker run --ulimit` has them; -1 is no limit.
Result<ContainerDefaults::Limit> read_limit(const yaml::Entry& entry, const std::string& file) {
  ContainerDefaults::Limit limit;
  limit.name = entry.key->resolved().text;
  const std::string text = entry.value->is_scalar() ? entry.value->resolved().text : "";
  const std::size_t colon = text.find(':');
  const auto read = [&](std::string_view digits, std::int64_t& number) {
    const auto [end, failure] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return failure == std::errc() && end == digits.data() + digits.size() && number >= -1;
  };
  const std::string_view soft = std::string_view(text).substr(0, colon);
  const std::string_view hard =
      colon == std::string::npos ? soft : std::string_view(text).substr(colon + 1);
  if (!read(soft, limit.soft) || !read(hard, limit.hard)) {
    return at(file, entry.value->mark, "a limit is a number, or two as in 1024:4096");
  }
  return limit;
}

}  // namespace

Result<ContainerSettings> take_container_settings(yaml::StrictMap& map, const std::string& file) {
  ContainerSettings settings;
  const yaml::Node* node = map.take("container");
  if (node == nullptr || node->is_null()) return settings;
  yaml::StrictMap inner = CIRRUS_TRY(open_map(*node, file, "container"));
  if (const yaml::Node* engine = inner.take("engine"); engine && !engine->is_null()) {
    settings.engine = isolation::engine_kind(engine->is_scalar() ? engine->resolved().text : "?");
    if (!settings.engine) return at(file, engine->mark, "'engine' is docker, podman or auto");
  }
  settings.socket = CIRRUS_TRY(take_text(inner, "socket", {}, file));
  settings.defaults.network = CIRRUS_TRY(take_text(inner, "network", {}, file));
  if (settings.defaults.network.starts_with("container:")) {
    return at(file, inner.mark(), "'network' cannot be another container's");
  }
  if (const yaml::Node* pull = inner.take("pull"); pull && !pull->is_null()) {
    CIRRUS_TRY(read_pull(*pull, file, settings.defaults));
  }
  if (const yaml::Node* limits = inner.take("ulimits"); limits && !limits->is_null()) {
    const yaml::StrictMap entries = CIRRUS_TRY(open_map(*limits, file, "ulimits"));
    for (const yaml::Entry& entry : entries.entries()) {
      settings.defaults.ulimits.push_back(CIRRUS_TRY(read_limit(entry, file)));
    }
  }
  settings.defaults.security_options = CIRRUS_TRY(take_list(inner, "security-options", file));
  CIRRUS_TRY(close_map(inner, file));
  return settings;
}

}  // namespace cirrus::worker
