// SPDX-License-Identifier: MIT
#include "agent/annotations/xml_tree.h"

#include <expat.h>

#include <memory>

namespace cirrus::agent {
namespace {

constexpr std::size_t kDeepest = 100;
constexpr std::size_t kMostElements = 1'000'000;

/// What the parser's callbacks work on. Elements are owned by `open` until they end, because a
/// child's address would change with its siblings.
struct Builder {
  XML_Parser parser = nullptr;
  const OnXmlEnd& on_end;
  std::vector<XmlElement> open{};
  XmlElement root{};
  std::size_t elements = 0;
  const char* refusal = nullptr;

  void refuse(const char* why) {
    refusal = why;
    XML_StopParser(parser, XML_FALSE);
  }
};

void start_element(void* data, const XML_Char* name, const XML_Char** attributes) {
  Builder& builder = *static_cast<Builder*>(data);
  if (builder.open.size() == kDeepest) return builder.refuse("it is nested too deeply");
  if (++builder.elements > kMostElements) return builder.refuse("it has too many elements");
  XmlElement element;
  element.name = name;
  for (; *attributes != nullptr; attributes += 2) element.attributes[attributes[0]] = attributes[1];
  builder.open.push_back(std::move(element));
}

void end_element(void* data, const XML_Char*) {
  Builder& builder = *static_cast<Builder*>(data);
  XmlElement ended = std::move(builder.open.back());
  builder.open.pop_back();
  const bool taken = builder.on_end && builder.on_end(ended, builder.open);
  if (builder.open.empty()) {
    builder.root = std::move(ended);
  } else if (!taken) {
    builder.open.back().children.push_back(std::move(ended));
  }
}

void on_text(void* data, const XML_Char* text, int length) {
  Builder& builder = *static_cast<Builder*>(data);
  if (!builder.open.empty()) {
    builder.open.back().text.append(text, static_cast<std::size_t>(length));
  }
}

void on_entity(void* data, const XML_Char*, int, const XML_Char*, int, const XML_Char*,
               const XML_Char*, const XML_Char*, const XML_Char*) {
  static_cast<Builder*>(data)->refuse("it declares entities");
}

}  // namespace

std::string XmlElement::attribute(std::string_view key) const {
  const auto found = attributes.find(key);
  return found == attributes.end() ? std::string() : found->second;
}

const XmlElement* XmlElement::child(std::string_view key) const {
  for (const XmlElement& one : children) {
    if (one.name == key) return &one;
  }
  return nullptr;
}

Result<XmlElement> parse_xml(std::string_view text, const OnXmlEnd& on_end) {
  const std::unique_ptr<XML_ParserStruct, decltype(&XML_ParserFree)> parser(
      XML_ParserCreate(nullptr), &XML_ParserFree);
  if (!parser) return error(Code::ResourceExhausted, "no memory to read XML");
  Builder builder{.parser = parser.get(), .on_end = on_end};
  XML_SetUserData(parser.get(), &builder);
  XML_SetElementHandler(parser.get(), &start_element, &end_element);
  XML_SetCharacterDataHandler(parser.get(), &on_text);
  XML_SetEntityDeclHandler(parser.get(), &on_entity);
  // One call takes an int; a report's size is limited far below.
  if (XML_Parse(parser.get(), text.data(), static_cast<int>(text.size()), XML_TRUE) ==
      XML_STATUS_OK) {
    return std::move(builder.root);
  }
  const char* why = builder.refusal != nullptr ? builder.refusal
                                               : XML_ErrorString(XML_GetErrorCode(parser.get()));
  return error(Code::InvalidArgument, "the XML cannot be read: {}, at line {}, column {}", why,
               XML_GetCurrentLineNumber(parser.get()),
               XML_GetCurrentColumnNumber(parser.get()) + 1);
}

}  // namespace cirrus::agent
