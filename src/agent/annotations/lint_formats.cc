// SPDX-License-Identifier: MIT
// What linters and compilers say, in JSON.
#include "agent/annotations/formats.h"
#include "agent/annotations/json_reader.h"
#include "base/strings.h"

namespace cirrus::agent::formats {
namespace {

using Annotation = wire::Annotation;

Annotation with_end(Annotation one, std::int64_t line, std::int64_t column) {
  if (line > 0) one.mutable_file_location()->set_end_line(line);
  if (column > 0) one.mutable_file_location()->set_end_column(column);
  return one;
}

}  // namespace

Result<Report> golangci(std::string_view text) {
  const Json root = CIRRUS_TRY(parse_json(text));
  Report report;
  for (const Json& issue : list_at(root, "Issues")) {
    const Json& place = at(issue, "Pos");
    report.add(finding(Annotation::FAILURE,
                       fmt::format("{} ({})", text_at(issue, "Text"), text_at(issue, "FromLinter")),
                       "", text_at(place, "Filename"), number_at(place, "Line"),
                       number_at(place, "Column")));
  }
  return report;
}

Result<Report> eslint(std::string_view text) {
  const Json root = CIRRUS_TRY(parse_json(text));
  if (!root.is_array()) return error(Code::InvalidArgument, "the report is not a JSON array");
  Report report;
  for (const Json& file : root) {
    for (const Json& message : list_at(file, "messages")) {
      const std::int64_t severity = number_at(message, "severity");
      const Annotation::Level level = severity == 2   ? Annotation::FAILURE
                                      : severity == 1 ? Annotation::WARNING
                                                      : Annotation::NOTICE;
      report.add(
          with_end(finding(level, text_at(message, "ruleId") + ": " + text_at(message, "message"),
                           "", text_at(file, "filePath"), number_at(message, "line"),
                           number_at(message, "column")),
                   number_at(message, "endLine"), number_at(message, "endColumn")));
    }
  }
  return report;
}

Result<Report> rubocop(std::string_view text) {
  const Json root = CIRRUS_TRY(parse_json(text));
  Report report;
  for (const Json& file : list_at(root, "files")) {
    for (const Json& offense : list_at(file, "offenses")) {
      const std::string severity = text_at(offense, "severity");
      Annotation::Level level = Annotation::NOTICE;
      if (at(offense, "corrected") == true || severity == "refactor" || severity == "convention") {
        level = Annotation::NOTICE;
      } else if (severity == "warning") {
        level = Annotation::WARNING;
      } else if (severity == "error" || severity == "fatal") {
        level = Annotation::FAILURE;
      } else {
        continue;
      }
      const Json& place = at(offense, "location");
      report.add(finding(level, text_at(offense, "cop_name") + ": " + text_at(offense, "message"),
                         "", text_at(file, "path"), number_at(place, "line"),
                         number_at(place, "column")));
    }
  }
  return report;
}

Result<Report> qodana(std::string_view text) {
  const Json root = CIRRUS_TRY(parse_json(text));
  Report report;
  for (const Json& problem : list_at(root, "listProblem")) {
    const std::string severity = to_lower(text_at(problem, "severity"));
    const Annotation::Level level = severity == "critical" ? Annotation::FAILURE
                                    : severity == "high" || severity == "moderate"
                                        ? Annotation::WARNING
                                        : Annotation::NOTICE;
    for (const Json& source : list_at(problem, "sources")) {
      report.add(finding(level, text_at(problem, "comment"), text_at(problem, "detailsInfo"),
                         text_at(source, "path"), number_at(source, "line"),
                         number_at(source, "offset")));
    }
  }
  return report;
}

Result<Report> xclogparser(std::string_view text) {
  const Json root = CIRRUS_TRY(parse_json(text));
  if (!root.is_array()) return error(Code::InvalidArgument, "the report is not a JSON array");
  const std::pair<const char*, Annotation::Level> kinds[] = {{"errors", Annotation::FAILURE},
                                                             {"warnings", Annotation::WARNING},
                                                             {"notes", Annotation::NOTICE}};
  Report report;
  for (const Json& build : root) {
    for (const auto& [kind, level] : kinds) {
      for (const Json& one : list_at(build, kind)) {
        const std::string url = text_at(one, "documentURL");
        if (url.empty()) continue;
        report.add(with_end(
            finding(level, text_at(one, "title"), text_at(one, "detail"), without_scheme(url),
                    number_at(one, "startingLineNumber"), number_at(one, "startingColumnNumber")),
            number_at(one, "endingLineNumber"), number_at(one, "endingColumnNumber")));
      }
    }
  }
  return report;
}

Result<Report> swiftformat(std::string_view text) {
  // One array, or several after each other, one for each run of the tool.
  Report report;
  const auto read = [&report](const Json& list) {
    for (const Json& one : list) {
      report.add(finding(Annotation::WARNING,
                         text_at(one, "rule_id") + ": " + text_at(one, "reason"), "",
                         text_at(one, "file"), number_at(one, "line")));
    }
  };
  const Result<Json> whole = parse_json(text);
  if (whole.ok()) {
    if (whole.value().is_array()) read(whole.value());
    return report;
  }
  std::size_t begin = text.find('[');
  while (begin != std::string_view::npos) {
    std::size_t end = text.find("\n]", begin);
    end = end == std::string_view::npos ? text.size() : end + 2;
    read(CIRRUS_TRY(parse_json(text.substr(begin, end - begin))));
    begin = text.find('[', end);
  }
  return report;
}

Result<Report> buf(std::string_view text) {
  Report report;
  CIRRUS_TRY(each_json_line(text, [&report](const Json& one) {
    report.add(
        with_end(finding(Annotation::WARNING, text_at(one, "message"), "", text_at(one, "path"),
                         number_at(one, "start_line"), number_at(one, "start_column")),
                 number_at(one, "end_line"), number_at(one, "end_column")));
  }));
  return report;
}

Result<Report> cirrus(std::string_view text) {
  Report report;
  std::string unknown;
  CIRRUS_TRY(each_json_line(text, [&](const Json& one) {
    const std::string name = to_lower(text_at(one, "level"));
    Annotation::Level level = Annotation::NOTICE;
    if (name == "warning") {
      level = Annotation::WARNING;
    } else if (name == "failure") {
      level = Annotation::FAILURE;
    } else if (name != "notice") {
      unknown = name;
    }
    report.add(with_end(
        finding(level, text_at(one, "message"), text_at(one, "raw_details"), text_at(one, "path"),
                number_at(one, "start_line"), number_at(one, "start_column")),
        number_at(one, "end_line"), number_at(one, "end_column")));
  }));
  if (!unknown.empty()) {
    return error(Code::InvalidArgument,
                 "'{}' is no level; there are 'notice', 'warning' and 'failure'", unknown);
  }
  return report;
}

}  // namespace cirrus::agent::formats
