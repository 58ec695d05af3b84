// SPDX-License-Identifier: MIT
#include "agent/shell.h"

#include <unistd.h>

#include "base/strings.h"

namespace cirrus::agent {

Result<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = '\0';
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\\') {
      if (++at == text.size()) return error(Code::InvalidArgument, "backslash at the end");
      word += text[at];
      in_word = true;
    } else if (quote != '\0') {
      if (c == quote) {
        quote = '\0';
      } else {
        word += c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != '\0') return error(Code::InvalidArgument, "a {} quote is not closed", quote);
  if (in_word) words.push_back(std::move(word));
  return words;
}

std::string default_shell(std::string_view path_variable) {
  for (const std::string& directory : split(path_variable, ':')) {
    if (directory.empty() || directory.front() != '/') continue;
    const std::string candidate = directory + "/bash";
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "/bin/sh";
}

std::string script_text(std::string_view shell, const std::vector<std::string>& lines) {
  // dash ends at an option it does not know, so every shell that may be one is asked in a subshell.
  const std::string_view program = shell.substr(0, shell.find_first_of(" \t"));
  const bool is_bash = program.substr(program.rfind('/') + 1) == "bash";
  std::string text = "#!" + std::string(shell) + "\n";
  text += "set -e\n";
  text += is_bash ? "set -o pipefail\n"
                  : "if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi\n";
  text += "set -o verbose\n";
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace cirrus::agent
