// SPDX-License-Identifier: MIT
#include "agent/annotations/annotations.h"

#include <charconv>

#include "agent/annotations/formats.h"
#include "base/strings.h"

namespace cirrus::agent {
namespace {

struct Format {
  std::string_view name;
  Result<Report> (*read)(std::string_view text);
};

constexpr Format kFormats[] = {
    {"junit", &formats::junit},
    {"golangci", &formats::golangci},
    {"android-lint", &formats::android_lint},
    {"eslint", &formats::eslint},
    {"rspec", &formats::rspec},
    {"rubocop", &formats::rubocop},
    {"qodana", &formats::qodana},
    {"xclogparser", &formats::xclogparser},
    {"flutter", &formats::flutter},
    {"boost", &formats::boost},
    {"buf", &formats::buf},
    {"swiftformat", &formats::swiftformat},
    {"cirrus", &formats::cirrus},
    {"go-test", &formats::go_test},
    {"gotest", &formats::go_test},
    {"cargo", &formats::cargo},
};

const Format* find_format(std::string_view name) {
  const std::string lower = to_lower(name);
  for (const Format& one : kFormats) {
    if (one.name == lower) return &one;
  }
  return nullptr;
}

}  // namespace

bool is_report_format(std::string_view format) {
  return find_format(format) != nullptr;
}

Result<Report> read_report(std::string_view format, std::string_view text) {
  const Format* known = find_format(format);
  if (known == nullptr) return Report();
  if (text.size() > kMaxReport) {
    return error(Code::InvalidArgument, "the report is larger than {} MiB", kMaxReport >> 20U);
  }
  return known->read(text);
}

void fix_paths(std::vector<wire::Annotation>& annotations, const PathIndex& index) {
  for (wire::Annotation& one : annotations) {
    std::string& path = *one.mutable_file_location()->mutable_path();
    path = index.fix(path);
  }
}

namespace formats {

wire::Annotation finding(wire::Annotation::Level level, std::string message, std::string details,
                         std::string path, std::int64_t line, std::int64_t column) {
  wire::Annotation one;
  one.set_type(wire::Annotation::GENERIC);
  one.set_level(level);
  one.set_message(std::move(message));
  one.set_raw_details(std::move(details));
  wire::Annotation::FileLocation& place = *one.mutable_file_location();
  place.set_path(std::move(path));
  place.set_start_line(line);
  place.set_end_line(line);
  place.set_start_column(column);
  place.set_end_column(column);
  return one;
}

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string without_scheme(std::string path) {
  constexpr std::string_view kScheme = "file://";
  if (path.starts_with(kScheme)) path.erase(0, kScheme.size());
  return path;
}

}  // namespace formats
}  // namespace cirrus::agent
