// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cctype>
#include <optional>

#include "agent/annotations/formats.h"
#include "agent/annotations/xml_tree.h"
#include "base/strings.h"

namespace cirrus::agent::formats {
namespace {

using Annotation = wire::Annotation;

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.' ||
         c == '/' || c == '\\';
}

struct Place {
  std::string path;
  std::int64_t line = 0;
};

/// The first `word:number` on a line that is not of the test framework itself.
std::optional<Place> place_in(std::string_view details) {
  for (const std::string_view line : split(details, '\n')) {
    const std::string lower = to_lower(line);
    if (lower.find("junit") != std::string::npos || lower.find("kotlin") != std::string::npos) {
      continue;
    }
    for (std::size_t colon = line.find(':'); colon != std::string_view::npos;
         colon = line.find(':', colon + 1)) {
      std::size_t begin = colon;
      while (begin > 0 && is_word(line[begin - 1])) --begin;
      const std::int64_t found = number(line.substr(colon + 1));
      if (begin < colon && found > 0)
        return Place{std::string(line.substr(begin, colon - begin)), found};
    }
  }
  return std::nullopt;
}

std::string test_name(const XmlElement& test, std::string_view name_key = "name") {
  const std::string group = test.attribute("classname");
  const std::string name = test.attribute(name_key);
  return group.empty() ? name : group + "." + name;
}

bool is_test(const XmlElement& element) {
  return element.name == "testcase";
}

void read_test(const XmlElement& test, Report& report) {
  Annotation::Level level = Annotation::FAILURE;
  const XmlElement* what = test.child("failure");
  // Ours: the reference makes an empty notice of both.
  if (what == nullptr) what = test.child("error");
  if (what == nullptr) {
    what = test.child("skipped");
    level = Annotation::NOTICE;
  }
  if (what == nullptr) {
    ++report.passed;
    return;
  }
  std::string details = std::string(trim(what->text));
  if (details.empty()) details = what->attribute("message");
  if (details.empty()) details = what->attribute("type");
  Place place = place_in(details).value_or(Place());
  if (const std::string file = test.attribute("file"); !file.empty()) place.path = file;
  if (const std::int64_t line = number(test.attribute("line")); line > 0) place.line = line;
  report.add(finding(level, test_name(test), std::move(details), place.path, place.line));
}

void read_boost(const XmlElement& element, Report& report) {
  for (const XmlElement& child : element.children) {
    if (child.name == "Error" || child.name == "FatalError") {
      report.add(finding(Annotation::FAILURE, std::string(trim(child.text)), "",
                         child.attribute("file"), number(child.attribute("line"))));
    } else {
      read_boost(child, report);
    }
  }
}

}  // namespace

Result<Report> junit(std::string_view text) {
  Report report;
  // Of a test its own elements are wanted, and of suites nothing but their tests.
  CIRRUS_TRY(
      parse_xml(text, [&report](const XmlElement& ended, std::span<const XmlElement> parents) {
        if (std::any_of(parents.begin(), parents.end(), is_test)) return false;
        if (is_test(ended)) read_test(ended, report);
        return true;
      }));
  return report;
}

Result<Report> android_lint(std::string_view text) {
  const XmlElement root = CIRRUS_TRY(parse_xml(text));
  if (root.name != "issues") {
    return error(Code::InvalidArgument, "the root element is '{}', not 'issues'", root.name);
  }
  // Source: reference agent: formats it knows.
  constexpr std::int64_t kNewestFormat = 6;
  if (number(root.attribute("format")) > kNewestFormat) {
    return error(Code::InvalidArgument, "format {} of Android lint is not known; up to {} is",
                 root.attribute("format"), kNewestFormat);
  }
  Report report;
  for (const XmlElement& issue : root.children) {
    if (issue.name != "issue") continue;
    const std::string severity = issue.attribute("severity");
    Annotation::Level level = Annotation::FAILURE;
    if (severity == "Warning") {
      level = Annotation::WARNING;
    } else if (severity == "Information") {
      level = Annotation::NOTICE;
    } else if (severity != "Error" && severity != "Fatal") {
      continue;
    }
    for (const XmlElement& place : issue.children) {
      if (place.name != "location") continue;
      report.add(finding(level, issue.attribute("message"), issue.attribute("explanation"),
                         place.attribute("file"), number(place.attribute("line")),
                         number(place.attribute("column"))));
    }
  }
  return report;
}

Result<Report> boost(std::string_view text) {
  const XmlElement root = CIRRUS_TRY(parse_xml(text));
  Report report;
  read_boost(root, report);
  return report;
}

}  // namespace cirrus::agent::formats
