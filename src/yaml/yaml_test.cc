// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "yaml/strict_map.h"
#include "yaml/tree.h"

namespace cirrus::yaml {
namespace {

Document parsed(std::string_view text) {
  Result<Document> document = parse(text);
  EXPECT_TRUE(document.ok()) << document.error().to_string();
  return std::move(document).value();
}

std::string failure(std::string_view text, const Limits& limits = {}) {
  const Result<Document> document = parse(text, limits);
  return document.ok() ? "" : document.error().to_string();
}

TEST(YamlTree, KeepsOrderRepeatedKeysAndPositions) {
  const Document document = parsed("b: 1\na:\n  - x\n  - 'y'\nb: 2\n");
  const Node& root = *document.root();
  ASSERT_EQ(root.entries.size(), 3u);
  EXPECT_EQ(root.entries[0].key->text, "b");
  EXPECT_EQ(root.entries[2].key->text, "b");
  EXPECT_EQ(root.entries[2].key->mark, (Mark{5, 1}));
  EXPECT_EQ(root.find("b")->text, "2");
  const Node& list = *root.find("a");
  ASSERT_EQ(list.items.size(), 2u);
  EXPECT_EQ(list.items[1]->mark, (Mark{4, 5}));
  EXPECT_EQ(list.items[0]->style, Style::Plain);
  EXPECT_EQ(list.items[1]->style, Style::Quoted);
}

TEST(YamlTree, AnEmptyTextHasNoRoot) {
  for (const std::string_view text : {"", "# only a comment\n", "\n\n"}) {
    EXPECT_EQ(parsed(text).root(), nullptr) << text;
  }
}

TEST(YamlTree, ReadsOnlyTheFirstDocument) {
  const Document document = parsed("a: 1\n---\nb: [\n");
  EXPECT_NE(document.root()->find("a"), nullptr);
  EXPECT_EQ(document.root()->find("b"), nullptr);
}

TEST(YamlTree, AliasesPointAtTheirAnchorAndKnowWhenTheyAreRecursive) {
  const Document document = parsed("a: &x {k: v}\nb: *x\nc: &y\n  d: *y\n");
  const Node& alias = *document.root()->find("b");
  EXPECT_EQ(alias.kind, Kind::Alias);
  EXPECT_TRUE(alias.is_map());
  EXPECT_EQ(alias.find("k")->text, "v");
  EXPECT_FALSE(alias.recursive);
  EXPECT_TRUE(document.root()->find("c")->find("d")->recursive);
}

TEST(YamlTree, ScalarTypesFollowTheCoreRules) {
  const struct {
    const char* text;
    ScalarType type;
  } cases[] = {
      {"abc", ScalarType::String},
      {"'1'", ScalarType::String},
      {"1", ScalarType::Integer},
      {"-12", ScalarType::Integer},
      {"0x1F", ScalarType::Integer},
      {"0o17", ScalarType::Integer},
      {"1_000", ScalarType::Integer},
      {"1.5", ScalarType::Float},
      {"1e3", ScalarType::Float},
      {".5", ScalarType::Float},
      {".inf", ScalarType::Float},
      {"1.2.3", ScalarType::String},
      {"yes", ScalarType::String},
      {"on", ScalarType::String},
      {"True", ScalarType::Bool},
      {"~", ScalarType::Null},
      {"null", ScalarType::Null},
      {"<<", ScalarType::Merge},
      {"'<<'", ScalarType::String},
      {"2001-01-02", ScalarType::Timestamp},
      {"!x y", ScalarType::Other},
      {"!!str 1", ScalarType::String},
      {"2001-01-02 10:00:00Z", ScalarType::Timestamp},
      {"2001-01", ScalarType::String},
      {"e3", ScalarType::String},
      {".", ScalarType::String},
      {"+", ScalarType::String},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const Document document = parsed(c.text);
    EXPECT_EQ(scalar_type(*document.root()), c.type);
  }
}

TEST(YamlTree, SyntaxErrorsCarryThePosition) {
  EXPECT_EQ(failure("a: *nope"), "line 1, column 4: unknown anchor 'nope'");
  EXPECT_TRUE(failure("a: [1\nb: 2").starts_with("line 2, column 2: ")) << failure("a: [1\nb: 2");
  EXPECT_NE(failure("a: \"\xff\""), "");
  EXPECT_NE(failure("a:\n\tb: 1"), "");
}

TEST(YamlTree, LimitsHaveTheirOwnErrors) {
  EXPECT_EQ(failure("[[[[]]]]", {.max_depth = 3}), "line 1, column 4: nested deeper than 3 levels");
  EXPECT_EQ(failure("[a, b, c]", {.max_nodes = 3}), "line 1, column 8: more than 3 nodes");
  EXPECT_EQ(failure("abcdef", {.max_bytes = 5}), "line 1, column 1: larger than 5 bytes");
  EXPECT_NE(failure(std::string(100'000, '[')), "");
}

std::string strict_failure(std::string_view text) {
  const Document document = parsed(text);
  Result<StrictMap> map = StrictMap::create(*document.root(), "worker settings");
  if (!map.ok()) return map.error().to_string();
  map.value().take("token");
  map.value().take("name");
  const Status finished = map.value().finish();
  return finished.ok() ? "" : finished.error().to_string();
}

TEST(StrictMap, RefusesWhatNobodyAskedFor) {
  EXPECT_EQ(strict_failure("token: x\nname: y"), "");
  EXPECT_EQ(strict_failure("token: x\nnames: y"),
            "unknown key 'names' in worker settings at 2:1, did you mean 'name'?");
  EXPECT_EQ(strict_failure("token: x\ntoken: y"),
            "key 'token' in worker settings is written twice, again at 2:1");
  EXPECT_EQ(strict_failure("- token"), "worker settings at 1:1 must be a map, found list");
  EXPECT_EQ(strict_failure("[a]: b"), "key at 1:1 in worker settings must be text, found list");
}

TEST(StrictMap, AppliesMergeKeysBelowOwnKeys) {
  const Document document = parsed("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a], z: 0}");
  Result<StrictMap> map = StrictMap::create(*document.root()->find("b"), "b");
  ASSERT_TRUE(map.ok()) << map.error().to_string();
  EXPECT_EQ(map.value().take_text("x").value(), "1");
  EXPECT_EQ(map.value().take_text("y").value(), "3");
  EXPECT_EQ(map.value().take_text("absent", "f").value(), "f");
  EXPECT_EQ(StrictMap::create(*document.root()->find("c"), "c").value().entries().size(), 3u);
}

}  // namespace
}  // namespace cirrus::yaml
