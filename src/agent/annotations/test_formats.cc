// SPDX-License-Identifier: MIT
// What test runners say, in JSON.
#include <cctype>
#include <map>
#include <set>
#include <utility>

#include "agent/annotations/formats.h"
#include "agent/annotations/json_reader.h"
#include "base/strings.h"

namespace cirrus::agent::formats {
namespace {

using Annotation = wire::Annotation;

// Ours: of what one test printed, the end counts.
constexpr std::size_t kMostOutput = 16 * 1024;

void append_tail(std::string& text, std::string_view more) {
  text += more;
  if (text.size() > 2 * kMostOutput) text.erase(0, text.size() - kMostOutput);
}

struct Place {
  std::string path;
  std::int64_t line = 0;
};

/// The first `path` with `ending` that is followed by `:number`.
Place place_of(std::string_view text, std::string_view ending) {
  const std::string wanted = std::string(ending) + ":";
  for (std::size_t at = text.find(wanted); at != std::string_view::npos;
       at = text.find(wanted, at + 1)) {
    const std::int64_t line = number(text.substr(at + wanted.size()));
    std::size_t begin = at;
    while (begin > 0 && std::isspace(static_cast<unsigned char>(text[begin - 1])) == 0 &&
           text[begin - 1] != '\'' && text[begin - 1] != '"') {
      --begin;
    }
    if (line > 0 && begin < at) {
      return {std::string(text.substr(begin, at - begin)) + std::string(ending), line};
    }
  }
  return {};
}

/// Hands every line that begins like an object to `each`: runners mix them with plain text.
Status each_object(std::string_view text, const std::function<void(const Json&)>& each) {
  std::string objects;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trim(text.substr(at, end - at));
    // The empty line keeps the numbers in messages right.
    if (line.starts_with('{')) objects += line;
    objects += '\n';
    at = end + 1;
  }
  return each_json_line(objects, each);
}

}  // namespace

Result<Report> rspec(std::string_view text) {
  const Json root = CIRRUS_TRY(parse_json(text));
  Report report;
  for (const Json& example : list_at(root, "examples")) {
    const std::string status = text_at(example, "status");
    if (status == "passed") ++report.passed;
    if (status != "failed" && status != "pending") continue;
    const bool failed = status == "failed";
    std::string path = text_at(example, "file_path");
    if (path.starts_with("./")) path.erase(0, 2);
    report.add(finding(
        failed ? Annotation::FAILURE : Annotation::NOTICE, text_at(example, "full_description"),
        failed ? text_at(at(example, "exception"), "message") : text_at(example, "pending_message"),
        std::move(path), number_at(example, "line_number")));
  }
  return report;
}

Result<Report> flutter(std::string_view text) {
  struct Test {
    std::string name, url, error;
    std::int64_t line = 0, column = 0;
  };
  std::map<std::int64_t, Test> tests;
  Report report;
  CIRRUS_TRY(each_json_line(text, [&](const Json& event) {
    if (!event.is_object()) return;
    const std::string type = text_at(event, "type");
    if (type == "testStart") {
      const Json& test = at(event, "test");
      tests[number_at(test, "id")] = {text_at(test, "name"), without_scheme(text_at(test, "url")),
                                      "", number_at(test, "line"), number_at(test, "column")};
    } else if (type == "error") {
      append_tail(tests[number_at(event, "testID")].error, text_at(event, "error"));
    } else if (type == "testDone") {
      const Test& test = tests[number_at(event, "testID")];
      if (text_at(event, "result") == "success") {
        if (at(event, "hidden") != true) ++report.passed;
        return;
      }
      report.add(
          finding(Annotation::FAILURE, test.name, test.error, test.url, test.line, test.column));
    }
  }));
  return report;
}

Result<Report> go_test(std::string_view text) {
  using Name = std::pair<std::string, std::string>;  // package, test; the latter may be empty
  std::map<Name, std::string> output;
  std::vector<Name> failed;
  Report report;
  CIRRUS_TRY(each_object(text, [&](const Json& event) {
    const Name name(text_at(event, "Package"), text_at(event, "Test"));
    const std::string action = text_at(event, "Action");
    if (action == "output") {
      append_tail(output[name], text_at(event, "Output"));
    } else if (action == "fail") {
      failed.push_back(name);
    } else if (action == "pass" && !name.second.empty()) {
      ++report.passed;
    }
    if (action == "pass" || action == "skip") output.erase(name);
  }));
  // A test whose subtests failed, and a package whose tests did, say nothing new.
  std::set<Name> told;
  for (const Name& name : failed) {
    if (!name.second.empty()) told.emplace(name.first, "");
    for (std::size_t at = name.second.find('/'); at != std::string::npos;
         at = name.second.find('/', at + 1)) {
      told.emplace(name.first, name.second.substr(0, at));
    }
  }
  for (const Name& name : failed) {
    if (told.contains(name)) continue;
    const std::string& words = output[name];
    const Place place = place_of(words, ".go");
    report.add(finding(Annotation::FAILURE,
                       name.second.empty() ? name.first : name.first + "." + name.second, words,
                       place.path, place.line));
  }
  return report;
}

Result<Report> cargo(std::string_view text) {
  Report report;
  CIRRUS_TRY(each_object(text, [&report](const Json& event) {
    if (text_at(event, "reason") == "compiler-message") {
      const Json& message = at(event, "message");
      const std::string name = text_at(message, "level");
      // Source: rustc's JSON output: notes and help stand for themselves only at the top level.
      if (name != "error" && name != "warning") return;
      const Json& spans = list_at(message, "spans");
      for (const Json& span : spans) {
        if (at(span, "is_primary") != true) continue;
        Annotation one = finding(name == "error" ? Annotation::FAILURE : Annotation::WARNING,
                                 text_at(message, "message"), text_at(message, "rendered"),
                                 text_at(span, "file_name"), number_at(span, "line_start"),
                                 number_at(span, "column_start"));
        Annotation::FileLocation& place = *one.mutable_file_location();
        place.set_end_line(number_at(span, "line_end"));
        place.set_end_column(number_at(span, "column_end"));
        report.add(std::move(one));
        return;
      }
      // What has no place is a summary, except for errors of the linker.
      if (name == "error" && !text_at(message, "message").starts_with("aborting due to")) {
        report.add(finding(Annotation::FAILURE, text_at(message, "message"),
                           text_at(message, "rendered"), ""));
      }
      return;
    }
    if (text_at(event, "type") != "test") return;
    const std::string outcome = text_at(event, "event");
    if (outcome == "ok") ++report.passed;
    if (outcome != "failed") return;
    const std::string words = text_at(event, "stdout");
    const Place place = place_of(words, ".rs");
    report.add(finding(Annotation::FAILURE, text_at(event, "name"), words, place.path, place.line));
  }));
  return report;
}

}  // namespace cirrus::agent::formats
