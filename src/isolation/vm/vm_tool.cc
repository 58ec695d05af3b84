// SPDX-License-Identifier: MIT
#include "isolation/vm/vm_tool.h"

#include <algorithm>
#include <cctype>

#include "base/ids.h"
#include "base/strings.h"

namespace cirrus::isolation {
namespace {

constexpr char kDefaultUser[] = "admin";  // Source: reference, configuration language.
constexpr std::uint16_t kDefaultPort = 22;

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// A word that a command line takes as it is meant.
Status check_word(std::string_view what, std::string_view word) {
  if (word.empty()) return error(Code::InvalidArgument, "the VM needs {}", what);
  if (word.front() == '-') {
    return error(Code::InvalidArgument, "{} '{}' begins with '-', as options do", what, word);
  }
  if (has_control(word)) {
    return error(Code::InvalidArgument, "{} has a control character in it", what);
  }
  return {};
}

Status check_display(std::string_view display) {
  const std::size_t by = display.find('x');
  const auto digits = [](std::string_view text) {
    return !text.empty() && text.size() <= 5 &&
           std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  };
  if (by == std::string_view::npos || !digits(display.substr(0, by)) ||
      !digits(display.substr(by + 1))) {
    return error(Code::InvalidArgument, "'display' is '{}': it must be like 1920x1080", display);
  }
  return {};
}

Result<SharedDirectory> shared_directory(const std::string& name, const std::string& source,
                                         const std::string& target, bool read_only) {
  SharedDirectory directory{name.empty() ? random_hex(16) : name, source, target, read_only};
  for (const auto& [what, text] :
       {std::pair<const char*, const std::string&>{"the volume's name", directory.name},
        {"the volume's source", directory.source}}) {
    CIRRUS_TRY(check_word(what, text));
    // The tool splits its argument at these.
    if (text.find(':') != std::string::npos) {
      return error(Code::InvalidArgument, "{} '{}' has a ':' in it", what, text);
    }
  }
  if (has_control(directory.target)) {
    return error(Code::InvalidArgument, "the volume's target has a control character in it");
  }
  return directory;
}

template <typename Message>
Status take_common(const Message& message, VmSpec& spec) {
  spec.image = message.image();
  CIRRUS_TRY(check_word("an image", spec.image));
  spec.user = message.user().empty() ? kDefaultUser : message.user();
  spec.password = message.password().empty() ? kDefaultUser : message.password();
  if (message.port() > 65535) {
    return error(Code::InvalidArgument, "'port' is {}: ports end at 65535", message.port());
  }
  spec.port = message.port() == 0 ? kDefaultPort : static_cast<std::uint16_t>(message.port());
  spec.cpu = message.cpu();
  spec.memory_mib = message.memory();
  spec.disk_gb = message.disk_size();
  spec.sync_time = message.sync_time_over_ssh();
  return {};
}

Status take_tart(const IsolationSpec::Tart& tart, const std::vector<std::string>& softnet_allow,
                 VmSpec& spec) {
  CIRRUS_TRY(take_common(tart, spec));
  spec.run = {"--no-graphics", "--no-clipboard", "--no-audio", "--root-disk-opts", "sync=none"};
  if (tart.softnet()) {
    spec.run.push_back("--net-softnet");
    if (!softnet_allow.empty()) {
      spec.run.insert(spec.run.end(), {"--net-softnet-allow", join(softnet_allow, ",")});
    }
  }
  if (tart.nested()) spec.run.push_back("--nested");
  for (const auto& volume : tart.volumes()) {
    spec.directories.push_back(CIRRUS_TRY(
        shared_directory(volume.name(), volume.source(), volume.target(), volume.read_only())));
    spec.run.insert(spec.run.end(), {"--dir", directory_argument(spec.directories.back())});
  }
  return tart.display().empty() ? Status() : check_display(tart.display());
}

Status take_vetu(const IsolationSpec::Vetu& vetu, VmSpec& spec) {
  CIRRUS_TRY(take_common(vetu, spec));
  if (vetu.has_bridged()) {
    CIRRUS_TRY(check_word("an interface to bridge to", vetu.bridged().interface()));
    spec.run = {"--net-bridged", vetu.bridged().interface()};
  } else if (vetu.has_host()) {
    spec.run = {"--net-host"};
  }
  spec.console_to_log = vetu.standard_output_to_logs();
  return {};
}

}  // namespace

Result<VmSpec> VmSpec::from(const IsolationSpec& spec,
                            const std::vector<std::string>& softnet_allow) {
  VmSpec vm;
  if (spec.has_tart()) {
    vm.tool = "tart";
    CIRRUS_TRY(take_tart(spec.tart(), softnet_allow, vm));
    vm.display = spec.tart().display();
    return vm;
  }
  if (spec.has_vetu()) {
    vm.tool = "vetu";
    CIRRUS_TRY(take_vetu(spec.vetu(), vm));
    return vm;
  }
  return error(Code::Unimplemented, "this isolation is no VM");
}

std::string directory_argument(const SharedDirectory& directory) {
  std::string text = directory.name + ":" + directory.source;
  // Source: reference worker, Tart volumes.
  if (directory.read_only) text += ":ro";
  return text;
}

Argv pull_command(const VmSpec& spec) {
  return {spec.tool, "pull", spec.image};
}

Argv clone_command(const VmSpec& spec, const std::string& vm) {
  return {spec.tool, "clone", spec.image, vm};
}

std::vector<Argv> set_commands(const VmSpec& spec, const std::string& vm) {
  std::vector<Argv> commands;
  const auto add = [&](const char* option, const std::string& value) {
    commands.push_back({spec.tool, "set", vm, option, value});
  };
  if (spec.tool == "tart") commands.push_back({spec.tool, "set", vm, "--random-mac"});
  if (spec.cpu != 0) add("--cpu", std::to_string(spec.cpu));
  if (spec.memory_mib != 0) add("--memory", std::to_string(spec.memory_mib));
  if (spec.disk_gb != 0) add("--disk-size", std::to_string(spec.disk_gb));
  if (!spec.display.empty()) add("--display", spec.display);
  return commands;
}

Argv run_command(const VmSpec& spec, const std::string& vm, const Argv& modifiers) {
  Argv command{spec.tool, "run"};
  command.insert(command.end(), spec.run.begin(), spec.run.end());
  command.insert(command.end(), modifiers.begin(), modifiers.end());
  command.push_back(vm);
  return command;
}

Argv address_command(const std::string& tool, const std::string& vm) {
  return {tool, "ip", "--wait", "30", vm};
}

Argv stop_command(const std::string& tool, const std::string& vm) {
  return {tool, "stop", "--timeout", "5", vm};
}

Argv delete_command(const std::string& tool, const std::string& vm) {
  return {tool, "delete", vm};
}

Argv list_command(const std::string& tool) {
  return {tool, "list", "--quiet"};
}

}  // namespace cirrus::isolation
