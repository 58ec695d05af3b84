// SPDX-License-Identifier: MIT
// The entry of `cirrus-test`: the same program, whose fail points do what the environment says.
#include "base/testing/armed_fail_points.h"
#include "cli/command.h"

int main(int argc, char** argv) {
  const cirrus::Status armed = cirrus::arm_fail_points_from_environment();
  if (!armed.ok()) {
    cirrus::cli::complain(armed.error().to_string());
    return cirrus::cli::kUsage;
  }
  return cirrus::cli::run_cirrus(argc, argv);
}
