// SPDX-License-Identifier: MIT
// Names, inherited settings, environments and conditions of tasks.
#include "lang/tasks/task.h"

#include <gtest/gtest.h>

#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::env;
using testing::evaluated;
using testing::issue_places;
using testing::message;
using testing::only_task;
using testing::place;
using testing::property;
using testing::task_names;

const std::string kBox = "container: {image: a}\n";

TEST(Task, NamesComeFromKeysAndNameFields) {
  const struct {
    const char* yaml;
    const char* names;
  } cases[] = {
      {"task: {}", "main"},
      {"build_task: {}", "build"},
      {"multitask: {}", "multi"},
      {".hidden_task: {}", ".hidden"},
      {"_task: {}", ""},
      {"a__task: {}", "a_"},
      {"task: {name: x}", "x"},
      {"task: {name: ''}", "main"},
      {"task: {name: $N-%N%, env: {N: 1}}", "1-1"},
      {"task: {}\ntask: {name: b}\nother: {}", "main b"},
      {"docker_builder: {}", "main"},
      {"x_docker_builder: {}", "x"},
      {"a_pipe: {steps: [{image: i, script: s}]}", "a"},
      {"task:", "main"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(task_names(evaluated(kBox + c.yaml)), c.names);
  }
}

TEST(Task, EnvironmentPrecedenceFollowsDocumentOrder) {
  const struct {
    const char* yaml;
    const char* value;  ///< of A
  } cases[] = {
      {"env: {A: 1}\ntask: {}", "1"},
      {"env: {A: 1}\ntask: {env: {A: 2}}", "2"},
      {"task: {env: {A: 2}}\nenv: {A: 1}", "2"},
      {"env: {A: 1}\nenvironment: {A: 2}\ntask: {}", "1"},
      // An environment in the task lifts the root's above the root's env.
      {"env: {A: 1}\nenvironment: {A: 2}\ntask: {environment: {B: 3}}", "2"},
      {"task: {environment: {A: 1}, env: {A: 2}}", "2"},
      {"task: {env: {A: 2}, environment: {A: 1}}", "1"},
      {"task: {env: {A: [x, y]}}", "x\ny"},
      {"task: {env: [{A: 1}, {A: 2}]}", "2"},
      {"task: {env: {A: $B, B: 2}}", "$B"},
      {"task: {env: {A: }}", ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    const Outcome outcome = evaluated(kBox + c.yaml);
    ASSERT_FALSE(outcome.error) << render(*outcome.error);
    EXPECT_EQ(env(only_task(outcome), "A"), c.value);
  }
}

TEST(Task, BuildVariablesWinInExpansionButAreNotStored) {
  EvaluateOptions options;
  options.environment = {{"A", "build"}};
  const pb::Task task = only_task(evaluated(kBox + "task: {name: $A, env: {A: task}}", options));
  EXPECT_EQ(task.name(), "build");
  EXPECT_EQ(env(task, "A"), "task");
  EXPECT_EQ(env(only_task(evaluated(kBox + "task: {}", options)), "A"), "(unset)");
}

TEST(Task, OsVariableFollowsTheInstance) {
  const struct {
    const char* yaml;
    const char* value;
  } cases[] = {
      {"task: {container: {image: a}}", "linux"},
      {"task: {windows_container: {image: a}}", "windows"},
      {"task: {macos_instance: {image: a}}", "darwin"},
      {"task: {persistent_worker: {}}", "(unset)"},
      {"task: {env: {CIRRUS_OS: x}, persistent_worker: {}}", "(unset)"},
      {"task: {persistent_worker: {}, env: {CIRRUS_OS: x}}", "x"},
      {"task: {container: {image: a}, env: {CIRRUS_OS: x}}", "x"},
      {"task: {env: {CIRRUS_OS: x}, container: {image: a}}", "linux"},
      {"env: {CIRRUS_OS: x}\ntask: {container: {image: a}}", "linux"},
      {"container: {image: a}\ntask: {persistent_worker: {isolation: {vetu: {image: a}}}}",
       "linux"},
      {"task: {persistent_worker: {isolation: {tart: {image: a}}}}", "darwin"},
      {"task: {persistent_worker: {isolation: {parallels: {image: a, platform: Windows}}}}",
       "windows"},
      {"task: {persistent_worker: {isolation: {parallels: {image: a}}}}", "linux"},
      {"docker_builder: {env: {CIRRUS_OS: x}}", "x"},
      {"docker_builder: {}", "linux"},
      {"docker_builder: {platform: Windows}", "Windows"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(env(only_task(evaluated(c.yaml)), "CIRRUS_OS"), c.value);
  }
}

TEST(Task, SettingsBecomeProperties) {
  const pb::Task task =
      only_task(evaluated(kBox + "skip: true\ntask: {allow_failures: $CI == 'x', timeout_in: 90s, "
                                 "alias: a-$N, env: {CI: x, N: 1}}"));
  EXPECT_EQ(task.status(), pb::SKIPPED);
  EXPECT_EQ(property(task, "allow_failures"), "true");
  EXPECT_EQ(property(task, "timeout_in"), "90");
  EXPECT_EQ(property(task, "alias"), "a-1");
  EXPECT_EQ(property(task, "trigger_type"), "AUTOMATIC");
  EXPECT_EQ(property(task, "auto_cancellation"), "(unset)");
  EvaluateOptions branch;
  branch.environment = {{"CIRRUS_BRANCH", "x"}, {"CIRRUS_DEFAULT_BRANCH", "main"}};
  EXPECT_EQ(property(only_task(evaluated(kBox + "task: {}", branch)), "auto_cancellation"), "true");
}

TEST(Task, HostedPropertiesAreCheckedAndStored) {
  const EvaluateOptions options = controller_options();
  const pb::Task task =
      only_task(evaluated(kBox + "execution_lock: $B\ntask: {trigger_type: manual, "
                                 "required_pr_labels: [a, b], stateful: 'true', env: {B: x}}",
                          options));
  EXPECT_EQ(property(task, "trigger_type"), "MANUAL");
  EXPECT_EQ(property(task, "required_pr_labels"), "a\nb");
  EXPECT_EQ(property(task, "execution_lock"), "x");
  EXPECT_EQ(property(task, "stateful"), "true");
  const Outcome wrong = evaluated(kBox + "task:\n  trigger_type: sometimes\n", options);
  EXPECT_EQ(place(wrong), "3:3");
  EXPECT_EQ(message(wrong), "'trigger_type' must be automatic or manual, found 'sometimes'");
}

TEST(Task, ConditionsDecideWhetherTasksExist) {
  const struct {
    const char* yaml;
    const char* names;
  } cases[] = {
      {"only_if: false\ntask: {}", ""},
      {"only_if: false\ntask: {only_if: true}", "main"},
      {"task: {only_if: ''}", "main"},
      {"task: {only_if: }", "main"},
      {"a_task: {only_if: $CIRRUS_TASK_NAME == 'a'}\nb_task: {only_if: $CIRRUS_TASK_NAME == 'a'}",
       "a"},
      {"task: {name: n, only_if: \"$CIRRUS_TASK_NAME == 'n'\"}", "n"},
      {"task:\n  only_if: >\n    $X == '' &&\n    true\n", "main"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(task_names(evaluated(kBox + c.yaml)), c.names);
  }
  const Outcome outcome = evaluated(kBox + "a_task: {only_if: false}\nb_task: {}\nc_task: {}");
  EXPECT_EQ(outcome.evaluation.tasks_count_before_filtering, 3);
  EXPECT_EQ(outcome.evaluation.tasks[0].local_group_id(), 1);
  EXPECT_EQ(property(outcome.evaluation.tasks[0], "indexWithinBuild"), "0");
  EXPECT_EQ(evaluated(kBox + "task: {only_if: false}").evaluation.tasks_count_before_filtering, 0);
  EXPECT_EQ(env(only_task(evaluated(kBox + "task: {only_if: true}")), "CIRRUS_TASK_NAME"),
            "(unset)");
}

TEST(Task, ErrorsHavePlaceAndKind) {
  const struct {
    const char* yaml;
    const char* place;
  } cases[] = {
      {"task:\n  skip: maybe\n", "2:3 expression"},
      {"task:\n  skip:\n", "2:3 expression"},
      {"task:\n  only_if: maybe\n", "2:3 expression"},
      {"task:\n  timeout_in: soon\n", "2:3"},
      {"task:\n  env:\n", "2:3"},
      {"task:\n  env: [a]\n", "2:3"},
      {"task:\n  env:\n    A: {b: c}\n", "3:5"},
      {"task:\n  env:\n    A:\n      - [b]\n", "4:9"},
      {"task:\n  name: [a]\n", "2:3"},
      {"task:\n  depends_on: {a: b}\n", "2:3"},
      {"task:\n  depends_on:\n    - [a]\n", "2:3"},
      {"task:\n  only_if: [a]\n", "2:3"},
      {"a: [\n", "2:1 syntax"},
      {"- a\n", "1:1"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EvaluateOptions options;
    options.missing_instances_allowed = true;
    EXPECT_EQ(place(evaluated(c.yaml, options)), c.place);
  }
}

TEST(Task, ATaskWithoutInstanceIsAnErrorUnlessAllowed) {
  const Outcome outcome = evaluated("x: 1\ntask:\n  script: date\n");
  EXPECT_EQ(place(outcome), "2:1");
  EvaluateOptions options;
  options.missing_instances_allowed = true;
  EXPECT_FALSE(only_task(evaluated("task: {script: date}", options)).has_instance());
  const Outcome misspelt = evaluated("persistant_worker: {}\ntask: {script: date}");
  EXPECT_EQ(misspelt.error->hint,
            "did you mean 'persistent_worker' instead of 'persistant_worker'?");
}

TEST(Task, WarnsAboutTaskPrefixesAndMisshapenNodes) {
  EXPECT_EQ(issue_places(evaluated(kBox + "task_foo: {script: x}")), "2:1 warning");
  EXPECT_EQ(issue_places(evaluated(kBox + "task_foo_task: {script: x}")), "2:1 warning");
  EXPECT_EQ(issue_places(evaluated(kBox + "task: text")), "2:1 warning");
  EXPECT_EQ(issue_places(evaluated(kBox + "task: [a]")), "2:1 warning");
  EXPECT_EQ(issue_places(evaluated(kBox + "task:\n")), "");
  // Evaluated twice, so reported twice.
  EXPECT_EQ(issue_places(evaluated("task:\n  container: text\n")), "2:3 warning, 2:3 warning");
}

TEST(Task, WarnsOfMisspeltFieldsWithTheNearestName) {
  const struct {
    const char* name;
    const char* yaml;
    const char* places;
    const char* suggestion;
  } cases[] = {
      {"of a task", "task: {depend_on: a}", "2:8 warning", "depends_on"},
      {"an instruction", "task: {build_scirpt: a}", "2:8 warning", "build_script"},
      {"without a name", "task: {scripts: a}", "2:8 warning", "script"},
      {"in a behaviour", "task: {always: {x_artefacts: {path: a}}}", "2:17 warning", "x_artifacts"},
      {"of a cache", "task: {x_cache: {folder: a, fingerprint_scrpt: b}}", "2:29 warning",
       "fingerprint_script"},
      {"of artifacts", "task: {x_artifacts: {pahts: a}}", "2:22 warning", "paths"},
      {"of a file", "task: {x_file: {path: a, from_content: b, variable_name: V}}", "2:26 warning",
       "from_contents"},
      {"of a container", "task: {container: {image: a, memroy: 1G}}", "2:30 warning", "memory"},
      {"of a companion", "task: {container: {additional_containers: [{image: a, prot: 1}]}}",
       "2:55 warning", "port"},
      {"of a worker", "task: {persistent_worker: {label: {a: b}}}", "2:28 warning", "labels"},
      {"an isolation", "task: {persistent_worker: {isolation: {none: {}, contaner: {}}}}",
       "2:50 warning", "container"},
      {"of an isolation", "task: {persistent_worker: {isolation: {vetu: {image: a, disksize: 5}}}}",
       "2:57 warning", "disk_size"},
      {"of a builder", "docker_builder: {platfrom: linux}", "2:18 warning", "platform"},
      {"of a pipe", "pipe: {resource: {cpu: 1}, steps: [{image: i, script: s}]}", "2:8 warning",
       "resources"},
      {"at the top", "enviroment: {A: 1}\ntask: {}", "2:1 warning", "environment"},
      {"a task's key", "build_tsak: {}\ntask: {}", "2:1 warning", "build_task"},
      {"once per place", "task: {matrix: [{name: a}, {name: b}], timout_in: 5m}", "2:40 warning",
       "timeout_in"},
      {"own keys are nobody's mistake",
       "linux_container: &l {image: a}\ntask: {.x: 1, settings: 1, my_thing: 2, os: 3}", "", ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Outcome outcome = evaluated(kBox + c.yaml, controller_options());
    EXPECT_FALSE(outcome.error) << message(outcome);
    EXPECT_EQ(issue_places(outcome), c.places);
    EXPECT_EQ(issue_places(evaluated(kBox + c.yaml)), "") << "the reference says nothing";
    if (outcome.evaluation.issues.empty()) continue;
    const std::string& text = outcome.evaluation.issues.front().message();
    EXPECT_NE(text.find(fmt::format("did you mean '{}'?", c.suggestion)), std::string::npos)
        << text;
  }
}

TEST(Task, ManyMisspeltFieldsAreReportedUpToABound) {
  std::string yaml = kBox + "task:\n";
  for (int i = 0; i < 500; ++i) yaml += "  depend_on: x\n";
  EXPECT_LE(evaluated(yaml, controller_options()).evaluation.issues.size(), 100u);
}

TEST(Task, AnUnquotedExclamationMarkGetsAHint) {
  const Outcome tag = evaluated(kBox + "task:\n  skip: !changesInclude('a')\n");
  EXPECT_EQ(place(tag), "3:3 expression");
  EXPECT_EQ(tag.error->hint, "put the condition in quotes: skip: \"!changesInclude('a')\"");
  const Outcome syntax = evaluated(kBox + "task:\n  skip: !changesInclude('a', 'b')\n");
  ASSERT_TRUE(syntax.error);
  EXPECT_EQ(syntax.error->kind, ErrorKind::Syntax);
  EXPECT_NE(syntax.error->hint.find("skip: \"!changesInclude('a', 'b')\""), std::string::npos)
      << syntax.error->hint;
}

TEST(Task, PipesAndBuildersHaveTheirOwnRules) {
  const pb::Task pipe = only_task(evaluated(
      "pipe:\n  resources: {cpu: 0, memory: 2G}\n  steps:\n    - image: a\n      one_script: x\n   "
      "   b_background_script: y\n    - image: b\n      two_script: z\n"));
  EXPECT_EQ(testing::command_names(pipe), "clone, one, b_background, two");
  EXPECT_TRUE(pipe.commands(2).has_script_instruction());
  EXPECT_EQ(pipe.commands(0).properties().at("image"), "a");
  EXPECT_EQ(pipe.commands(1).properties().count("image"), 0u);
  EXPECT_EQ(pipe.commands(3).properties().at("image"), "b");
  const struct {
    const char* yaml;
    const char* place;
  } cases[] = {
      {"pipe:\n  name: x\n", "1:1"},
      {"pipe:\n  steps: x\n", "2:3"},
      {"pipe:\n  steps:\n    - script: x\n", "3:7"},
      {"pipe:\n  steps:\n    - image: x\n", "3:7"},
      {"docker_builder:\n  platform: beos\n", "2:3"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(place(evaluated(c.yaml)), c.place);
  }
}

TEST(Task, AStarlarkScriptIsNeverSilent) {
  const Outcome outcome = evaluated(kBox + "task: {}", {}, {{".cirrus.star", "def main(): pass"}});
  EXPECT_EQ(issue_places(outcome), "1:1 error");
  EXPECT_EQ(outcome.evaluation.issues[0].path(), ".cirrus.star");
  EXPECT_EQ(task_names(outcome), "main");
}

}  // namespace
}  // namespace cirrus::lang
