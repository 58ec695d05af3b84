// SPDX-License-Identifier: MIT
#include "worker/settings.h"

#include <gtest/gtest.h>

#include "rpc/endpoint.h"
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

TEST(Settings, UpstreamsEachHaveATokenAndMaybeAnEndpoint) {
  const Settings settings =
      read("upstreams:\n  - token: a\n  - token: b\n    endpoint: http://h:2\n", Flags{});
  ASSERT_EQ(settings.upstreams.size(), 2U);
  EXPECT_EQ(settings.upstreams[0].endpoint, rpc::kHostedEndpoint);
  EXPECT_EQ(settings.upstreams[1].token.reveal(), "b");
  EXPECT_FALSE(
      make_settings(Flags{}, "upstreams:\n  - endpoint: http://h:2\n", "w.yml", "host").ok());
}

TEST(Settings, StandbyIsReadAndSaidToHaveNoEffect) {
  const Settings flat = read("standby:\n  tart: {image: x, cpu: 4, memory: 12}\n");
  ASSERT_EQ(flat.warnings.size(), 1U);
  EXPECT_NE(flat.warnings[0].find("standby"), std::string::npos);
  read(
      "standby:\n  isolation:\n    vetu: {image: x}\n  resources: {v: 1}\n"
      "  warmup: {script: x, timeout: 5m}\n");
  read(
      "resource-modifiers:\n  - match: {gpu: 1}\n    append: {run: [a]}\n"
      "tuning: {vetu: {mtu: 1400}}\ntart-pre-pull: {images: [x], check-interval: 3h}\n");
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
  // Without a list no volume is allowed.
  Isolation open;
  open.mutable_tart()->add_volumes()->set_source("/x");
  EXPECT_FALSE(read("").security.check(&open).ok());
}

}  // namespace
}  // namespace cirrus::worker
