// SPDX-License-Identifier: MIT
// The entry of `cirrus`, what users install.
#include "cli/command.h"

int main(int argc, char** argv) {
  return cirrus::cli::run_cirrus(argc, argv);
}
