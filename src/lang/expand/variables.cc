// SPDX-License-Identifier: MIT
#include "lang/expand/variables.h"

#include <array>
#include <vector>

namespace cirrus::lang {
namespace {

constexpr int kRounds = 10;  ///< Source: reference CLI.

/// The text being expanded and where a reference can start in it, so that a round over many
/// variables costs one comparison per start instead of a search of the whole text.
class Text {
 public:
  explicit Text(std::string_view text) : text_(text) { index(); }

  const std::string& str() const { return text_; }
  std::size_t starts() const { return starts_.size(); }

  /// Whether any reference could name something that begins with `first`; rules most names out
  /// without looking at the text.
  bool can_begin_with(char first) const { return beginnings_[static_cast<unsigned char>(first)]; }

  bool contains(char sigil, std::string_view open, std::string_view name,
                std::string_view close) const {
    for (const std::size_t at : starts_) {
      if (matches(at, sigil, open, name, close)) return true;
    }
    return false;
  }

  /// Replaces all occurrences, left to right, without looking into what was put in. False if the
  /// text would become larger than `limit`.
  bool replace(char sigil, std::string_view open, std::string_view name, std::string_view close,
               std::string_view value, std::size_t limit) {
    const std::size_t length = 1 + open.size() + name.size() + close.size();
    std::string result;
    std::size_t done = 0;
    for (const std::size_t at : starts_) {
      if (at < done || !matches(at, sigil, open, name, close)) continue;
      result.append(text_, done, at - done);
      result += value;
      done = at + length;
      if (result.size() > limit) return false;
    }
    result.append(text_, done);
    if (result.size() > limit) return false;
    text_ = std::move(result);
    index();
    return true;
  }

 private:
  bool matches(std::size_t at, char sigil, std::string_view open, std::string_view name,
               std::string_view close) const {
    std::string_view rest = std::string_view(text_).substr(at);
    if (rest.front() != sigil) return false;
    rest.remove_prefix(1);
    if (!rest.starts_with(open)) return false;
    rest.remove_prefix(open.size());
    if (!rest.starts_with(name)) return false;
    return rest.substr(name.size()).starts_with(close);
  }

  void index() {
    starts_.clear();
    beginnings_.fill(false);
    for (std::size_t at = text_.find_first_of("$%"); at != std::string::npos;
         at = text_.find_first_of("$%", at + 1)) {
      starts_.push_back(at);
      std::size_t name = at + 1;
      if (name < text_.size()) beginnings_[static_cast<unsigned char>(text_[name])] = true;
      if (text_[at] == '$' && name + 1 < text_.size() && text_[name] == '{') {
        beginnings_[static_cast<unsigned char>(text_[name + 1])] = true;
      }
    }
  }

  std::string text_;
  std::vector<std::size_t> starts_;
  std::array<bool, 256> beginnings_{};
};

struct Form {
  char sigil;
  std::string_view open;
  std::string_view close;
};

Error too_much_work() {
  return error(Code::ResourceExhausted, "expanding variables takes too much work");
}

constexpr Form kForms[] = {{'$', "", ""}, {'$', "{", "}"}, {'%', "", "%"}};

}  // namespace

Result<std::string> expand_text(std::string_view original, const Variables& variables,
                                const Limits& limits, Budget& budget) {
  if (original.find_first_of("$%") == std::string_view::npos) return std::string(original);
  Text text(original);
  for (int round = 0; round < kRounds; ++round) {
    const std::string before = text.str();
    if (!budget.spend_work(before.size() + variables.size())) return too_much_work();
    for (const auto& [name, value] : variables) {
      if (text.starts() == 0) break;
      if (!name.empty() && !text.can_begin_with(name.front())) continue;
      if (!budget.spend_work(text.starts() * std::size(kForms))) {
        return too_much_work();
      }
      for (const Form& form : kForms) {
        if (!text.contains(form.sigil, form.open, name, form.close)) continue;
        if (!text.replace(form.sigil, form.open, name, form.close, value, limits.max_text_bytes)) {
          return error(Code::ResourceExhausted,
                       "expanding '{}' makes the text larger than {} bytes", name,
                       limits.max_text_bytes);
        }
        if (!budget.spend_work(text.str().size())) return too_much_work();
      }
    }
    if (text.str() == before) break;
  }
  return text.str();
}

}  // namespace cirrus::lang
