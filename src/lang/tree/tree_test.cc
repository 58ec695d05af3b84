// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "lang/tree/build.h"
#include "lang/tree/inherit.h"
#include "lang/tree/matrix.h"

namespace cirrus::lang {
namespace {

/// Flow style with all keys in order: `{a: 1, b: [x]}`.
std::string shown(const Node& node) {
  if (node.is_scalar()) return std::string(node.text);
  std::string result;
  for (const Node* child : node.children) {
    if (!result.empty()) result += ", ";
    result += node.is_map() ? fmt::format("{}: {}", child->name, shown(*child)) : shown(*child);
  }
  return node.is_map() ? "{" + result + "}" : "[" + result + "]";
}

Located<std::unique_ptr<Tree>> built(std::string_view text, const Limits& limits = {}) {
  auto document = yaml::read(text);
  EXPECT_TRUE(std::holds_alternative<yaml::Document>(document)) << text;
  return build_tree(std::get<yaml::Document>(std::move(document)), {"env", "always"}, limits);
}

/// The tree after merging, or the place of the error.
std::string merged(std::string_view text) {
  auto tree = built(text);
  if (!tree.ok()) return fmt::format("error {}:{}", tree.error().line, tree.error().column);
  return shown(*tree.value()->root());
}

TEST(Tree, AppliesMergeKeysAsTheReference) {
  const std::string base =
      "a: &a {x: 1, env: {k: 1}}\nb: &b {x: 2, y: 2}\nl: &l [{p: 1}, {q: 2}]\ns: &s text\n";
  const auto last = [&base](std::string_view text) {
    const std::string all = merged(base + "t: " + std::string(text));
    const std::size_t at = all.rfind(", t: ");
    return at == std::string::npos ? all : all.substr(at + 5, all.size() - at - 6);
  };
  EXPECT_EQ(last("{<<: *a, z: 3}"), "{x: 1, env: {k: 1}, z: 3}");
  EXPECT_EQ(last("{x: 0, <<: *a}"), "{x: 0, env: {k: 1}}");
  EXPECT_EQ(last("{<<: *a, x: 0}"), "{x: 1, env: {k: 1}, x: 0}");
  EXPECT_EQ(last("{env: {k: 2}, <<: *a}"), "{env: {k: 2}, x: 1, env: {k: 1}}");
  EXPECT_EQ(last("{<<: [*a, *b]}"), "{x: 1, env: {k: 1}, y: 2}");
  EXPECT_EQ(last("{<<: *a, <<: *b}"), "{x: 1, env: {k: 1}, y: 2}");
  EXPECT_EQ(last("{<<: [*a, {w: 9}]}"), "{x: 1, env: {k: 1}, w: 9}");
  EXPECT_EQ(last("{matrix: {<<: *l}}"), "{matrix: [{p: 1}, {q: 2}]}");
  EXPECT_EQ(last("{<<: {x: 5}, y: 1}"), "{y: 1}");  // inline maps are ignored
  EXPECT_EQ(last("{<<: text, y: 1}"), "{y: 1}");    // and texts too
  EXPECT_EQ(last("{'<<': *a}"), "{<<: {x: 1, env: {k: 1}}}");
  EXPECT_EQ(last("{<<: *s}"), "error 5:4");
  EXPECT_EQ(last("{<<: [*a, *s]}"), "error 5:4");
}

TEST(Tree, KeepsTextsAsWrittenAndDropsNullItems) {
  EXPECT_EQ(merged("a: 1.0\nb: YES\nc: 0x8001\nd: ~\ne:\nf: 'x'\ng: |\n  t\n"),
            "{a: 1.0, b: YES, c: 0x8001, d: ~, e: , f: x, g: t\n}");
  EXPECT_EQ(merged("l: [a, null, ~, 'null', b]\nm:\n  -\n  - c\n"), "{l: [a, null, b], m: [c]}");
  EXPECT_EQ(merged("on: 1\nyes: 2\nno: 3\n"), "{on: 1, yes: 2, no: 3}");
}

TEST(Tree, KeysMustBeTexts) {
  EXPECT_EQ(merged("a:\n  b: 1\n  1: 2\n"), "error 2:3");
  EXPECT_EQ(merged("a: {true: 2}\n"), "error 1:4");
  EXPECT_EQ(merged("a: &x\n  ~: 2\n"), "error 1:4");
  EXPECT_EQ(merged("a: &x k\n*x : 2\n"), "error 1:1");
  EXPECT_EQ(merged("2001-01-01: 2\n"), "error 1:1");
  EXPECT_EQ(merged("'1': 2\n"), "{1: 2}");
  EXPECT_EQ(merged("- a\n"), "error 1:1");
  EXPECT_EQ(merged("# nothing\n"), "{}");
}

TEST(Tree, PositionsAreThoseOfKeysAndAliasesHaveNone) {
  auto tree = built("a: &a\n  b: 1\nc: *a\nd:\n  - x: 1\n  - y\n");
  ASSERT_TRUE(tree.ok());
  const Node& root = *tree.value()->root();
  EXPECT_EQ(root.child("a")->mark, (yaml::Mark{1, 1}));
  EXPECT_EQ(root.child("c")->mark, (yaml::Mark{0, 0}));
  EXPECT_EQ(root.child("c")->child("b")->mark, (yaml::Mark{2, 3}));
  EXPECT_EQ(root.child("d")->children[0]->mark, (yaml::Mark{5, 5}));
  EXPECT_EQ(root.child("d")->children[1]->mark, (yaml::Mark{6, 5}));
}

TEST(Tree, RecursiveAliasesAreErrorsWhereTheyStand) {
  EXPECT_EQ(merged("a: &a\n  b: *a\n"), "error 2:6");
  EXPECT_EQ(merged("a: &a\n  b:\n    <<: *a\n"), "error 3:9");
  EXPECT_EQ(merged("a: &a\n  b: [1, {<<: [*a]}]\n"), "error 2:16");
}

std::string expanded(std::string_view text, const Limits& limits = {}) {
  auto tree = built(text, limits);
  if (!tree.ok()) return tree.error().message;
  const Located<void> done = expand_matrices(*tree.value());
  if (!done.ok()) return fmt::format("error {}:{}", done.error().line, done.error().column);
  return shown(*tree.value()->root());
}

TEST(Matrix, CopiesTheNearestTask) {
  EXPECT_EQ(expanded("task: {matrix: {a: 1, b: 2}}"), "{task: {a: 1}, task: {b: 2}}");
  EXPECT_EQ(expanded("task: {matrix: {a: 1, a: 2}, c: 3}"),
            "{task: {a: 1, c: 3}, task: {a: 2, c: 3}}");
  EXPECT_EQ(expanded("task: {c: {matrix: [{a: 1, b: 2}, {a: 3}]}}"),
            "{task: {c: {a: 1, b: 2}}, task: {c: {a: 3}}}");
  EXPECT_EQ(expanded("x: 0\ntask: {matrix: []}\ny: 1"), "{x: 0, y: 1}");
  EXPECT_EQ(expanded("task: {matrix: {}}"), "{}");
  EXPECT_EQ(expanded("my_pipe: {matrix: [{a: 1}]}"), "{my_pipe: {a: 1}}");
  // A nested key with the suffix is the unit then.
  EXPECT_EQ(expanded("task: {subtask: {matrix: [{a: 1}, {a: 2}]}, z: 1}"),
            "{task: {subtask: {a: 1}, subtask: {a: 2}, z: 1}}");
  // The first in document order is the outermost loop.
  EXPECT_EQ(expanded("task: {e: {matrix: {a: 1, a: 2}}, matrix: {b: 1, b: 2}}"),
            "{task: {e: {a: 1}, b: 1}, task: {e: {a: 1}, b: 2}, task: {e: {a: 2}, b: 1}, task: {e: "
            "{a: 2}, b: 2}}");
  EXPECT_EQ(expanded("task: {matrix: [{a: 1, matrix: [{b: 1}, {b: 2}]}, {c: 1}]}"),
            "{task: {a: 1, b: 1}, task: {a: 1, b: 2}, task: {c: 1}}");
}

TEST(Matrix, ErrorsNameThePlace) {
  EXPECT_EQ(expanded("env:\n  matrix: {a: 1}\n"), "error 2:3");
  EXPECT_EQ(expanded("task:\n  matrix: x\n"), "error 2:3");
  EXPECT_EQ(expanded("task:\n  matrix:\n    - a: 1\n    - [b]\n"), "error 4:7");
  EXPECT_EQ(expanded("foo_template:\n  matrix: {a: 1}\n"), "error 2:3");
}

TEST(Matrix, TheProductIsBounded) {
  std::string text = "task:\n";
  for (int i = 0; i < 20; ++i)
    text += fmt::format("  k{}: {{matrix: {{a: 1, b: 2, c: 3, d: 4}}}}\n", i);
  EXPECT_TRUE(expanded(text).starts_with("error ")) << expanded(text).substr(0, 100);
}

std::string inherited(std::string_view text, std::string_view name) {
  auto tree = built(text);
  EXPECT_TRUE(tree.ok());
  Inheritance inheritance(*tree.value());
  const Node* task = tree.value()->root()->child("task");
  const Node* result = inheritance.collect(*task, name);
  return result == nullptr ? "nothing" : shown(*result);
}

TEST(Inherit, NearerLevelsAndLaterSiblingsWin) {
  EXPECT_EQ(inherited("task: {}", "env"), "nothing");
  EXPECT_EQ(inherited("env: {a: 1, b: 1}\ntask: {env: {b: 2, c: 2}}", "env"), "{a: 1, b: 2, c: 2}");
  EXPECT_EQ(inherited("task: {env: {a: 1}, env: {a: 2}}", "env"), "{a: 2}");
  EXPECT_EQ(inherited("env: {a: 1, a: 2}\ntask: {}", "env"), "{a: 2}");
  EXPECT_EQ(inherited("env: [{a: 1}, {b: 1}]\ntask: {env: {b: 2}}", "env"), "{a: 1, b: 2}");
  EXPECT_EQ(inherited("env: {a: 1}\ntask: {env: [{a: 2}, {c: 3}]}", "env"), "{a: 2, c: 3}");
  EXPECT_EQ(inherited("c: {x: {p: 1, q: 1}, l: [1, 2]}\ntask: {c: {x: {q: 2}, l: [3]}}", "c"),
            "{x: {p: 1, q: 2}, l: [3]}");
  EXPECT_EQ(inherited("c: {image: a}\ntask: {c: }", "c"), "");
  EXPECT_EQ(inherited("c: \ntask: {c: {image: a}}", "c"), "{image: a}");
  EXPECT_EQ(inherited("c: {additional_containers: [{n: 1, m: 1}, {n: 2}]}\ntask: {c: "
                      "{additional_containers: [{m: 9}]}}",
                      "c"),
            "{additional_containers: [{n: 1, m: 9}, {n: 2}]}");
  EXPECT_EQ(inherited("c: {additional_containers: [{n: 1}]}\ntask: {c: {additional_containers: "
                      "[{m: 9}, {k: 1}]}}",
                      "c"),
            "{additional_containers: [{n: 1, m: 9}, {k: 1}]}");
}

}  // namespace
}  // namespace cirrus::lang
