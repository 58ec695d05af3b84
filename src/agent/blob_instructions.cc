// SPDX-License-Identifier: MIT
// The instructions that store and fetch: caches and artifacts.
#include <algorithm>
#include <utility>

#include "agent/annotations/annotations.h"
#include "agent/artifact_step.h"
#include "agent/step_stop.h"
#include "agent/task_run.h"
#include "base/digest.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "os/files.h"

namespace cirrus::agent {
namespace {

// Ours: bytes of what one finding quotes, and of findings sent together.
constexpr std::size_t kMaxDetails = 64 * 1024;
constexpr std::size_t kMaxBatch = 1U << 20U;

}  // namespace

StepOutcome TaskRun::cut_short(Step& step) {
  step.log.write(parts_.control.cancelled() ? "\nContext canceled!"
                                            : "\n" + step.limits.deadline_text);
  return {.succeeded = false, .signaled = false, .cut_short = true};
}

// Source: reference agent, cache keys: the digest is over everything the script's step says, its
// own lines included.
std::optional<std::string> TaskRun::cache_key(Step& step, StepOutcome& outcome) {
  const wire::CacheInstruction& instruction = step.command.cache_instruction();
  if (!instruction.fingerprint_key().empty()) return instruction.fingerprint_key();
  Sha256 digest;
  if (instruction.fingerprint_scripts().empty()) {
    digest.update(environment_->get("CIRRUS_TASK_NAME").value_or(""));
    digest.update(environment_->get("CI_NODE_INDEX").value_or(""));
    return step.command.name() + "-" + digest.hex();
  }
  const auto& lines = instruction.fingerprint_scripts();
  step.log.observe([&digest](std::string_view bytes) { digest.update(bytes); });
  outcome = run_script(step, {lines.begin(), lines.end()});
  step.log.observe(nullptr);
  if (!outcome.succeeded) return std::nullopt;
  return step.command.name() + "-" + digest.hex();
}

StepOutcome TaskRun::restore_cache(Step& step) {
  const wire::CacheInstruction& instruction = step.command.cache_instruction();
  std::vector<std::string> names(instruction.folders().begin(), instruction.folders().end());
  if (!instruction.folder().empty()) names.insert(names.begin(), instruction.folder());
  Result<CacheFolders> folders = CacheFolders::plan(
      names, working_directory_,
      [this](const std::string& text) { return environment_->expand_text(text); });
  if (!folders.ok()) {
    step.log.write(folders.error().to_string() + "\n");
    return {};
  }
  StepOutcome outcome;
  const std::optional<std::string> key = cache_key(step, outcome);
  if (!key) return outcome;
  started();
  {
    const StepStop stop(parts_.control, step.limits);
    const CacheSteps::Restored restored =
        caches_.restore(step.command, *key, std::move(folders).value(), step.log, stop);
    if (stop.stopped()) return cut_short(step);
    if (restored == CacheSteps::Restored::Hit || instruction.populate_scripts().empty()) {
      return {.succeeded = true};
    }
  }
  const auto& lines = instruction.populate_scripts();
  const Monotonic begun = std::chrono::steady_clock::now();
  outcome = run_script(step, {lines.begin(), lines.end()});
  caches_.populated(step.command.name(), std::chrono::steady_clock::now() - begun);
  return outcome;
}

StepOutcome TaskRun::upload_cache(Step& step) {
  started();
  const StepStop stop(parts_.control, step.limits);
  const bool known =
      caches_.upload(step.command.upload_cache_instruction().cache_name(), step.log, stop);
  if (stop.stopped()) return cut_short(step);
  return {.succeeded = known};
}

StepOutcome TaskRun::store_artifacts(Step& step) {
  const wire::ArtifactsInstruction& instruction = step.command.artifacts_instruction();
  if (instruction.paths().empty()) return {.succeeded = true};
  started();
  const StepStop stop(parts_.control, step.limits);
  const Monotonic begun = std::chrono::steady_clock::now();
  Result<std::vector<rpc::ArtifactFile>> files = select_artifacts(
      {instruction.paths().begin(), instruction.paths().end()}, working_directory_,
      [this](const std::string& text) { return environment_->expand_text(text); }, step.log,
      stop.token());
  if (stop.stopped()) return cut_short(step);
  if (!files.ok()) {
    step.log.write("The artifacts are not stored: " + files.error().to_string() + "\n");
    return {};
  }
  rpc::ArtifactSet set{step.command.name(), instruction.type(), instruction.format(),
                       std::move(files).value()};
  std::uint64_t bytes = 0;
  for (const rpc::ArtifactFile& file : set.files) bytes += file.bytes;
  const Status stored = upload_artifacts(parts_.blobs, set, working_directory_, stop);
  if (!stored.ok() && stop.stopped()) return cut_short(step);
  if (!stored.ok()) {
    step.log.write("The artifacts were not stored: " + stored.error().to_string() + "\n");
    return {};
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  step.log.write(fmt::format("Stored {} artifact{} ({}) in {:.1f} s.\n", set.files.size(),
                             set.files.size() == 1 ? "" : "s", size_text(bytes), seconds));
  if (!is_report_format(set.format)) return {.succeeded = true};
  const Status annotated = annotate(step, set, stop);
  if (!annotated.ok() && stop.stopped()) return cut_short(step);
  if (!annotated.ok()) step.log.write("No annotations: " + annotated.error().to_string() + "\n");
  return {.succeeded = annotated.ok()};
}

// Source: reference agent: read after the upload, and a report that cannot be read fails the step.
Status TaskRun::annotate(Step& step, const rpc::ArtifactSet& set, const StepStop& stop) {
  Report all;
  for (const rpc::ArtifactFile& file : set.files) {
    if (stop.stopped()) return error(Code::Cancelled, "the step was stopped");
    const std::string text = CIRRUS_TRY(
        os::read_file(working_directory_ / file.path, kMaxReport).note("reading {}", file.path));
    Report report = CIRRUS_TRY(read_report(set.format, text).note("reading {}", file.path));
    all.passed += report.passed;
    all.left_out += report.left_out;
    for (wire::Annotation& one : report.annotations) all.add(std::move(one));
  }
  if (!all.annotations.empty()) {
    fix_paths(all.annotations, PathIndex(working_directory_, stop.token()));
    post_annotations(all.annotations);
  }
  step.log.write(
      fmt::format("Annotations: {}{}{}.\n", all.annotations.size(),
                  all.left_out == 0 ? "" : fmt::format(", and {} left out", all.left_out),
                  all.passed == 0 ? "" : fmt::format("; {} passed", all.passed)));
  return {};
}

void TaskRun::post_annotations(std::vector<wire::Annotation>& annotations) {
  gateway::v1::AgentMessage::Event event;
  std::size_t bytes = 0;
  for (wire::Annotation& one : annotations) {
    one.set_message(as_shown(shorten(one.message(), kMaxDetails)));
    one.set_raw_details(as_shown(shorten(one.raw_details(), kMaxDetails)));
    if (one.has_file_location()) {
      // That of a file which was found by its name.
      std::string& path = *one.mutable_file_location()->mutable_path();
      path = as_utf8(path);
    }
    bytes += one.ByteSizeLong();
    *event.mutable_annotations()->add_annotations() = std::move(one);
    if (bytes < kMaxBatch) continue;
    parts_.outbox.post(std::exchange(event, {}));
    bytes = 0;
  }
  if (bytes > 0) parts_.outbox.post(std::move(event));
}

}  // namespace cirrus::agent
