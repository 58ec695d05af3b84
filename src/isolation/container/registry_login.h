// SPDX-License-Identifier: MIT
// Credentials for pulls, as `docker login` and `podman login` leave them.
#pragma once

#include <string>

#include "base/stop.h"
#include "os/process.h"

namespace cirrus::isolation {

/// The registry an image name means: its first part if that has a dot, a colon or is `localhost`,
/// else Docker's own. Source: Docker, image names.
std::string registry_of(const std::string& image);

/// The JSON of an AuthConfig for the image's registry, or empty. `config` is a Docker configuration
/// as JSON; if it is empty, $DOCKER_CONFIG/config.json, ~/.docker/config.json, $REGISTRY_AUTH_FILE
/// and $XDG_RUNTIME_DIR/containers/auth.json are looked at in that order. Credential helpers are
/// run (`docker-credential-NAME get`). What cannot be read counts as absent.
std::string registry_login(const std::string& image, const std::string& config,
                           const os::Environment& environment, const StopToken& stop);

}  // namespace cirrus::isolation
