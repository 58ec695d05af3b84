// SPDX-License-Identifier: MIT
#include "yaml/tree.h"

#include <map>
#include <optional>

#include <yaml.h>

#include "base/strings.h"

namespace cirrus::yaml {
namespace {

std::string_view view(const yaml_char_t* text) {
  return text == nullptr ? std::string_view{}
                         : std::string_view(reinterpret_cast<const char*>(text));
}

Mark mark_of(const yaml_mark_t& mark) {
  return {mark.line + 1, mark.column + 1};
}

/// Owns one libyaml event.
struct Event {
  yaml_event_t raw{};
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(&raw); }
};

Style style_of(yaml_scalar_style_t style) {
  switch (style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE: return Style::Quoted;
    case YAML_LITERAL_SCALAR_STYLE:
    case YAML_FOLDED_SCALAR_STYLE: return Style::Block;
    default: return Style::Plain;
  }
}

}  // namespace

/// Turns libyaml's events into nodes. Iterative, so that nesting costs no stack.
class Reader {
 public:
  Reader(std::string_view text, const Limits& limits) : limits_(limits) {
    yaml_parser_initialize(&parser_);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { yaml_parser_delete(&parser_); }

  std::variant<Document, SyntaxError> run() {
    for (;;) {
      Event event;
      if (yaml_parser_parse(&parser_, &event.raw) == 0) return syntax_error();
      if (event.raw.type == YAML_STREAM_END_EVENT || event.raw.type == YAML_DOCUMENT_END_EVENT) {
        return std::move(document_);
      }
      take(event.raw);
      if (failure_) return *std::move(failure_);
    }
  }

 private:
  /// A collection whose end has not come yet. In a map, `key` waits for its value.
  struct Open {
    Node* node;
    const Node* key = nullptr;
  };

  void take(const yaml_event_t& event) {
    switch (event.type) {
      case YAML_SCALAR_EVENT: {
        const auto& scalar = event.data.scalar;
        Node* node = add(event, Kind::Scalar, view(scalar.anchor), view(scalar.tag));
        if (node == nullptr) return;
        node->text.assign(reinterpret_cast<const char*>(scalar.value), scalar.length);
        node->style = style_of(scalar.style);
        attach(node);
        return;
      }
      case YAML_ALIAS_EVENT: take_alias(event); return;
      case YAML_MAPPING_START_EVENT:
        open(event, Kind::Map, view(event.data.mapping_start.anchor),
             view(event.data.mapping_start.tag));
        return;
      case YAML_SEQUENCE_START_EVENT:
        open(event, Kind::List, view(event.data.sequence_start.anchor),
             view(event.data.sequence_start.tag));
        return;
      case YAML_MAPPING_END_EVENT:
      case YAML_SEQUENCE_END_EVENT: {
        Node* done = open_.back().node;
        open_.pop_back();
        attach(done);
        return;
      }
      default: return;
    }
  }

  Node* add(const yaml_event_t& event, Kind kind, std::string_view anchor, std::string_view tag) {
    if (document_.nodes_.size() >= limits_.max_nodes) {
      fail(mark_of(event.start_mark), fmt::format("more than {} nodes", limits_.max_nodes));
      return nullptr;
    }
    Node& node = document_.nodes_.emplace_back();
    node.kind = kind;
    node.mark = mark_of(event.start_mark);
    if (tag != "!") node.tag = tag;
    if (!anchor.empty()) {
      node.anchor = anchor;
      anchors_[node.anchor] = &node;
    }
    return &node;
  }

  void open(const yaml_event_t& event, Kind kind, std::string_view anchor, std::string_view tag) {
    if (open_.size() >= limits_.max_depth) {
      fail(mark_of(event.start_mark),
           fmt::format("nested deeper than {} levels", limits_.max_depth));
      return;
    }
    Node* node = add(event, kind, anchor, tag);
    if (node != nullptr) open_.push_back({node});
  }

  void take_alias(const yaml_event_t& event) {
    const std::string name(view(event.data.alias.anchor));
    const auto found = anchors_.find(name);
    if (found == anchors_.end()) {
      fail(mark_of(event.start_mark), fmt::format("unknown anchor '{}'", name));
      return;
    }
    Node* node = add(event, Kind::Alias, {}, {});
    if (node == nullptr) return;
    node->text = name;
    node->target = found->second;
    for (const Open& above : open_) node->recursive = node->recursive || above.node == node->target;
    attach(node);
  }

  /// Gives a finished node to the collection around it, or makes it the root.
  void attach(Node* node) {
    if (open_.empty()) {
      document_.root_ = node;
      return;
    }
    Open& parent = open_.back();
    if (parent.node->kind == Kind::List) {
      parent.node->items.push_back(node);
    } else if (parent.key == nullptr) {
      parent.key = node;
    } else {
      parent.node->entries.push_back({parent.key, node});
      parent.key = nullptr;
    }
  }

  void fail(Mark mark, std::string message) { failure_ = SyntaxError{mark, std::move(message)}; }

  SyntaxError syntax_error() const {
    // The scanner leaves its problem mark empty for undecodable bytes; its own place is near.
    const bool reader_problem = parser_.error == YAML_READER_ERROR;
    SyntaxError result{mark_of(reader_problem ? parser_.mark : parser_.problem_mark),
                       parser_.problem == nullptr ? "not YAML" : parser_.problem};
    if (parser_.context != nullptr) result.message += fmt::format(" ({})", parser_.context);
    return result;
  }

  yaml_parser_t parser_{};
  Limits limits_;
  Document document_;
  std::vector<Open> open_;
  std::map<std::string, const Node*, std::less<>> anchors_;
  std::optional<SyntaxError> failure_;
};

std::variant<Document, SyntaxError> read(std::string_view text, const Limits& limits) {
  if (text.size() > limits.max_bytes) {
    return SyntaxError{{1, 1}, fmt::format("larger than {} bytes", limits.max_bytes)};
  }
  return Reader(text, limits).run();
}

Result<Document> parse(std::string_view text, const Limits& limits) {
  std::variant<Document, SyntaxError> outcome = read(text, limits);
  if (const SyntaxError* failure = std::get_if<SyntaxError>(&outcome)) {
    return error(Code::InvalidArgument, "line {}, column {}: {}", failure->mark.line,
                 failure->mark.column, failure->message);
  }
  return std::get<Document>(std::move(outcome));
}

bool Node::is_null() const {
  const Node& node = resolved();
  return node.kind == Kind::Scalar && scalar_type(node) == ScalarType::Null;
}

const Node* Node::find(std::string_view key) const {
  const Node& node = resolved();
  const Node* found = nullptr;
  for (const Entry& entry : node.entries) {
    if (entry.key->is_scalar() && entry.key->resolved().text == key) found = entry.value;
  }
  return found;
}

std::string to_string(Mark mark) {
  return fmt::format("{}:{}", mark.line, mark.column);
}

std::string describe(const Node& node) {
  const Node& actual = node.resolved();
  if (actual.kind == Kind::Map) return "map";
  if (actual.kind == Kind::List) return "list";
  return actual.is_null() ? "nothing" : fmt::format("text '{}'", shorten(actual.text, 40));
}

}  // namespace cirrus::yaml
