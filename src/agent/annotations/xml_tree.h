// SPDX-License-Identifier: MIT
// A small XML tree for reports, over expat.
#pragma once

#include <map>
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

/// The document's root. Errors: InvalidArgument with line and column for what is not well formed,
/// for a document that declares entities, and for more than 100 levels or a million elements
/// (ours).
Result<XmlElement> parse_xml(std::string_view text);

}  // namespace cirrus::agent
