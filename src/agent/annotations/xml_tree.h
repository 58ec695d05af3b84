// SPDX-License-Identifier: MIT
// A small XML tree for reports, over expat.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cirrus::agent {

struct XmlElement {
  std::string name;
  std::map<std::string, std::string, std::less<>> attributes;
  /// Character data directly inside, entities and CDATA resolved.
  std::string text;
  std::vector<XmlElement> children;

  /// Empty if there is no such attribute.
  std::string attribute(std::string_view key) const;
  /// The first child of that name; null if there is none.
  const XmlElement* child(std::string_view key) const;
};

/// Is told of each element that ends, with those it stands in, outermost first. True: it has taken
/// what it wants of it, and the tree need not hold it. So a large report is never there as a whole.
using OnXmlEnd = std::function<bool(const XmlElement& ended, std::span<const XmlElement> parents)>;

/// The document's root. Errors: InvalidArgument with line and column for what is not well formed,
/// for a document that declares entities, and for more than 100 levels or a million elements
/// (ours).
Result<XmlElement> parse_xml(std::string_view text, const OnXmlEnd& on_end = nullptr);

}  // namespace cirrus::agent
