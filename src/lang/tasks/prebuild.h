// SPDX-License-Identifier: MIT
// Dockerfiles as environments: their hashes, and the tasks that build their images.
#pragma once

#include "lang/tasks/draft.h"

namespace cirrus::lang {

/// Sets `dockerfile_hash` on every enabled task with a Dockerfile. With
/// `EvaluateOptions::prebuild_tasks` also appends one service task per distinct hash, makes the
/// users depend on it and sets their image. Warns at the `dockerfile` field about Dockerfiles that
/// cannot be analysed and sources that do not exist. Errors: Located for a missing Dockerfile.
/// Source: reference CLI, Dockerfile hashing and prebuilt images.
Located<void> apply_dockerfiles(Session& session, std::vector<Draft>& drafts, std::int64_t next_id);

}  // namespace cirrus::lang
