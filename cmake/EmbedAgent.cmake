# Run by the build: describes the compressed agent to embedded_agent.cc. SPDX-License-Identifier: MIT
#   cmake -D EXECUTABLE=… -D PACKED=… -D HEADER=… -P EmbedAgent.cmake
file(SHA256 ${EXECUTABLE} hash)
file(SIZE ${EXECUTABLE} size)
file(WRITE ${HEADER} "\
// Generated: which agent is inside.
#pragma once
#define CIRRUS_EMBEDDED_AGENT_FILE \"${PACKED}\"
#define CIRRUS_EMBEDDED_AGENT_SHA256 \"${hash}\"
#define CIRRUS_EMBEDDED_AGENT_SIZE ${size}
")
