// SPDX-License-Identifier: MIT
#include "lang/tasks/instances.h"

#include <gtest/gtest.h>

#include "lang/json.h"
#include "lang/tasks/shell_words.h"
#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::evaluated;
using testing::instance_of;
using testing::message;
using testing::only_task;
using testing::place;

template <typename Message>
Message task_instance(const std::string& yaml, const EvaluateOptions& options = {}) {
  const Outcome outcome = evaluated("task:\n" + yaml, options);
  EXPECT_FALSE(outcome.error) << render(*outcome.error);
  return instance_of<Message>(only_task(outcome));
}

TEST(Instances, ContainersHaveDefaultsAndZeroCountsAsAbsent) {
  const auto plain = task_instance<pb::ContainerInstance>("  container: {image: a}");
  EXPECT_EQ(plain.cpu(), 2);
  EXPECT_EQ(plain.memory(), 4096u);
  EXPECT_EQ(plain.architecture(), pb::AMD64);
  const auto zero = task_instance<pb::ContainerInstance>("  container: {cpu: 0, memory: 0}");
  EXPECT_EQ(zero.cpu(), 2);
  EXPECT_EQ(zero.memory(), 4096u);
  EXPECT_EQ(task_instance<pb::ContainerInstance>("  arm_container: {image: a}").architecture(),
            pb::ARM64);
  const auto windows =
      task_instance<pb::ContainerInstance>("  windows_container: {image: a, os_version: 1709}");
  EXPECT_EQ(windows.platform(), pb::WINDOWS);
  EXPECT_EQ(windows.os_version(), "1709");
  const auto mac = task_instance<pb::MacOSInstance>("  macos_instance: {image: a}");
  EXPECT_EQ(mac.user() + mac.password(), "adminadmin");
  EXPECT_EQ(mac.cpu(), 4u);
  EXPECT_EQ(mac.memory(), 8192u);
}

TEST(Instances, AnImageWinsOverADockerfileBeforeIt) {
  EXPECT_EQ(task_instance<pb::ContainerInstance>(
                "  container: {dockerfile: d, image: a, docker_arguments: {k: v}}")
                .dockerfile(),
            "");
  EXPECT_TRUE(task_instance<pb::ContainerInstance>(
                  "  container: {dockerfile: d, image: a, docker_arguments: {k: v}}")
                  .docker_arguments()
                  .empty());
  const Outcome built = evaluated(
      "task: {container: {image: a, dockerfile: d, docker_arguments: [{k: $V}, {l: 1}]}, env: {V: "
      "x}}",
      {}, {{"d", "FROM x"}});
  const auto container = instance_of<pb::ContainerInstance>(built.evaluation.tasks.at(0));
  EXPECT_EQ(container.dockerfile(), "d");
  EXPECT_EQ(container.docker_arguments().at("k"), "x");
  EXPECT_NE(container.image(), "a");
}

TEST(Instances, AdditionalContainersAreChecked) {
  const auto box = task_instance<pb::ContainerInstance>(
      "  env: {X: 1}\n  container:\n    additional_containers:\n      - name: db\n        image: "
      "my$X\n"
      "        ports: [80, '8080:81']\n        command: run 'a b' \\\"c # no\n        "
      "readiness_command: check $X\n"
      "        env: {K: $X}\n        privileged: true\n");
  ASSERT_EQ(box.additional_containers_size(), 1);
  const pb::AdditionalContainer& db = box.additional_containers(0);
  EXPECT_EQ(db.image(), "my1");
  EXPECT_EQ(db.cpu(), 0.5);
  EXPECT_EQ(db.memory(), 512u);
  EXPECT_EQ(db.ports(1).host_port(), 8080u);
  EXPECT_EQ(db.ports(1).container_port(), 81u);
  EXPECT_EQ(db.environment().at("K"), "$X");
  EXPECT_EQ(join({db.command().begin(), db.command().end()}, "|"), "run|a b|\"c");
  EXPECT_EQ(db.readiness_command(0), "check $X");
  EXPECT_TRUE(db.privileged());
  const std::string head = "task:\n  container:\n    additional_containers:\n";
  const struct {
    const char* yaml;
    const char* place;
  } cases[] = {
      {"      - name: x\n", "4:9"},
      {"      - name: x1\n        image: a\n", "4:9"},
      {"      - image: a\n        name: main\n", "5:9"},
      {"      - image: a\n        port: 1\n        ports: [2]\n", "4:9"},
      {"      - image: a\n        port: http\n", "5:9"},
      {"      - image: a\n        port: 1:2:3\n", "5:9"},
      {"      - image: a\n        port: 70000\n", "5:9"},
      {"      - image: a\n        command: \"it's\"\n", "5:9"},
      {"      - image: a\n        cpu: fast\n", "5:9 number"},
      {"      - image: a\n        memory: much\n", "5:9"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(place(evaluated(head + c.yaml)), c.place);
  }
}

TEST(Instances, TheLastKindInTheTaskWins) {
  const auto kind_of = [](const std::string& yaml) {
    const std::string url = only_task(evaluated(yaml)).instance().type_url();
    return url.substr(url.rfind('.') + 1);
  };
  EXPECT_EQ(kind_of("task: {persistent_worker: {}, container: {image: a}}"), "ContainerInstance");
  EXPECT_EQ(kind_of("task: {container: {image: a}, persistent_worker: {}}"),
            "PersistentWorkerInstance");
  EXPECT_EQ(kind_of("persistent_worker: {}\ntask: {container: {image: a}}"), "ContainerInstance");
  EXPECT_EQ(kind_of("persistent_worker: {}\ncontainer: {image: a}\ntask: {}"),
            "PersistentWorkerInstance");
  // A broken inherited kind is forgotten when another one works.
  EXPECT_EQ(kind_of("container: {image: [a]}\npersistent_worker: {}\ntask: {}"),
            "PersistentWorkerInstance");
  EXPECT_EQ(place(evaluated("persistent_worker: {}\ntask:\n  container:\n    image: [a]\n")),
            "4:5");
}

TEST(Instances, PersistentWorkersCarryLabelsResourcesAndIsolation) {
  const auto worker = task_instance<pb::PersistentWorkerInstance>(
      "  env: {OS: linux}\n  persistent_worker:\n    labels: [{os: $OS}, {gpu: 'yes'}]\n    "
      "resources: {slots: 1.5}\n");
  EXPECT_EQ(worker.labels().at("os"), "linux");
  EXPECT_EQ(worker.labels().at("gpu"), "yes");
  EXPECT_EQ(worker.resources().at("slots"), 1.5);
  EXPECT_FALSE(worker.has_isolation());
  EXPECT_EQ(place(evaluated("task:\n  persistent_worker:\n    resources:\n      slots: many\n")),
            "4:7");

  const auto isolation = [](const std::string& yaml) {
    return task_instance<pb::PersistentWorkerInstance>("  persistent_worker:\n    isolation: " +
                                                       yaml)
        .isolation();
  };
  EXPECT_TRUE(isolation("{none: {}}").has_none());
  EXPECT_TRUE(isolation("{tart: {image: a}, none: }").has_none());
  EXPECT_EQ(isolation("{vetu: {image: a}, tart: {image: b}}").tart().image(), "b");
  EXPECT_EQ(
      isolation(
          "{tart: {image: b, port: 22, softnet: true, volumes: [{source: /a, readonly: true}]}}")
          .tart()
          .volumes(0)
          .read_only(),
      true);
  EXPECT_EQ(isolation("{tart: {image: b}}").tart().user(), "admin");
  EXPECT_EQ(isolation("{tart: {image: b}}").tart().memory(), 0u);
  EXPECT_TRUE(
      isolation("{vetu: {image: a, networking: {host: 1}, disk_size: 50}}").vetu().has_host());
  EXPECT_EQ(
      isolation("{container: {image: a, volumes: '/a:/b:ro'}}").container().volumes(0).read_only(),
      true);
  EXPECT_EQ(isolation("{container: {image: a}}").container().memory(), 4096u);
}

TEST(Instances, AnIsolationNobodyCanRunIsReported) {
  const Outcome outcome =
      evaluated("task:\n  persistent_worker:\n    isolation:\n      docker: {}\n");
  EXPECT_FALSE(outcome.error);
  EXPECT_EQ(testing::issue_places(outcome), "3:5 warning, 3:5 warning");
}

TEST(Instances, IsolationErrorsHaveTheirPlace) {
  const std::string head = "task:\n  persistent_worker:\n    isolation:\n";
  const struct {
    const char* yaml;
    const char* place;
  } cases[] = {
      {"      parallels:\n        platform: beos\n", "5:9"},
      {"      container:\n        dockerfile: d\n", "5:9"},
      {"      container:\n        volumes: [a]\n", "5:9"},
      {"      container:\n        volumes: ['a:b:rw']\n", "5:9"},
      {"      container:\n        volumes: {a: b}\n", "5:9"},
      {"      container:\n        cpu: x\n", "5:9 number"},
      {"      tart:\n        port: 70000\n", "5:9"},
      {"      tart:\n        cpu: x\n", "5:9"},
      {"      tart:\n        softnet: x\n", "5:9 expression"},
      {"      tart:\n        volumes:\n          - name: x\n", "6:13"},
      {"      vetu:\n        networking: {}\n", "5:9"},
      {"      vetu:\n        disk_size: 50G\n", "5:9"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(place(evaluated(head + c.yaml)), c.place);
  }
}

TEST(Instances, OurFieldsNeedTheSwitch) {
  EvaluateOptions ours;
  ours.our_extensions = true;
  const std::string tart =
      "  persistent_worker: {isolation: {tart: {image: a, nested: true, disk_size: 80}}}";
  EXPECT_FALSE(task_instance<pb::PersistentWorkerInstance>(tart).isolation().tart().nested());
  EXPECT_TRUE(task_instance<pb::PersistentWorkerInstance>(tart, ours).isolation().tart().nested());
  EXPECT_EQ(task_instance<pb::PersistentWorkerInstance>(tart, ours).isolation().tart().disk_size(),
            80u);
  const std::string vetu =
      "  persistent_worker: {isolation: {vetu: {image: a, networking: {bridged: {interface: "
      "en0}}}}}";
  EXPECT_EQ(place(evaluated("task:\n" + vetu)), "2:52");
  EXPECT_EQ(task_instance<pb::PersistentWorkerInstance>(vetu, ours)
                .isolation()
                .vetu()
                .bridged()
                .interface(),
            "en0");
}

TEST(Instances, CloudKindsParseAndCarryTheirFields) {
  const EvaluateOptions options = controller_options();
  const struct {
    const char* yaml;
    const char* json;  ///< part of the instance
    const char* os;
  } cases[] = {
      {"freebsd_instance: {image_family: freebsd-14, cpu: 4}", R"("imageFamily":"freebsd-14")",
       "freebsd"},
      {"gce_instance: {image_name: a, platform: windows, scopes: [x, y]}", R"("scopes":["x","y"])",
       "windows"},
      {"gke_container: {image: a, nodeSelectorTerms: [{matchExpressions: [{key: k, operator: In, "
       "values: [v]}]}]}",
       R"("matchExpressions":[{"key":"k","operator":"In","values":["v"]}])", "linux"},
      {"ec2_instance: {image: a, architecture: arm64, spot: true}", R"("architecture":"ARM64")",
       "linux"},
      {"eks_instance: {image: a, memory: 8G}", R"("memory":8192)", "(unset)"},
      {"osx_instance: {image: a}", R"("image":"a")", "darwin"},
      {"compute_engine_instance: {platform: freebsd, cpu: 2}", R"("platform":"FREEBSD")",
       "freebsd"},
      {"azure_container_instance: {image: a}", R"("image":"a")", "linux"},
      {"oke_container: {cluster_id: c}", R"("clusterId":"c")", "(unset)"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    const Outcome outcome = evaluated(std::string("task:\n  ") + c.yaml, options);
    ASSERT_FALSE(outcome.error) << render(*outcome.error);
    const Result<std::string> json = tasks_to_json(outcome.evaluation.tasks);
    ASSERT_TRUE(json.ok()) << json.error().to_string();
    EXPECT_NE(json.value().find(c.json), std::string::npos) << json.value();
    EXPECT_EQ(testing::env(only_task(outcome), "CIRRUS_OS"), c.os);
  }
  EXPECT_EQ(
      testing::env(only_task(evaluated("task: {ec2_instance: {architecture: arm64}}", options)),
                   "CIRRUS_ARCH"),
      "arm64");
}

TEST(Instances, MessageKindsCheckTheirFields) {
  EvaluateOptions options;
  options.additional_instances = {
      {"box", "org.cirruslabs.ci.services.cirruscigrpc.ContainerInstance"},
      {"nowhere", "no.such.Message"}};
  const struct {
    const char* yaml;
    const char* place;
  } cases[] = {
      {"task:\n  box:\n    platform: beos\n", "3:5"},
      {"task:\n  box:\n    cpu: x\n", "3:5 number"},
      {"task:\n  box:\n    memory: x\n", "3:5"},
      {"task:\n  box:\n    privileged: x\n", "3:5 expression"},
      {"task:\n  box:\n    image: [x]\n", "3:5"},
      {"task:\n  box:\n    additional_containers: x\n", "3:5"},
      {"task:\n  box:\n    docker_arguments: x\n", "3:5"},
      {"task:\n  nowhere: {}\n", "2:3 basic"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    EXPECT_EQ(place(evaluated(c.yaml, options)), c.place);
  }
  // No defaults, unknown fields ignored; configuration fields are looked for further up.
  const auto box = instance_of<pb::ContainerInstance>(
      only_task(evaluated("registry_config: {b: 1, a: {c: [x]}}\ntask: {box: {image: a, planet: "
                          "moon, platform: darwin}}",
                          options)));
  EXPECT_EQ(box.cpu(), 0);
  EXPECT_EQ(box.platform(), pb::DARWIN);
  EXPECT_EQ(box.registry_config(), R"({"a":{"c":["x"]},"b":"1"})");
}

TEST(ShellWords, SplitsLikeAShell) {
  const struct {
    const char* text;
    const char* words;
  } cases[] = {
      {"a b", "a|b"},       {"  a\t b\n", "a|b"},
      {"'a b' c", "a b|c"}, {"\"a $b\" c", "a $b|c"},
      {"a\\ b", "a b"},     {"\"\\\"x\\y\"", "\"x\\y"},
      {"a # c", "a"},       {"a#b", "a#b"},
      {"''", ""},           {"", ""},
      {"a''b", "ab"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(join(shell_words(c.text).value(), "|"), c.words);
  }
  for (const char* text : {"'a", "\"a", "a\\"}) EXPECT_FALSE(shell_words(text).ok()) << text;
}

}  // namespace
}  // namespace cirrus::lang
