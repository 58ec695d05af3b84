// SPDX-License-Identifier: MIT
// VmTool: the command line of `tart` or `vetu`, and nothing else.
// Source of every word: reference worker, VM back-ends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "isolation/isolation.h"

namespace cirrus::isolation {

using Argv = std::vector<std::string>;

/// A directory of the host that a guest sees.
struct SharedDirectory {
  std::string name;
  std::string source;
  std::string target;  ///< where a link to it is made in the guest; empty: nowhere
  bool read_only = false;
};

/// What a task asks of its VM, whatever runs it.
struct VmSpec {
  std::string tool;  ///< `tart` or `vetu`
  std::string image;
  std::string user = "admin";
  std::string password = "admin";
  std::uint16_t port = 22;
  std::uint32_t cpu = 0;         ///< 0: the image's
  std::uint32_t memory_mib = 0;  ///< 0: the image's
  std::uint32_t disk_gb = 0;     ///< 0: the image's
  bool sync_time = false;
  bool console_to_log = false;  ///< Vetu only
  std::string display;          ///< `WxH`; empty: the image's
  std::vector<SharedDirectory> directories;
  Argv run;  ///< what goes between `run` and the VM's name

  /// Errors: InvalidArgument, in words for the task's author, for what the tools would take for an
  /// option or could not tell apart; Unimplemented if the isolation is no VM.
  static Result<VmSpec> from(const IsolationSpec& spec,
                             const std::vector<std::string>& softnet_allow = {});
};

/// `NAME:PATH[:ro]`, as `tart run --dir` wants it.
std::string directory_argument(const SharedDirectory& directory);

// One command each, the program's name first.
Argv pull_command(const VmSpec& spec);
Argv clone_command(const VmSpec& spec, const std::string& vm);
std::vector<Argv> set_commands(const VmSpec& spec, const std::string& vm);
Argv run_command(const VmSpec& spec, const std::string& vm, const Argv& modifiers);
Argv address_command(const std::string& tool, const std::string& vm);
Argv stop_command(const std::string& tool, const std::string& vm);
Argv delete_command(const std::string& tool, const std::string& vm);
Argv list_command(const std::string& tool);

}  // namespace cirrus::isolation
