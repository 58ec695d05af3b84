// SPDX-License-Identifier: MIT
#include "lang/tasks/shell_words.h"

namespace cirrus::lang {

Result<std::vector<std::string>> shell_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;  // Also true for an empty quoted word.
  char quote = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quote == '\'') {
      if (c == quote)
        quote = 0;
      else
        word += c;
      continue;
    }
    if (c == '\\') {
      if (++at == text.size()) return error(Code::InvalidArgument, "the text ends in a backslash");
      // Between double quotes a backslash is special before few characters only.
      if (quote == '"' && std::string_view("\"\\$`").find(text[at]) == std::string_view::npos)
        word += '\\';
      word += text[at];
      in_word = true;
    } else if (quote == '"') {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else if (c == '#' && !in_word) {
      at = std::min(text.find('\n', at), text.size());
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) return error(Code::InvalidArgument, "a quote is not closed");
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace cirrus::lang
