// SPDX-License-Identifier: MIT
#include "lang/tasks/dockerfile.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/strings.h"
#include "lang/tasks/shell_words.h"

namespace cirrus::lang {
namespace {

using Variables = std::map<std::string, std::string>;

/// One instruction with its continuation lines joined.
struct Instruction {
  std::string keyword;  ///< lower case
  std::string rest;
  std::size_t line = 0;
};

struct Stage {
  std::string name;             ///< lower case, may be empty
  std::set<std::size_t> needs;  ///< earlier stages
  std::vector<std::string> sources;
  Variables variables;  ///< ARG and ENV, for stages that build on this one
};

bool is_known(std::string_view keyword) {
  static const std::set<std::string, std::less<>> kKnown = {
      "add",    "arg",   "cmd",         "copy",  "entrypoint", "env",
      "expose", "from",  "healthcheck", "label", "maintainer", "onbuild",
      "run",    "shell", "stopsignal",  "user",  "volume",     "workdir"};
  return kKnown.contains(keyword);
}

/// The words that open here documents in an instruction: `<<EOF`, `<<-"EOF"`.
std::vector<std::string> here_documents(std::string_view text) {
  std::vector<std::string> result;
  for (std::size_t at = text.find("<<"); at != std::string_view::npos;
       at = text.find("<<", at + 2)) {
    std::size_t begin = at + 2;
    if (begin < text.size() && text[begin] == '-') ++begin;
    const bool quoted = begin < text.size() && (text[begin] == '"' || text[begin] == '\'');
    if (quoted) ++begin;
    std::size_t end = begin;
    while (end < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_'))
      ++end;
    if (end > begin) result.emplace_back(text.substr(begin, end - begin));
  }
  return result;
}

class Lines {
 public:
  explicit Lines(std::string_view text) : lines_(split(text, '\n')) {
    // The escape character can be changed by a directive before anything else.
    for (const std::string& line : lines_) {
      const std::string directive = to_lower(trim(line));
      if (!directive.starts_with('#')) break;
      const std::size_t equals = directive.find('=');
      if (equals == std::string::npos) break;
      if (trim(std::string_view(directive).substr(1, equals - 1)) == "escape") {
        if (trim(std::string_view(directive).substr(equals + 1)) == "`") escape_ = '`';
      }
    }
  }

  char escape() const { return escape_; }

  std::optional<Instruction> next() {
    Instruction result;
    std::string text;
    while (at_ < lines_.size()) {
      std::string_view line = lines_[at_++];
      const std::string_view bare = trim(line);
      if (bare.empty() || bare.starts_with('#')) continue;
      if (text.empty()) result.line = at_;
      const std::size_t last = line.find_last_not_of(" \t\r");
      const bool goes_on = line[last] == escape_;
      text += goes_on ? line.substr(0, last) : line;
      if (!goes_on) break;
    }
    const std::string_view bare = trim(text);
    if (bare.empty()) return std::nullopt;
    const std::size_t space = std::min(bare.find_first_of(" \t"), bare.size());
    result.keyword = to_lower(bare.substr(0, space));
    result.rest = trim(bare.substr(space));
    if (result.keyword == "run" || result.keyword == "copy" || result.keyword == "add") {
      for (const std::string& word : here_documents(result.rest)) skip_here_document(word);
    }
    return result;
  }

 private:
  void skip_here_document(const std::string& word) {
    while (at_ < lines_.size() && trim(lines_[at_]) != word) ++at_;
    if (at_ < lines_.size()) ++at_;
  }

  std::vector<std::string> lines_;
  std::size_t at_ = 0;
  char escape_ = '\\';
};

bool is_name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// `$X`, `${X}`, `${X:-default}`, `${X:+other}`; an escaped `$` stays a `$`.
std::string substitute(std::string_view text, const Variables& variables, char escape,
                       int depth = 0) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == escape && at + 1 < text.size() && text[at + 1] == '$') {
      result += '$';
      at += 2;
      continue;
    }
    if (text[at] != '$' || at + 1 == text.size()) {
      result += text[at++];
      continue;
    }
    const bool braces = text[at + 1] == '{';
    const std::size_t begin = at + (braces ? 2 : 1);
    std::size_t end = begin;
    while (end < text.size() && is_name_char(text[end])) ++end;
    const auto found = variables.find(std::string(text.substr(begin, end - begin)));
    const std::string value = found == variables.end() ? "" : found->second;
    if (end == begin) {
      result += text[at++];
      continue;
    }
    if (!braces) {
      result += value;
      at = end;
      continue;
    }
    const std::size_t close = std::min(text.find('}', end), text.size());
    const std::string_view modifier = text.substr(end, close - end);
    if (modifier.starts_with(":-") && value.empty() && depth < 8) {
      result += substitute(modifier.substr(2), variables, escape, depth + 1);
    } else if (modifier.starts_with(":+") && depth < 8) {
      if (!value.empty()) result += substitute(modifier.substr(2), variables, escape, depth + 1);
    } else {
      result += value;
    }
    at = std::min(close + 1, text.size());
  }
  return result;
}

/// Splits off leading `--flag[=value]` words; their values by name.
std::map<std::string, std::string> take_flags(std::string_view& rest) {
  std::map<std::string, std::string> flags;
  while (rest.starts_with("--")) {
    const std::size_t end = std::min(rest.find_first_of(" \t"), rest.size());
    const std::string_view word = rest.substr(2, end - 2);
    const std::size_t equals = std::min(word.find('='), word.size());
    flags[std::string(word.substr(0, equals))] =
        equals < word.size() ? word.substr(equals + 1) : "";
    rest = trim(rest.substr(end));
  }
  return flags;
}

/// The operands of COPY and ADD, written as words or as a JSON array.
std::vector<std::string> operands(std::string_view rest) {
  if (rest.starts_with('[') && rest.ends_with(']')) {
    std::vector<std::string> result;
    std::string_view inside = rest.substr(1, rest.size() - 2);
    while (!(inside = trim(inside)).empty()) {
      if (inside.front() == ',') {
        inside.remove_prefix(1);
        continue;
      }
      if (inside.front() != '"') break;
      const std::size_t close = inside.find('"', 1);
      if (close == std::string_view::npos) break;
      result.emplace_back(inside.substr(1, close - 1));
      inside.remove_prefix(close + 1);
    }
    if (inside.empty()) return result;
  }
  std::vector<std::string> result;
  std::string_view left = rest;
  while (!(left = trim(left)).empty()) {
    const std::size_t end = std::min(left.find_first_of(" \t"), left.size());
    result.emplace_back(left.substr(0, end));
    left.remove_prefix(end);
  }
  return result;
}

bool is_remote(std::string_view source) {
  return source.starts_with("http://") || source.starts_with("https://") ||
         source.starts_with("ftp://") || source.starts_with("git@") ||
         source.starts_with("git://") || source.starts_with("ssh://");
}

class Analysis {
 public:
  Analysis(std::string_view text, const Variables& arguments)
      : lines_(text), arguments_(arguments) {}

  Result<std::vector<std::string>> run() {
    while (const std::optional<Instruction> instruction = lines_.next()) {
      CIRRUS_TRY(take(*instruction));
    }
    if (stages_.empty()) return error(Code::InvalidArgument, "there is no FROM");
    std::set<std::size_t> needed;
    std::vector<std::size_t> open = {stages_.size() - 1};
    while (!open.empty()) {
      const std::size_t index = open.back();
      open.pop_back();
      if (!needed.insert(index).second) continue;
      open.insert(open.end(), stages_[index].needs.begin(), stages_[index].needs.end());
    }
    std::set<std::string> sources;
    for (const std::size_t index : needed)
      sources.insert(stages_[index].sources.begin(), stages_[index].sources.end());
    return std::vector<std::string>(sources.begin(), sources.end());
  }

 private:
  Status take(const Instruction& instruction) {
    const std::string& keyword = instruction.keyword;
    if (!is_known(keyword)) {
      return error(Code::InvalidArgument, "line {}: unknown instruction '{}'", instruction.line,
                   shorten(keyword, 40));
    }
    if (keyword == "from") return take_from(instruction);
    if (stages_.empty()) {
      if (keyword != "arg")
        return error(Code::InvalidArgument, "line {}: '{}' before FROM", instruction.line, keyword);
      define(instruction.rest, globals_, /*is_argument=*/true);
      return {};
    }
    Stage& stage = stages_.back();
    if (keyword == "arg") define(instruction.rest, stage.variables, /*is_argument=*/true);
    if (keyword == "env") define(instruction.rest, stage.variables, /*is_argument=*/false);
    if (keyword == "copy" || keyword == "add") return take_copy(instruction, stage);
    if (keyword == "run") {
      std::string_view rest = instruction.rest;
      for (const auto& [name, value] : take_flags(rest)) {
        if (name != "mount") continue;
        for (const std::string& part : split(value, ',')) {
          if (part.starts_with("from=")) need(stage, part.substr(5));
        }
      }
    }
    return {};
  }

  Status take_from(const Instruction& instruction) {
    std::string_view rest = instruction.rest;
    take_flags(rest);
    const std::vector<std::string> words = operands(rest);
    if (words.empty() || words.size() == 2 || words.size() > 3 ||
        (words.size() == 3 && to_lower(words[1]) != "as")) {
      return error(Code::InvalidArgument,
                   "line {}: FROM needs an image, optionally followed by AS and a name",
                   instruction.line);
    }
    Stage stage;
    const std::string base = to_lower(substitute(words[0], globals_, lines_.escape()));
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      if (stages_[i].name != base || base.empty()) continue;
      stage.needs = {i};
      stage.variables = stages_[i].variables;
    }
    if (words.size() == 3) stage.name = to_lower(words[2]);
    stages_.push_back(std::move(stage));
    return {};
  }

  Status take_copy(const Instruction& instruction, Stage& stage) {
    std::string_view rest = instruction.rest;
    const std::map<std::string, std::string> flags = take_flags(rest);
    if (const auto from = flags.find("from"); from != flags.end()) {
      need(stage, from->second);
      return {};
    }
    std::vector<std::string> words = operands(rest);
    if (words.size() < 2) {
      return error(Code::InvalidArgument, "line {}: {} needs a source and a destination",
                   instruction.line, instruction.keyword);
    }
    words.pop_back();
    for (const std::string& word : words) {
      std::string source = substitute(word, stage.variables, lines_.escape());
      if (source.starts_with("<<") || is_remote(source)) continue;
      while (source.starts_with('/')) source.erase(0, 1);
      while (source.ends_with('/')) source.pop_back();
      stage.sources.push_back(std::move(source));
    }
    return {};
  }

  void need(Stage& stage, std::string_view which) {
    const std::string wanted = to_lower(which);
    for (std::size_t i = 0; i + 1 < stages_.size(); ++i) {
      if ((!wanted.empty() && stages_[i].name == wanted) || wanted == fmt::format("{}", i))
        stage.needs.insert(i);
    }
  }

  /// ARG `X`, `X=default`, ENV `X=a Y="b c"` or the old `X value`.
  void define(std::string_view rest, Variables& variables, bool is_argument) {
    const Result<std::vector<std::string>> words = shell_words(rest);
    if (!words.ok() || words.value().empty()) return;
    const std::string& first = words.value().front();
    if (!is_argument && first.find('=') == std::string::npos) {
      variables[first] =
          substitute(trim(rest.substr(std::min(rest.find(first) + first.size(), rest.size()))),
                     variables, lines_.escape());
      return;
    }
    for (const std::string& word : words.value()) {
      const std::size_t equals = std::min(word.find('='), word.size());
      const std::string name = word.substr(0, equals);
      std::string value =
          equals < word.size()
              ? substitute(std::string_view(word).substr(equals + 1), variables, lines_.escape())
              : "";
      if (is_argument) {
        if (const auto global = globals_.find(name);
            equals == word.size() && global != globals_.end())
          value = global->second;
        if (const auto given = arguments_.find(name); given != arguments_.end())
          value = given->second;
      }
      variables[name] = std::move(value);
    }
  }

  Lines lines_;
  const Variables& arguments_;
  Variables globals_;  ///< ARG before the first FROM
  std::vector<Stage> stages_;
};

}  // namespace

Result<std::vector<std::string>> copied_paths(std::string_view dockerfile,
                                              const std::map<std::string, std::string>& arguments) {
  return Analysis(dockerfile, arguments).run();
}

}  // namespace cirrus::lang
