// SPDX-License-Identifier: MIT
#include "worker/settings.h"

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"
#include "rpc/endpoint.h"
#include "worker/settings_changes.h"
#include "worker/settings_reader.h"

namespace cirrus::worker {
namespace {

using org::cirruslabs::ci::services::cirruscigrpc::Isolation;

Flags flags_with_token() {
  Flags flags;
  flags.token = Secret("t");
  return flags;
}

Settings read(std::string_view yaml, const Flags& flags = flags_with_token()) {
  Result<Settings> settings = make_settings(flags, yaml, "w.yml", "host");
  EXPECT_TRUE(settings.ok()) << (settings.ok() ? "" : settings.error().to_string());
  return settings.ok() ? std::move(settings).value() : Settings{};
}

TEST(Settings, TheFileIsLaidOverTheFlags) {
  Flags flags = flags_with_token();
  flags.name = "flag";
  flags.labels = {{"a", "flag"}, {"b", "flag"}};
  flags.resources = {{"cpu", 1}};
  const Settings settings = read(
      "name: file\ntoken: file-token\nlabels:\n  b: file\n  slot: 2\n"
      "resources:\n  cpu: 7.5\n  gpu: 0.25\nrpc:\n  endpoint: http://h:1\n",
      flags);
  EXPECT_EQ(settings.name, "file");
  EXPECT_EQ(settings.upstreams.size(), 1U);
  EXPECT_EQ(settings.upstreams[0].token.reveal(), "file-token");
  EXPECT_EQ(settings.upstreams[0].endpoint, "http://h:1");
  EXPECT_EQ(settings.labels,
            (std::map<std::string, std::string>{{"a", "flag"}, {"b", "file"}, {"slot", "2"}}));
  EXPECT_EQ(settings.resources, (std::map<std::string, double>{{"cpu", 7.5}, {"gpu", 0.25}}));
}

TEST(Settings, ANullMapDiscardsTheFlagsAndANullScalarKeepsThem) {
  Flags flags = flags_with_token();
  flags.name = "flag";
  flags.labels = {{"a", "flag"}};
  const Settings settings = read("labels:\nname:\nsecurity:\nlog:\n", flags);
  EXPECT_TRUE(settings.labels.empty());
  EXPECT_EQ(settings.name, "flag");
}

TEST(Settings, DefaultsAreTheReferences) {
  const Settings settings = read("");
  EXPECT_EQ(settings.name, "host");
  EXPECT_EQ(settings.upstreams[0].endpoint, rpc::kHostedEndpoint);
  EXPECT_EQ(settings.log.level, LogLevel::Info);
  EXPECT_EQ(settings.log.rotate_size, 0U);
  EXPECT_EQ(settings.log.max_rotations, 0U);
}

TEST(Settings, EveryMistakeHasAPlaceAndAName) {
  const struct {
    const char* name;
    const char* yaml;
    std::vector<const char*> parts;
  } cases[] = {
      {"top level", "lables: {}\n", {"1:1", "lables", "labels"}},
      {"twice", "name: a\nname: b\n", {"2:1", "name"}},
      {"log", "log:\n  levle: info\n", {"2:3", "levle", "level"}},
      {"rpc", "rpc:\n  endpont: x\n", {"2:3", "endpont"}},
      {"security", "security:\n  allowed-isolation: {}\n", {"2:3", "allowed-isolations"}},
      {"isolations",
       "security:\n  allowed-isolations:\n    none: {}\n    tarrt: {}\n",
       {"4:5", "tarrt"}},
      {"none has no keys", "security:\n  allowed-isolations:\n    none: {x: 1}\n", {"3:12", "x"}},
      {"tart",
       "security:\n  allowed-isolations:\n    tart:\n      allowed-image: []\n",
       {"4:7", "allowed-image"}},
      {"volume",
       "security:\n  allowed-isolations:\n    tart:\n      allowed-volumes:\n"
       "        - sauce: /x\n",
       {"5:11", "sauce"}},
      {"vetu", "security:\n  allowed-isolations:\n    vetu: {softnet-allow: []}\n", {"3:12"}},
      {"standby", "standby:\n  tart:\n    imge: x\n", {"3:5", "imge"}},
      {"standby twice",
       "standby:\n  tart: {image: x}\n  isolation:\n    tart: {image: x}\n",
       {"w.yml:2:3"}},
      {"number", "resources:\n  a: \"1\"\n", {"2:6", "'a'"}},
      {"infinite", "resources:\n  a: .inf\n", {"2:6"}},
      {"negative", "resources:\n  a: -1\n", {"2:6"}},
      {"size", "log:\n  rotate-size: big\n", {"2:16", "big"}},
      {"duration", "cancel-grace: 0\n", {"1:15", "'0'"}},
      {"bool", "security:\n  allowed-isolations:\n    tart: {force-softnet: maybe}\n", {"3:27"}},
      {"list", "security:\n  allowed-isolations:\n    tart: {allowed-images: x}\n", {"3:28"}},
      {"half a certificate", "rpc: {client-key-file: /k}\n", {"1:6", "belong together"}},
      {"token twice", "token-file: /x\ntoken: y\n", {"exclude each other"}},
      {"number of tasks", "max-tasks: -1\n", {"1:12", "max-tasks"}},
      {"idle time", "exit-after-idle: 5\n", {"1:18", "'5'"}},
      {"free space", "min-free-space: plenty\n", {"1:17", "plenty"}},
      {"inherited", "environment: {inherit: PATH}\n", {"1:24", "inherit"}},
      {"standby image", "standby:\n  tart: {cpu: 4}\n", {"image"}},
      {"standby memory", "standby:\n  tart: {image: x, memory: 1T}\n", {"2:28", "1T"}},
      {"standby count in single form", "standby:\n  tart: {image: x}\n  count: 2\n", {"count"}},
      {"mtu", "tuning: {vetu: {mtu: 70000}}\n", {"1:22", "mtu"}},
      {"longest", "security: {max-timeout: long}\n", {"1:25", "long"}},
      {"container",
       "security:\n  allowed-isolations:\n    container: {allowed-image: [x]}\n",
       {"3:17", "allowed-images"}},
      {"engine", "container: {engine: lxc}\n", {"1:21", "docker, podman or auto"}},
      {"pull", "container: {pull: sometimes}\n", {"1:19", "if-not-present"}},
      {"limit", "container: {ulimits: {nofile: many}}\n", {"1:31", "1024:4096"}},
      {"network of another", "container: {network: \"container:x\"}\n", {"network"}},
      {"container key", "container: {netwrok: none}\n", {"1:13", "network"}},
      {"two tokens", "upstreams:\n  - token: x\n", {"upstreams", "token"}},
      {"no token", "name: x\n", {"token"}},
      {"bad endpoint", "rpc:\n  endpoint: http://h:1/path\n", {"path"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const bool tokenless = std::string_view(c.name) == "no token";
    const Result<Settings> settings =
        make_settings(tokenless ? Flags{} : flags_with_token(), c.yaml, "w.yml", "host");
    ASSERT_FALSE(settings.ok());
    const std::string text = settings.error().to_string();
    for (const char* part : c.parts) EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(Settings, ContainersOfAllTasks) {
  const Settings settings = read(
      "container: {engine: podman, socket: /run/x.sock, pull: always, network: none,\n"
      "  ulimits: {nofile: 1024, nproc: \"64:-1\"}, security-options: [seccomp=unconfined]}\n");
  EXPECT_EQ(settings.container.engine, isolation::EngineChoice::Kind::Podman);
  EXPECT_EQ(settings.container.socket, "/run/x.sock");
  const isolation::ContainerDefaults& defaults = settings.container.defaults;
  EXPECT_EQ(defaults.pull, isolation::ContainerDefaults::Pull::Always);
  EXPECT_EQ(defaults.network, "none");
  ASSERT_EQ(defaults.ulimits.size(), 2U);
  EXPECT_EQ(defaults.ulimits[0].hard, 1024);
  EXPECT_EQ(defaults.ulimits[1].soft, 64);
  EXPECT_EQ(defaults.ulimits[1].hard, -1);
  EXPECT_EQ(defaults.security_options, std::vector<std::string>{"seccomp=unconfined"});
  EXPECT_FALSE(read("name: x\n").container.engine);
}

TEST(Settings, UpstreamsEachHaveATokenAndMaybeAnEndpoint) {
  const Settings settings =
      read("upstreams:\n  - token: a\n  - token: b\n    endpoint: http://h:2\n", Flags{});
  ASSERT_EQ(settings.upstreams.size(), 2U);
  EXPECT_EQ(settings.upstreams[0].endpoint, rpc::kHostedEndpoint);
  EXPECT_EQ(settings.upstreams[1].token.reveal(), "b");
  EXPECT_FALSE(
      make_settings(Flags{}, "upstreams:\n  - endpoint: http://h:2\n", "w.yml", "host").ok());
}

TEST(Settings, BothFormsOfStandbyMeanTheSameMachine) {
  const Settings flat = read("standby:\n  tart: {image: x, cpu: 4, memory: 12}\n");
  const Settings full = read(
      "standby:\n  isolation:\n    tart: {image: x, cpu: 4, memory: 12G}\n"
      "  resources: {tart-vms: 1}\n  warmup: {script: brew update, timeout: 500ms}\n");
  ASSERT_EQ(flat.vm.standby.size(), 1U);
  ASSERT_EQ(full.vm.standby.size(), 1U);
  EXPECT_EQ(flat.vm.standby[0].isolation.SerializeAsString(),
            full.vm.standby[0].isolation.SerializeAsString());
  const auto& tart = flat.vm.standby[0].isolation.tart();
  EXPECT_EQ(tart.user(), "admin");
  EXPECT_EQ(tart.password(), "admin");
  EXPECT_EQ(tart.memory(), 12288U);
  EXPECT_FALSE(flat.vm.standby_is_list);
  EXPECT_EQ(full.vm.standby[0].resources, (std::map<std::string, double>{{"tart-vms", 1}}));
  EXPECT_EQ(full.vm.standby[0].warmup_script, "brew update");
  EXPECT_EQ(full.vm.standby[0].warmup_timeout, std::chrono::seconds(1));
}

TEST(Settings, AListOfStandbyHasCounts) {
  const Settings settings = read(
      "standby:\n  - isolation:\n      vetu: {image: x, networking: {host: {}}}\n    count: 3\n"
      "  - tart: {image: y}\n");
  ASSERT_EQ(settings.vm.standby.size(), 2U);
  EXPECT_TRUE(settings.vm.standby_is_list);
  EXPECT_EQ(settings.vm.standby[0].count, 3U);
  EXPECT_TRUE(settings.vm.standby[0].isolation.vetu().has_host());
  EXPECT_EQ(settings.vm.standby[1].count, 1U);
}

TEST(Settings, ReadsWhatVirtualMachinesAreTunedWith) {
  const Settings settings = read(
      "resource-modifiers:\n  - match: {gpu: 1}\n    append: {run: [a, b]}\n"
      "tuning: {vetu: {mtu: 1400}}\ntart-pre-pull: {images: [x], check-interval: 3h}\n");
  ASSERT_EQ(settings.vm.modifiers.size(), 1U);
  EXPECT_EQ(settings.vm.modifiers[0].run, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(settings.vm.vetu_mtu, 1400U);
  ASSERT_TRUE(settings.vm.tart_pre_pull.has_value());
  EXPECT_EQ(settings.vm.tart_pre_pull->check_interval, std::chrono::hours(3));
}

TEST(Settings, MemoryIsWrittenAsInTasks) {
  EXPECT_EQ(parse_megabytes("12").value(), 12288U);
  EXPECT_EQ(parse_megabytes("100").value(), 100U);
  EXPECT_EQ(parse_megabytes("512Mi").value(), 512U);
  EXPECT_EQ(parse_megabytes("128G").value(), 131072U);
  for (const char* text : {"", "x", "1T", "-1", "1.5G"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_megabytes(text).ok());
  }
}

TEST(Settings, AReloadSaysWhatChangedInTheOwnersWords) {
  const auto changes = [](const char* before, const char* after) {
    return changes_between(read(before), read(after));
  };
  EXPECT_TRUE(changes("security: {allowed-isolations: {none: {}, tart: {}}}\n",
                      "security:\n  allowed-isolations:\n    tart: {}\n    none: {}\n")
                  .empty())
      << "the same in another order";
  EXPECT_EQ(
      changes("security: {allowed-isolations: {tart: {allowed-images: [a]}}}\n",
              "security: {allowed-isolations: {tart: {allowed-images: [a, b]}, none: {}}}\n"),
      (std::vector<std::string>{"security.allowed-isolations.none: absent -> {}",
                                "security.allowed-isolations.tart.allowed-images: [a] -> [a, b]"}));
  EXPECT_EQ(
      changes("log: {level: info}\n", "log: {level: debug, max-rotations: 2}\n"),
      (std::vector<std::string>{"log.level: info -> debug", "log.max-rotations: absent -> 2"}));
  EXPECT_EQ(changes("",
                    "container: {network: none}\ndrain-timeout: 2s\n"
                    "environment: {inherit: [PATH]}\n"),
            (std::vector<std::string>{
                "environment.inherit: all -> [PATH]", "drain-timeout: none -> 2000ms",
                "container.network: absent -> none: takes effect after a restart"}));
  EXPECT_EQ(changes("token: secret-one\n", "token: secret-two\n"),
            std::vector<std::string>{"upstreams and tokens: takes effect after a restart"});
}

TEST(Settings, TheOptionsOfOurOwnAreRead) {
  const Settings settings = read(
      "max-tasks: 7\nexit-after-idle: 10m\ndrain-timeout: 1h\ntask-user: ci\n"
      "min-free-space: 2 GiB\nenvironment: {inherit: [PATH, LANG]}\n"
      "metrics-address: 127.0.0.1:9477\ndata-dir: /srv/cirrus\n"
      "rpc:\n  endpoint: https://h:1\n  ca-file: /ca.pem\n"
      "  client-certificate-file: /c.pem\n  client-key-file: /k.pem\n");
  EXPECT_EQ(settings.life.max_tasks, 7U);
  EXPECT_EQ(settings.life.exit_after_idle, std::chrono::minutes(10));
  EXPECT_EQ(settings.life.drain_timeout, std::chrono::hours(1));
  EXPECT_EQ(settings.task_user, "ci");
  EXPECT_EQ(settings.min_free_space, 2ULL << 30U);
  EXPECT_EQ(settings.inherited_variables, (std::vector<std::string>{"PATH", "LANG"}));
  EXPECT_EQ(settings.metrics_address, "127.0.0.1:9477");
  EXPECT_EQ(settings.data_directory, "/srv/cirrus");
  EXPECT_EQ(settings.upstreams[0].tls, (TlsFiles{"/ca.pem", "/c.pem", "/k.pem"}));
  EXPECT_EQ(read("ephemeral: true\n").life.max_tasks, 1U);
  EXPECT_FALSE(read("").inherited_variables.has_value());
  EXPECT_TRUE(read("environment: {inherit: []}\n").inherited_variables->empty());
}

TEST(Settings, ATokenMayLieInAFileOrAVariable) {
  const os::TempDir directory = os::TempDir::create("cirrus-token-test").value();
  const std::filesystem::path path = directory.path() / "token";
  ASSERT_TRUE(os::write_file(path, "from-file\n", 0600).ok());
  const Settings file = read("token-file: " + path.string() + "\n", Flags{});
  EXPECT_EQ(file.upstreams[0].token.reveal(), "from-file");
  EXPECT_TRUE(file.warnings.empty());
  std::filesystem::permissions(path, std::filesystem::perms(0644));
  const Settings open = read("token-file: " + path.string() + "\n", Flags{});
  ASSERT_EQ(open.warnings.size(), 1U);
  EXPECT_NE(open.warnings[0].find("chmod 600"), std::string::npos);
  ::setenv("SETTINGS_TEST_TOKEN", "from-variable", 1);
  EXPECT_EQ(read("token: ${SETTINGS_TEST_TOKEN}\n", Flags{}).upstreams[0].token.reveal(),
            "from-variable");
  ::unsetenv("SETTINGS_TEST_TOKEN");
  const Result<Settings> unset =
      make_settings(Flags{}, "token: ${SETTINGS_TEST_TOKEN}\n", "w.yml", "h");
  EXPECT_NE(unset.error().to_string().find("w.yml:1:8"), std::string::npos);
}

TEST(Settings, ReadsSizesAsDocumented) {
  const struct {
    const char* text;
    std::uint64_t bytes;
  } cases[] = {{"640 KB", 640'000},
               {"100 MiB", 104'857'600},
               {"100MB", 100'000'000},
               {"1.5G", 1'500'000'000},
               {"1,000", 1000},
               {"2ki", 2048},
               {"0", 0}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(parse_size(c.text).value(), c.bytes);
  }
  for (const char* text : {"", "MB", "1 XB", "-1", "1.2.3"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_size(text).ok());
  }
}

TEST(Settings, ReadsDurationsInGoSyntax) {
  EXPECT_EQ(parse_duration("1h30m").value(), std::chrono::minutes(90));
  EXPECT_EQ(parse_duration("500ms").value(), std::chrono::milliseconds(500));
  EXPECT_EQ(parse_duration("0s").value(), std::chrono::seconds(0));
  for (const char* text : {"", "0", "5", "5 m", "-1s", "1d", "h"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_duration(text).ok());
  }
}

TEST(Settings, ReadsFlagsWithCsvQuoting) {
  EXPECT_EQ(parse_labels({"a=b,c=d", "\"e=f,g\""}).value(),
            (std::map<std::string, std::string>{{"a", "b"}, {"c", "d"}, {"e", "f,g"}}));
  EXPECT_FALSE(parse_labels({"nothing"}).ok());
  EXPECT_EQ(parse_resources({"a=1.5"}).value(), (std::map<std::string, double>{{"a", 1.5}}));
  for (const char* text : {"a=x", "a=", "a=nan", "a=inf", "a=-1"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_resources({text}).ok());
  }
}

TEST(Settings, TheNameIsTheHostsWithoutItsNetwork) {
  EXPECT_EQ(name_from_host("mac.local"), "mac");
  EXPECT_EQ(name_from_host("mac.lan"), "mac");
  EXPECT_EQ(name_from_host("mac.local.lan"), "mac");
  EXPECT_EQ(name_from_host("mac.example.org"), "mac.example.org");
}

TEST(Wildcard, OnlyTheStarIsSpecial) {
  EXPECT_TRUE(matches_wildcard("*", ""));
  EXPECT_TRUE(matches_wildcard("a*c", "a/b/c"));
  EXPECT_TRUE(matches_wildcard("*b*", "abc"));
  EXPECT_FALSE(matches_wildcard("a?c", "abc"));
  EXPECT_TRUE(matches_wildcard("a?c", "a?c"));
  EXPECT_FALSE(matches_wildcard("", "a"));
  EXPECT_FALSE(matches_wildcard("abc?", "abc"));
  EXPECT_FALSE(matches_wildcard("a", "A"));
  // Quadratic at worst, never exponential.
  EXPECT_FALSE(matches_wildcard("*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}

Isolation of_kind(const std::string& kind) {
  Isolation isolation;
  if (kind == "none") isolation.mutable_none();
  if (kind == "container") isolation.mutable_container()->set_image("i");
  if (kind == "parallels") isolation.mutable_parallels()->set_image("i");
  if (kind == "tart") isolation.mutable_tart()->set_image("i");
  if (kind == "vetu") isolation.mutable_vetu()->set_image("i");
  return isolation;
}

TEST(SecurityPolicy, AllowsExactlyWhatIsWrittenDown) {
  // Source: reference worker, the matrix of its security section.
  const struct {
    const char* yaml;
    std::set<std::string> allowed;
  } cases[] = {
      {"name: x\n", {"none", "container", "parallels", "tart", "vetu"}},
      {"security:\n", {"none", "container", "parallels", "tart", "vetu"}},
      {"security: {}\n", {"none", "container", "parallels", "tart", "vetu"}},
      {"security:\n  allowed-isolations:\n", {"none", "container", "parallels", "tart", "vetu"}},
      {"security:\n  allowed-isolations: {}\n", {}},
      {"security:\n  allowed-isolations:\n    tart: {}\n", {"tart"}},
      {"security:\n  allowed-isolations:\n    tart:\n", {}},
      {"security:\n  allowed-isolations:\n    none: {}\n    container:\n    vetu: {}\n",
       {"none", "vetu"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.yaml);
    const Settings settings = read(c.yaml);
    for (const char* kind : {"none", "container", "parallels", "tart", "vetu"}) {
      SCOPED_TRACE(kind);
      const Isolation isolation = of_kind(kind);
      EXPECT_EQ(settings.security.check(&isolation).ok(), c.allowed.contains(kind));
    }
    EXPECT_EQ(settings.security.check(nullptr).ok(), c.allowed.contains("none"));
    const Isolation nothing;
    EXPECT_EQ(settings.security.check(&nothing).error().code(), Code::InvalidArgument);
  }
}

TEST(SecurityPolicy, ImagesAndVolumesOfVirtualMachines) {
  const Settings settings = read(
      "security:\n  allowed-isolations:\n    tart:\n      allowed-images: ['reg.test/ci/*']\n"
      "      allowed-volumes:\n        - source: /Volumes/SSD/*\n        - source: /var/src\n"
      "          force-readonly: true\n    vetu:\n      allowed-images: ['a', 'b*']\n");
  const auto tart = [&](const char* image, const char* volume, bool read_only) {
    Isolation isolation;
    isolation.mutable_tart()->set_image(image);
    if (*volume != '\0') {
      auto& added = *isolation.mutable_tart()->add_volumes();
      added.set_source(volume);
      added.set_read_only(read_only);
    }
    return settings.security.check(&isolation).ok();
  };
  EXPECT_TRUE(tart("reg.test/ci/mac:latest", "", false));
  EXPECT_FALSE(tart("other.test/ci/mac", "", false));
  EXPECT_TRUE(tart("reg.test/ci/x", "/Volumes/SSD/a", false));
  EXPECT_TRUE(tart("reg.test/ci/x", "/Volumes/SSD/", false));
  EXPECT_FALSE(tart("reg.test/ci/x", "/Volumes/SSD", false));
  EXPECT_FALSE(tart("reg.test/ci/x", "/Volumes/SSD/../../etc", false));
  EXPECT_TRUE(tart("reg.test/ci/x", "/var/src", true));
  EXPECT_FALSE(tart("reg.test/ci/x", "/var/src", false));
  EXPECT_FALSE(tart("reg.test/ci/x", "/var/src/below", true));
  Isolation vetu;
  vetu.mutable_vetu()->set_image("bcd");
  EXPECT_TRUE(settings.security.check(&vetu).ok());
  vetu.mutable_vetu()->set_image("ab");
  EXPECT_FALSE(settings.security.check(&vetu).ok());
  // A link inside an allowed directory does not lead out of it.
  const os::TempDir directory = os::TempDir::create("cirrus-policy-test").value();
  const std::string base = std::filesystem::canonical(directory.path()).string();
  std::filesystem::create_symlink("/etc", base + "/out");
  std::filesystem::create_directory(base + "/in");
  const Settings linked =
      read("security:\n  allowed-isolations:\n    tart:\n      allowed-volumes: [{source: " + base +
           "/*}]\n    container:\n      allowed-volumes: [{source: " + base +
           "/*, force-readonly: true}]\n");
  const auto volume_error = [&](const std::string& source) {
    Isolation isolation;
    isolation.mutable_tart()->set_image("i");
    isolation.mutable_tart()->add_volumes()->set_source(source);
    const Status status = linked.security.check(&isolation);
    return status.ok() ? std::string() : status.error().to_string();
  };
  EXPECT_EQ(volume_error(base + "/in"), "");
  EXPECT_NE(volume_error(base + "/out").find("leads to '/etc'"), std::string::npos);
  EXPECT_NE(volume_error(base + "/out/cron.d").find("not allowed"), std::string::npos);
  EXPECT_NE(volume_error(base + "/in,ro").find("colon, a comma"), std::string::npos);
  Isolation container;
  container.mutable_container()->set_image("i");
  auto& mount = *container.mutable_container()->add_volumes();
  mount.set_source(base + "/in");
  mount.set_target("/in");
  EXPECT_FALSE(linked.security.check(&container).ok());
  mount.set_read_only(true);
  EXPECT_TRUE(linked.security.check(&container).ok());
  mount.set_source("/etc");
  EXPECT_FALSE(linked.security.check(&container).ok());
  EXPECT_TRUE(read("").security.check(&container).ok());
  // Without a list no volume is allowed.
  Isolation open;
  open.mutable_tart()->add_volumes()->set_source("/x");
  EXPECT_FALSE(read("").security.check(&open).ok());
}

TEST(SecurityPolicy, ARefusalNamesTheRuleAndItsLine) {
  const Settings settings = read("name: x\nsecurity:\n  allowed-isolations:\n    tart: {}\n");
  EXPECT_EQ(settings.security.check(nullptr).error().message(),
            "isolation 'none' is not allowed by this Persistent Worker's security settings "
            "(w.yml:4:5)");
}

TEST(SecurityPolicy, ARefusalNamesTheNearestRule) {
  const Settings settings = read(
      "name: x\nsecurity:\n  max-timeout: 1h\n  allowed-variables: [A]\n"
      "  allowed-isolations:\n    tart:\n      allowed-images: [a]\n"
      "      allowed-volumes: [{source: /a}]\n    container:\n      allowed-images: [a]\n"
      "      allow-privileged: false\n");
  const auto place = [](const Status& status) {
    const std::string text = status.error().message();
    return text.substr(text.rfind('('));
  };
  Isolation tart;
  tart.mutable_tart()->set_image("b");
  EXPECT_EQ(place(settings.security.check(&tart)), "(w.yml:7:7)");
  tart.mutable_tart()->set_image("a");
  tart.mutable_tart()->add_volumes()->set_source("/b");
  EXPECT_EQ(place(settings.security.check(&tart)), "(w.yml:8:7)");
  org::cirruslabs::ci::services::cirruscigrpc::ContainerInstance container;
  container.set_privileged(true);
  EXPECT_EQ(place(settings.security.check_container(container)), "(w.yml:11:7)");
  EXPECT_EQ(place(settings.security.check_task({}, std::chrono::hours(2))), "(w.yml:3:3)");
  EXPECT_EQ(place(settings.security.check_task({{"B", ""}}, std::chrono::hours(1))), "(w.yml:4:3)");
}

TEST(SecurityPolicy, AVolumeIsMountedFromWhereItsLinksLedWhenItWasJudged) {
  const os::TempDir directory = os::TempDir::create("cirrus-policy-test").value();
  const std::string base = std::filesystem::canonical(directory.path()).string();
  std::filesystem::create_directory(base + "/real");
  std::filesystem::create_symlink(base + "/real", base + "/link");
  const Settings settings =
      read("security:\n  allowed-isolations:\n    container:\n      allowed-volumes: [{source: '" +
           base + "/*'}]\n");
  Isolation wanted;
  wanted.mutable_container()->add_volumes()->set_source(base + "/link");
  wanted.mutable_container()->add_volumes()->set_source(base + "/./real");
  ASSERT_TRUE(settings.security.check(&wanted).ok());
  const Isolation carried = settings.security.enforced(wanted);
  EXPECT_EQ(carried.container().volumes(0).source(), base + "/real");
  EXPECT_EQ(carried.container().volumes(1).source(), base + "/./real") << "no link: as written";
  // Without rules nothing is judged, and nothing is changed.
  EXPECT_EQ(read("").security.enforced(wanted).container().volumes(0).source(), base + "/link");
}

TEST(SecurityPolicy, SoftnetIsForcedOnWhatTheTaskAskedFor) {
  Isolation wanted = of_kind("tart");
  EXPECT_FALSE(read("").security.enforced(wanted).tart().softnet());
  const Settings forced = read(
      "security:\n  allowed-isolations:\n    tart: {force-softnet: true, softnet-allow: "
      "[10.0.0.0/8]}\n");
  EXPECT_TRUE(forced.security.enforced(wanted).tart().softnet());
  EXPECT_EQ(forced.security.softnet_allow(), std::vector<std::string>{"10.0.0.0/8"});
}

TEST(SecurityPolicy, RepositoriesTimesAndVariablesAreLimited) {
  const Settings settings = read(
      "security:\n  allowed-repositories: ['acme/*']\n  max-timeout: 1h\n"
      "  allowed-variables: ['BUILD_*']\n");
  const auto check = [&](const char* repository, int seconds, const char* variable) {
    return settings.security.check_task(
        {{"CIRRUS_REPO_FULL_NAME", repository}, {"CI", "true"}, {variable, "1"}},
        std::chrono::seconds(seconds));
  };
  EXPECT_TRUE(check("acme/app", 3600, "BUILD_TYPE").ok());
  EXPECT_NE(check("other/app", 60, "BUILD_TYPE").error().message().find("'other/app'"),
            std::string::npos);
  EXPECT_NE(check("acme/app", 3601, "BUILD_TYPE").error().message().find("3601 s"),
            std::string::npos);
  EXPECT_NE(check("acme/app", 60, "LD_PRELOAD").error().message().find("'LD_PRELOAD'"),
            std::string::npos);
  EXPECT_FALSE(settings.security.check_task({}, std::chrono::seconds(1)).ok())
      << "a task of no repository is not one of the allowed";
  EXPECT_TRUE(read("").security.check_task({}, std::chrono::hours(100)).ok());
}

}  // namespace
}  // namespace cirrus::worker
