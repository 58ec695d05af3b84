// SPDX-License-Identifier: MIT
// The formats of reports; one function each. Source: reference agent, annotations.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/annotations/annotations.h"

namespace cirrus::agent::formats {

/// One finding with what most have. `line` and `column` 0: unknown.
wire::Annotation finding(wire::Annotation::Level level, std::string message, std::string details,
                         std::string path, std::int64_t line = 0, std::int64_t column = 0);
/// The number at the head of a text; 0 if there is none.
std::int64_t number(std::string_view text);
/// A path without `file://` in front.
std::string without_scheme(std::string path);

// XML.
Result<Report> junit(std::string_view text);
Result<Report> android_lint(std::string_view text);
Result<Report> boost(std::string_view text);

// JSON, whole documents.
Result<Report> golangci(std::string_view text);
Result<Report> eslint(std::string_view text);
Result<Report> rspec(std::string_view text);
Result<Report> rubocop(std::string_view text);
Result<Report> qodana(std::string_view text);
Result<Report> xclogparser(std::string_view text);
Result<Report> swiftformat(std::string_view text);

// JSON, a value a line.
Result<Report> flutter(std::string_view text);
Result<Report> buf(std::string_view text);
Result<Report> cirrus(std::string_view text);
/// Ours: `go test -json`.
Result<Report> go_test(std::string_view text);
/// Ours: `cargo build|clippy --message-format=json`, and `cargo test -- --format=json`.
Result<Report> cargo(std::string_view text);

}  // namespace cirrus::agent::formats
