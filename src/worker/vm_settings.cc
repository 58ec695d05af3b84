// SPDX-License-Identifier: MIT
#include "worker/vm_settings.h"

#include <charconv>

#include "base/strings.h"
#include "worker/settings_reader.h"

namespace cirrus::worker {

namespace {

namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

// Ours: more VMs than this on one machine is a typing mistake.
constexpr std::uint32_t kMostStandby = 64;

Result<std::uint32_t> take_whole(yaml::StrictMap& map, std::string_view key, std::uint32_t fallback,
                                 std::uint32_t highest, const std::string& file) {
  const yaml::Node* node = map.take(key);
  if (node == nullptr || node->is_null()) return fallback;
  const bool plain = node->is_scalar() && node->resolved().style == yaml::Style::Plain;
  const std::string text = plain ? node->resolved().text : "";
  std::uint32_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() ||
      number > highest) {
    return at(file, node->mark, fmt::format("'{}' must be a whole number up to {}", key, highest));
  }
  return number;
}

Result<std::uint32_t> take_megabytes(yaml::StrictMap& map, const std::string& file) {
  const yaml::Node* node = map.take("memory");
  if (node == nullptr || node->is_null()) return 0U;
  Result<std::uint32_t> size = parse_megabytes(node->is_scalar() ? node->resolved().text : "");
  if (!size.ok()) return at(file, node->mark, size.error().message());
  return size;
}

Result<std::chrono::nanoseconds> take_duration(yaml::StrictMap& map, std::string_view key,
                                               const std::string& file) {
  const yaml::Node* node = map.take(key);
  if (node == nullptr || node->is_null()) return std::chrono::nanoseconds(0);
  Result<std::chrono::nanoseconds> time =
      parse_duration(node->is_scalar() ? node->resolved().text : "");
  if (!time.ok()) return at(file, node->mark, time.error().message());
  return time;
}

// What Tart and Vetu have in common. Defaults: reference, configuration language.
template <typename Kind>
Status take_common(yaml::StrictMap& map, const std::string& file, Kind& vm) {
  constexpr std::uint32_t kAnyNumber = 4294967295U;
  vm.set_image(CIRRUS_TRY(take_text(map, "image", {}, file)));
  vm.set_user(CIRRUS_TRY(take_text(map, "user", "admin", file)));
  vm.set_password(CIRRUS_TRY(take_text(map, "password", "admin", file)));
  vm.set_port(CIRRUS_TRY(take_whole(map, "port", 0, 65535, file)));
  vm.set_cpu(CIRRUS_TRY(take_whole(map, "cpu", 0, kAnyNumber, file)));
  vm.set_memory(CIRRUS_TRY(take_megabytes(map, file)));
  vm.set_disk_size(CIRRUS_TRY(take_whole(map, "disk_size", 0, 65535, file)));
  vm.set_sync_time_over_ssh(CIRRUS_TRY(take_bool(map, "sync_time_over_ssh", false, file)));
  return {};
}

template <typename Kind>
Status close_vm(const yaml::StrictMap& map, const std::string& file, const Kind& vm) {
  CIRRUS_TRY(close_map(map, file));
  if (vm.image().empty()) return at(file, map.mark(), "the VM needs an 'image'");
  return {};
}

Status read_tart(const yaml::Node& node, const std::string& file, pb::Isolation::Tart& tart) {
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "tart"));
  CIRRUS_TRY(take_common(map, file, tart));
  tart.set_softnet(CIRRUS_TRY(take_bool(map, "softnet", false, file)));
  tart.set_nested(CIRRUS_TRY(take_bool(map, "nested", false, file)));
  tart.set_display(CIRRUS_TRY(take_text(map, "display", {}, file)));
  if (const yaml::Node* volumes = map.take("volumes"); volumes && !volumes->is_null()) {
    if (!volumes->is_list()) return at(file, volumes->mark, "'volumes' must be a list");
    for (const yaml::Node* item : volumes->resolved().items) {
      yaml::StrictMap volume = CIRRUS_TRY(open_map(*item, file, "volumes"));
      pb::Isolation::Tart::Volume& added = *tart.add_volumes();
      added.set_name(CIRRUS_TRY(take_text(volume, "name", {}, file)));
      added.set_source(CIRRUS_TRY(take_text(volume, "source", {}, file)));
      added.set_target(CIRRUS_TRY(take_text(volume, "target", {}, file)));
      added.set_read_only(CIRRUS_TRY(take_bool(volume, "readonly", false, file)));
      CIRRUS_TRY(close_map(volume, file));
      if (added.source().empty()) return at(file, item->mark, "a volume needs a 'source'");
    }
  }
  return close_vm(map, file, tart);
}

Status read_vetu(const yaml::Node& node, const std::string& file, pb::Isolation::Vetu& vetu) {
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "vetu"));
  CIRRUS_TRY(take_common(map, file, vetu));
  vetu.set_standard_output_to_logs(
      CIRRUS_TRY(take_bool(map, "standard_output_to_logs", false, file)));
  if (const yaml::Node* networking = map.take("networking"); networking && !networking->is_null()) {
    yaml::StrictMap kinds = CIRRUS_TRY(open_map(*networking, file, "networking"));
    const yaml::Node* host = kinds.take("host");
    const yaml::Node* bridged = kinds.take("bridged");
    CIRRUS_TRY(close_map(kinds, file));
    if ((host != nullptr) == (bridged != nullptr)) {
      return at(file, networking->mark, "'networking' is either host: {} or bridged: {interface}");
    }
    if (host != nullptr) vetu.mutable_host();
    if (bridged != nullptr) {
      yaml::StrictMap inner = CIRRUS_TRY(open_map(*bridged, file, "bridged"));
      vetu.mutable_bridged()->set_interface(CIRRUS_TRY(take_text(inner, "interface", {}, file)));
      CIRRUS_TRY(close_map(inner, file));
      if (vetu.bridged().interface().empty()) {
        return at(file, bridged->mark, "bridged networking needs an 'interface'");
      }
    }
  }
  return close_vm(map, file, vetu);
}

// Ours: a container stands by as well. Defaults: reference, configuration language.
Status read_container(const yaml::Node& node, const std::string& file,
                      pb::Isolation::Container& container) {
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "container"));
  container.set_image(CIRRUS_TRY(take_text(map, "image", {}, file)));
  container.set_cpu(static_cast<float>(CIRRUS_TRY(take_whole(map, "cpu", 2, 65535, file))));
  container.set_memory(CIRRUS_TRY(take_megabytes(map, file)));
  if (container.memory() == 0) container.set_memory(4096);
  if (const yaml::Node* volumes = map.take("volumes"); volumes && !volumes->is_null()) {
    if (!volumes->is_list()) return at(file, volumes->mark, "'volumes' must be a list");
    for (const yaml::Node* item : volumes->resolved().items) {
      const std::vector<std::string> parts =
          split(item->is_scalar() ? item->resolved().text : "", ':');
      if (parts.size() < 2 || parts.size() > 3 || (parts.size() == 3 && parts[2] != "ro")) {
        return at(file, item->mark, "a volume is written source:target or source:target:ro");
      }
      auto& volume = *container.add_volumes();
      volume.set_source(parts[0]);
      volume.set_target(parts[1]);
      volume.set_read_only(parts.size() == 3);
    }
  }
  CIRRUS_TRY(close_map(map, file));
  if (container.image().empty()) return at(file, map.mark(), "the container needs an 'image'");
  return {};
}

// Takes the kind of isolation; exactly one is there.
Status take_isolation(yaml::StrictMap& map, const yaml::Node& whole, const std::string& file,
                      pb::Isolation& isolation) {
  const yaml::Node* tart = map.take("tart");
  const yaml::Node* vetu = map.take("vetu");
  const yaml::Node* container = map.take("container");
  if ((tart != nullptr) + (vetu != nullptr) + (container != nullptr) != 1) {
    return at(file, whole.mark, "'standby' needs one 'tart', 'vetu' or 'container' isolation");
  }
  if (container != nullptr) {
    return read_container(*container, file, *isolation.mutable_container());
  }
  if (tart != nullptr) return read_tart(*tart, file, *isolation.mutable_tart());
  return read_vetu(*vetu, file, *isolation.mutable_vetu());
}

// Both forms: `standby: {tart: …}` and `standby: {isolation: {tart: …}, resources, warmup}`.
Result<StandbySettings> read_standby(const yaml::Node& node, const std::string& file,
                                     bool in_list) {
  StandbySettings standby;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "standby"));
  const yaml::Node* isolation = map.take("isolation");
  if (isolation != nullptr) {
    if (map.take("tart") != nullptr || map.take("vetu") != nullptr ||
        map.take("container") != nullptr) {
      return at(file, node.mark,
                "'standby' is written either with 'isolation' or without, not both");
    }
    yaml::StrictMap kinds = CIRRUS_TRY(open_map(*isolation, file, "isolation"));
    CIRRUS_TRY(take_isolation(kinds, *isolation, file, standby.isolation));
    CIRRUS_TRY(close_map(kinds, file));
  } else {
    CIRRUS_TRY(take_isolation(map, node, file, standby.isolation));
  }
  if (auto resources = CIRRUS_TRY(take_number_map(map, "resources", file))) {
    standby.resources = std::move(*resources);
  }
  if (const yaml::Node* warmup = map.take("warmup"); warmup && !warmup->is_null()) {
    yaml::StrictMap inner = CIRRUS_TRY(open_map(*warmup, file, "warmup"));
    standby.warmup_script = CIRRUS_TRY(take_text(inner, "script", {}, file));
    const auto timeout = CIRRUS_TRY(take_duration(inner, "timeout", file));
    standby.warmup_timeout = std::chrono::ceil<std::chrono::seconds>(timeout);
    CIRRUS_TRY(close_map(inner, file));
  }
  if (in_list) standby.count = CIRRUS_TRY(take_whole(map, "count", 1, kMostStandby, file));
  CIRRUS_TRY(close_map(map, file));
  return standby;
}

Result<TartPrePull> read_pre_pull(const yaml::Node& node, const std::string& file) {
  TartPrePull pull;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "tart-pre-pull"));
  pull.images = CIRRUS_TRY(take_list(map, "images", file));
  pull.check_interval = CIRRUS_TRY(take_duration(map, "check-interval", file));
  pull.jitter = CIRRUS_TRY(take_duration(map, "jitter", file));
  CIRRUS_TRY(close_map(map, file));
  return pull;
}

Result<ResourceModifier> read_modifier(const yaml::Node& node, const std::string& file) {
  ResourceModifier modifier;
  yaml::StrictMap map = CIRRUS_TRY(open_map(node, file, "resource-modifiers"));
  if (auto match = CIRRUS_TRY(take_number_map(map, "match", file))) {
    modifier.match = std::move(*match);
  }
  if (const yaml::Node* append = map.take("append"); append && !append->is_null()) {
    yaml::StrictMap inner = CIRRUS_TRY(open_map(*append, file, "append"));
    modifier.run = CIRRUS_TRY(take_list(inner, "run", file));
    CIRRUS_TRY(close_map(inner, file));
  }
  CIRRUS_TRY(close_map(map, file));
  return modifier;
}

}  // namespace

Result<std::uint32_t> parse_megabytes(std::string_view text) {
  std::uint64_t number = 0;
  const std::string_view trimmed = trim(text);
  const auto parsed = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), number);
  const std::string unit =
      to_lower(trim(trimmed.substr(static_cast<std::size_t>(parsed.ptr - trimmed.data()))));
  const bool gigabytes =
      unit == "g" || unit == "gb" || unit == "gi" || (unit.empty() && number < 100);
  const bool megabytes = unit.empty() || unit == "m" || unit == "mb" || unit == "mi";
  if (parsed.ec != std::errc() || (!gigabytes && !megabytes) || number > (1U << 30U)) {
    return error(Code::InvalidArgument, "'{}' is no memory size: write it like 8G or 512Mi", text);
  }
  const std::uint64_t size = gigabytes ? number * 1024 : number;
  if (size > 0xFFFFFFFFU) {
    return error(Code::InvalidArgument, "'{}' is more memory than any machine has", text);
  }
  return static_cast<std::uint32_t>(size);
}

Result<VmSettings> take_vm_settings(yaml::StrictMap& map, const std::string& file) {
  VmSettings settings;
  const auto present = [&](const char* key) -> const yaml::Node* {
    const yaml::Node* node = map.take(key);
    return node == nullptr || node->is_null() ? nullptr : node;
  };
  if (const yaml::Node* node = present("standby")) {
    settings.standby_is_list = node->is_list();
    if (node->is_list()) {
      for (const yaml::Node* item : node->resolved().items) {
        settings.standby.push_back(CIRRUS_TRY(read_standby(*item, file, true)));
      }
    } else {
      settings.standby.push_back(CIRRUS_TRY(read_standby(*node, file, false)));
    }
  }
  if (const yaml::Node* node = present("tart-pre-pull")) {
    settings.tart_pre_pull = CIRRUS_TRY(read_pre_pull(*node, file));
  }
  if (const yaml::Node* node = present("tuning")) {
    yaml::StrictMap tuning = CIRRUS_TRY(open_map(*node, file, "tuning"));
    if (const yaml::Node* vetu = tuning.take("vetu"); vetu && !vetu->is_null()) {
      yaml::StrictMap inner = CIRRUS_TRY(open_map(*vetu, file, "tuning.vetu"));
      settings.vetu_mtu = CIRRUS_TRY(take_whole(inner, "mtu", 0, 65535, file));
      CIRRUS_TRY(close_map(inner, file));
    }
    CIRRUS_TRY(close_map(tuning, file));
  }
  if (const yaml::Node* node = present("resource-modifiers")) {
    if (!node->is_list()) return at(file, node->mark, "'resource-modifiers' must be a list");
    for (const yaml::Node* item : node->resolved().items) {
      settings.modifiers.push_back(CIRRUS_TRY(read_modifier(*item, file)));
    }
  }
  return settings;
}

}  // namespace cirrus::worker
