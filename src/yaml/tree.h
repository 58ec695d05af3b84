// SPDX-License-Identifier: MIT
// YAML text as a tree that still knows what was written: positions, quoting, tags, anchors,
// aliases, key order and repeated keys. Nothing is converted and nothing is merged; whoever reads
// the tree decides. No file access, no clock.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace cirrus::yaml {

/// A place in the text, both 1-based and counted in characters; 0:0 means nowhere.
struct Mark {
  std::size_t line = 0;
  std::size_t column = 0;

  friend bool operator==(const Mark&, const Mark&) = default;
};

enum class Kind { Scalar, Map, List, Alias };

/// How a scalar was written. Only plain ones can be null, a number or a merge key.
enum class Style { Plain, Quoted, Block };

/// What a scalar means by the core rules of YAML 1.2 plus timestamps and `<<`.
/// Source: the node rules of the Go reader the reference CLI uses (`yes` and `on` are strings).
enum class ScalarType { String, Null, Bool, Integer, Float, Timestamp, Merge, Other };

struct Node;

/// One `key: value`. Keys can be any node; repeated keys are kept.
struct Entry {
  const Node* key;
  const Node* value;
};

/// One node. Owned by its Document; all pointers stay valid as long as that lives.
struct Node {
  Kind kind = Kind::Scalar;
  Style style = Style::Plain;
  Mark mark;                       ///< where it starts: its anchor or tag if it has one
  std::string text;                ///< decoded text of a scalar, the anchor's name of an alias
  std::string tag;                 ///< as resolved by the reader, such as `!x`; mostly empty
  std::string anchor;              ///< without `&`; mostly empty
  std::vector<Entry> entries;      ///< of a map
  std::vector<const Node*> items;  ///< of a list
  const Node* target = nullptr;    ///< of an alias
  bool recursive = false;          ///< an alias that names one of its own ancestors

  /// This node, or what it is an alias of (never an alias itself).
  const Node& resolved() const { return kind == Kind::Alias ? *target : *this; }
  bool is_scalar() const { return resolved().kind == Kind::Scalar; }
  bool is_map() const { return resolved().kind == Kind::Map; }
  bool is_list() const { return resolved().kind == Kind::List; }
  /// A plain `~`, `null` or nothing at all.
  bool is_null() const;
  /// The last entry of this map with that key, looking through aliases but not into `<<`;
  /// null if there is none or this is no map.
  const Node* find(std::string_view key) const;
};

/// The type of a scalar; `Other` for custom tags. `node` must be a scalar.
ScalarType scalar_type(const Node& node);

/// A parsed text. Moving it keeps node pointers valid.
class Document {
 public:
  /// Null for an empty text or one of comments only.
  const Node* root() const { return root_; }
  std::size_t node_count() const { return nodes_.size(); }

 private:
  friend class Reader;
  std::deque<Node> nodes_;  // constant after construction
  const Node* root_ = nullptr;
};

/// Bounds that hold for hostile text. Ours.
struct Limits {
  std::size_t max_bytes = std::size_t{1} << 20;
  std::size_t max_depth = 100;
  std::size_t max_nodes = 200'000;
};

/// Why a text is not YAML, and where.
struct SyntaxError {
  Mark mark;
  std::string message;  ///< without the position
};

/// The first document of `text`; the position of a failure is separate from its text.
std::variant<Document, SyntaxError> read(std::string_view text, const Limits& limits = {});

/// As `read`. Errors: InvalidArgument `line 3, column 5: ...`; ResourceExhausted over a limit is
/// reported the same way.
Result<Document> parse(std::string_view text, const Limits& limits = {});

/// `12:3`, for messages.
std::string to_string(Mark mark);

/// What a node is, in words: `map`, `list`, `text 'abc'`, `nothing`. For messages.
std::string describe(const Node& node);

}  // namespace cirrus::yaml
