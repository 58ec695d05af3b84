// SPDX-License-Identifier: MIT
#include "agent/env_file.h"

#include <optional>

#include <fmt/format.h>

#include "base/strings.h"

namespace cirrus::agent {
namespace {

/// Hands out lines one by one, without their line ends.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  std::optional<std::string_view> next() {
    if (rest_.empty()) return std::nullopt;
    ++number_;
    const std::size_t newline = rest_.find('\n');
    std::string_view line = rest_.substr(0, newline);
    rest_.remove_prefix(newline == std::string_view::npos ? rest_.size() : newline + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }
  int number() const { return number_; }

 private:
  std::string_view rest_;
  int number_ = 0;
};

/// The value of `KEY<<WORD`; nullopt if the closing word never comes.
std::optional<std::string> read_block(Lines& lines, std::string_view word) {
  std::string value;
  bool first = true;
  while (const std::optional<std::string_view> line = lines.next()) {
    if (*line == word) return value;
    if (!first) value += '\n';
    value += *line;
    first = false;
  }
  return std::nullopt;
}

// Ours: more is a file that was never meant to be one.
constexpr std::size_t kMostProblems = 20;

/// Notes the first ones and counts the others.
class Problems {
 public:
  explicit Problems(EnvFile& file) : file_(file) {}
  template <typename... Values>
  void add(fmt::format_string<Values...> words, Values&&... values) {
    if (file_.problems.size() < kMostProblems) {
      file_.problems.push_back(fmt::format(words, std::forward<Values>(values)...));
    } else {
      ++left_out_;
    }
  }
  void tell_count() {
    if (left_out_ == 0) return;
    file_.problems.push_back(
        fmt::format("{} more lines of CIRRUS_ENV cannot be used either", left_out_));
  }

 private:
  EnvFile& file_;
  std::size_t left_out_ = 0;
};

}  // namespace

EnvFile parse_env_file(std::string_view text) {
  EnvFile file;
  Problems problems(file);
  Lines lines(text);
  while (const std::optional<std::string_view> line = lines.next()) {
    if (trim(*line).empty() || line->front() == '#') continue;
    const int number = lines.number();
    const std::size_t equals = line->find('=');
    const std::size_t block = line->find("<<");
    const std::string name(line->substr(0, std::min(equals, block)));
    if (name.empty() || name.find('\0') != std::string::npos ||
        (equals == std::string_view::npos && block == std::string_view::npos)) {
      problems.add("line {} of CIRRUS_ENV is not KEY=VALUE: '{}'", number, shorten(*line, 60));
      continue;
    }
    if (block < equals) {
      const std::string_view word = line->substr(block + 2);
      std::optional<std::string> value = read_block(lines, word);
      if (word.empty() || !value) {
        problems.add("line {} of CIRRUS_ENV starts a value that is never closed by '{}'", number,
                     shorten(word, 60));
        continue;
      }
      file.variables[name] = *std::move(value);
      continue;
    }
    std::string value(line->substr(equals + 1));
    if (value.find('\0') != std::string::npos) {
      problems.add("line {} of CIRRUS_ENV holds a NUL byte", number);
      continue;
    }
    file.variables[name] = std::move(value);
  }
  problems.tell_count();
  return file;
}

}  // namespace cirrus::agent
