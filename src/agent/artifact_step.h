// SPDX-License-Identifier: MIT
// The artifacts instruction: which files, and their way to the server.
// Source: reference agent, artifacts.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "agent/step_log.h"
#include "agent/step_stop.h"
#include "rpc/blob_service.h"

namespace cirrus::agent {

/// The files `patterns` stand for, each once, with their sizes and their paths relative to the
/// working directory. Directories, what is no file and links that lead nowhere are passed over with
/// a line in the log. `expand` puts variables into a text. Errors: InvalidArgument for a file
/// outside of the working directory and for a bad pattern; ResourceExhausted for too many.
Result<std::vector<rpc::ArtifactFile>> select_artifacts(
    const std::vector<std::string>& patterns, const std::filesystem::path& working_directory,
    const std::function<std::string(const std::string&)>& expand, StepLog& log,
    const StopToken& stop);

/// Stores the files of `set`, which lie in `working_directory`. Starts over while the server is
/// away; everything else is tried twice. Errors: those of the server, and of files that cannot be
/// read or change while they are.
Status upload_artifacts(rpc::BlobService& blobs, const rpc::ArtifactSet& set,
                        const std::filesystem::path& working_directory, const StepStop& stop);

}  // namespace cirrus::agent
