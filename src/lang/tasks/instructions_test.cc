// SPDX-License-Identifier: MIT
#include "lang/tasks/instructions.h"

#include <gtest/gtest.h>

#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::command_names;
using testing::evaluated;
using testing::only_task;
using testing::place;

pb::Task task_with(const std::string& yaml, const EvaluateOptions& options = {}) {
  return only_task(evaluated("task:\n  persistent_worker: {}\n" + yaml, options));
}

std::string scripts_of(const std::string& yaml) {
  const pb::Task task = task_with(yaml);
  if (task.commands_size() < 2) return "no script: " + task.name();
  const auto& lines = task.commands(1).script_instruction().scripts();
  return join({lines.begin(), lines.end()}, "|");
}

TEST(Instructions, ScriptsKeepTheirLines) {
  EXPECT_EQ(scripts_of("  script: a"), "a");
  EXPECT_EQ(scripts_of("  script: |\n    a\n    b\n"), "a|b|");
  EXPECT_EQ(scripts_of("  script: |-\n    a\n    b\n"), "a|b");
  EXPECT_EQ(scripts_of("  script: [a, \"b\\nc\"]"), "a|b|c");
  EXPECT_EQ(scripts_of("  script: [a, null, b]"), "a|b");
  EXPECT_EQ(scripts_of("  script:\n    - echo \"TODO: x\"\n    - echo hi: there\n"),
            "echo \"TODO: x\"|echo hi: there");
  EXPECT_EQ(scripts_of("  script: [a, [b, c], d]"), "a|d");
  EXPECT_EQ(scripts_of("  script: $HOME"), "$HOME");
  EXPECT_EQ(scripts_of("  script:"), "");
  EXPECT_EQ(scripts_of("  script:\n    - ps: Hé\n"),
            "powershell.exe -OutputFormat Text -NoLogo -EncodedCommand SADpAA==");
}

TEST(Instructions, NamesAndOrder) {
  EXPECT_EQ(command_names(task_with("  script: a\n  b_script: b\n  c_background_script: c\n")),
            "clone, main, b, c");
  EXPECT_EQ(command_names(task_with("  background_script: a\n")), "clone, main");
  EXPECT_EQ(
      command_names(task_with("  artifacts: {path: a}\n  file: {path: a, from_contents: b}\n")),
      "clone, binary, file");
  EXPECT_EQ(command_names(task_with("  x_artifacts: {name: $N, path: a}\n  env: {N: out}\n")),
            "clone, out");
  EXPECT_EQ(command_names(task_with("  _script: a\n")), "clone, ");
  EXPECT_EQ(command_names(task_with("  clone_script: a\n  b_script: b\n")), "clone, b");
  EXPECT_EQ(command_names(task_with("  b_script: b\n  on_failure: {clone_script: c}\n")),
            "b, -clone");
  // Of equal keys the last counts, where it stands.
  const pb::Task task = task_with("  a_script: 1\n  b_script: 2\n  a_script: 3\n");
  EXPECT_EQ(command_names(task), "clone, b, a");
  EXPECT_EQ(task.commands(2).script_instruction().scripts(0), "3");
}

TEST(Instructions, BehavioursAreFlattenedInPlace) {
  EXPECT_EQ(
      command_names(task_with(
          "  a_script: x\n  always: {b_script: x, c_artifacts: {path: p}}\n"
          "  on_failure: {d_script: x}\n  on_timeout: {e_script: x}\n  on_success: {f_script: x}\n"
          "  always: {g_script: x}\n  h_script: x\n")),
      "clone, a, !b, !c, -d, ~e, f, !g, h");
  // No behaviours inside behaviours.
  EXPECT_EQ(command_names(task_with("  always: {on_failure: {a_script: x}, b_script: x}\n")),
            "clone, !b");
  EXPECT_EQ(command_names(task_with("  always: {a_script: 1, a_script: 2}\n")), "clone, !a");
}

TEST(Instructions, CachesUploadThemselves) {
  EXPECT_EQ(
      command_names(task_with("  a_cache: {folder: x}\n  script: y\n  b_cache: {folders: [z]}\n")),
      "clone, a, main, b, Upload 'a' cache, Upload 'b' cache");
  EXPECT_EQ(
      command_names(task_with(
          "  a_cache: {folder: x}\n  script: y\n  upload_caches: a\n  b_cache: {folder: z}\n")),
      "clone, a, main, Upload 'a' cache, b");
  EXPECT_EQ(command_names(task_with("  always: {a_cache: {folder: x}}\n")),
            "clone, !a, !Upload 'a' cache");
  EXPECT_EQ(command_names(task_with("  a_cache: {folder: x}\n  always: {upload_caches: [a]}\n")),
            "clone, a, !Upload 'a' cache");
  // Any earlier command can be named.
  EXPECT_EQ(command_names(task_with("  a_script: x\n  upload_caches: [a]\n")),
            "clone, a, Upload 'a' cache");
}

TEST(Instructions, CacheFields) {
  const auto cache = [](const std::string& fields) {
    return task_with("  env: {V: v}\n  cache: {" + fields + "}\n").commands(1).cache_instruction();
  };
  EXPECT_EQ(cache("folder: ' ~/x '").folders(0), "$HOME/x");
  EXPECT_EQ(cache("folder: ~").folders(0), "~");
  EXPECT_EQ(cache("folders: [$V/a, b]").folders(0), "v/a");
  EXPECT_TRUE(cache("folder: x").reupload_on_changes());
  EXPECT_FALSE(cache("folder: x, fingerprint_key: k").reupload_on_changes());
  EXPECT_TRUE(
      cache("folder: x, fingerprint_key: k, reupload_on_changes: true").reupload_on_changes());
  EXPECT_FALSE(cache("folder: x, reupload_on_changes: $V == 'w'").reupload_on_changes());
  EXPECT_EQ(cache("folder: x, fingerprint_key: k-$V").fingerprint_key(), "k-v");
  EXPECT_EQ(
      cache("folder: x, fingerprint_script: [a, b], populate_script: p").fingerprint_scripts_size(),
      2);
  EXPECT_TRUE(
      cache("folder: x, optimistically_restore_on_miss: true").optimistically_restore_on_miss());
  EXPECT_EQ(cache("folder: '', folders: [a]").folders_size(), 1);
}

TEST(Instructions, SaveOnIsOurs) {
  EvaluateOptions ours;
  ours.our_extensions = true;
  const std::string yaml = "  cache: {folder: x, save_on: always}\n";
  EXPECT_EQ(task_with(yaml).commands(1).properties().count("save_on"), 0u);
  EXPECT_EQ(task_with(yaml, ours).commands(1).properties().at("save_on"), "always");
  EXPECT_EQ(
      place(evaluated(
          "task:\n  persistent_worker: {}\n  cache:\n    folder: x\n    save_on: never\n", ours)),
      "5:5");
}

TEST(Instructions, ArtifactsAndFiles) {
  const pb::Task task = task_with(
      "  env: {V: v}\n  a_artifacts: {path: a, paths: [$V, c], type: t, format: f}\n"
      "  b_artifacts: {paths: [b], path: a}\n  c_artifacts: {}\n"
      "  d_file: {path: $V, variable_name: $X, from_contents: c}\n  e_file: {path: p, "
      "from_contents: x, variable_name: $$Y}\n");
  EXPECT_EQ(task.commands(1).artifacts_instruction().paths_size(), 2);
  EXPECT_EQ(task.commands(1).artifacts_instruction().paths(0), "v");
  EXPECT_EQ(task.commands(2).artifacts_instruction().paths(0), "a");
  EXPECT_EQ(task.commands(2).artifacts_instruction().paths_size(), 1);
  EXPECT_TRUE(task.commands(3).has_artifacts_instruction());
  EXPECT_EQ(task.commands(4).file_instruction().from_contents(), "c");
  EXPECT_EQ(task.commands(5).file_instruction().from_environment_variable(), "$Y");
}

TEST(Instructions, ListsThatExpandToBracketsAreSplit) {
  const auto paths = [](const std::string& yaml) {
    const pb::Task task =
        task_with("  env: {L: '[a, b]', M: x}\n  artifacts: {paths: " + yaml + "}\n");
    const auto& list = task.commands(1).artifacts_instruction().paths();
    return join({list.begin(), list.end()}, "|");
  };
  EXPECT_EQ(paths("$L"), "a|b");
  EXPECT_EQ(paths("[$L, c]"), "a|b|c");
  EXPECT_EQ(paths("'[$M,$M]'"), "x|x");
  EXPECT_EQ(paths("'[a, b]'"), "[a, b]");  // unchanged by expansion
}

TEST(Instructions, ErrorsHaveTheirPlace) {
  const struct {
    const char* yaml;
    const char* place;
  } cases[] = {
      {"  script: {a: b}\n", "3:3"},
      {"  script:\n    - a: {b: c}\n", "4:7"},
      {"  script:\n    - a: b\n      c: [d]\n", "5:7"},
      {"  cache: {}\n", "3:3"},
      {"  cache: {folder: a, folders: [b]}\n", "3:3"},
      {"  cache: {folder: a, fingerprint_key: k, fingerprint_script: s}\n", "3:3"},
      {"  cache:\n    folder: [a]\n", "4:5"},
      {"  cache:\n    folder: a\n    reupload_on_changes: x\n", "5:5 expression"},
      {"  upload_caches: nope\n", "3:3"},
      {"  a_cache: {folder: x}\n  upload_caches: a\n  upload_caches: a\n", "5:3"},
      {"  a_cache: {folder: x}\n  upload_caches: [a, a]\n", "1:1 basic"},
      {"  file: {from_contents: x}\n", "3:3"},
      {"  file: {path: x}\n", "3:3"},
      {"  dockerfile: x\n", "3:3"},
      {"  artifacts:\n    path: [a]\n", "4:5"},
      {"  a_script: x\n  a_cache: {folder: y}\n", "1:1 basic"},
      {"  on_failure:\n    script: {a: b}\n", "4:5"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(place(evaluated(std::string("task:\n  persistent_worker: {}\n") + c.yaml)), c.place);
  }
}

TEST(Instructions, EqualNamesNameBothInstructions) {
  const Outcome outcome =
      evaluated("task: {persistent_worker: {}, a_script: x, a_cache: {folder: y}}");
  EXPECT_EQ(
      testing::message(outcome),
      "task 'main' has two commands called 'a': a script instruction and a cache instruction");
}

}  // namespace
}  // namespace cirrus::lang
