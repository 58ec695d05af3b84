// SPDX-License-Identifier: MIT
#include "agent/glob.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/strings.h"

namespace cirrus::agent {
namespace {

namespace fs = std::filesystem;

// Ours.
constexpr std::size_t kMostResults = 1'000'000;
constexpr std::size_t kMostAlternatives = 10'000;
constexpr std::size_t kDeepest = 256;

bool has_meta(std::string_view component) {
  return component.find_first_of("*?[\\") != std::string_view::npos;
}

/// One `[...]` at `at` of `pattern`, which is moved behind it; whether it holds `letter`.
Result<bool> in_set(std::string_view pattern, std::size_t& at, char letter) {
  std::size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '^' || pattern[i] == '!');
  if (negated) ++i;
  bool found = false;
  bool first = true;
  const auto take = [&]() -> char {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    return pattern[i++];
  };
  while (i < pattern.size() && (first || pattern[i] != ']')) {
    first = false;
    const char low = take();
    char high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      ++i;
      high = take();
    }
    const auto value = static_cast<unsigned char>(letter);
    found = found ||
            (static_cast<unsigned char>(low) <= value && value <= static_cast<unsigned char>(high));
  }
  if (i >= pattern.size()) {
    return error(Code::InvalidArgument, "the pattern '{}' has a '[' without its ']'", pattern);
  }
  at = i + 1;
  return found != negated;
}

// A bad set is an error also where no name is ever compared with it.
Status check_sets(std::string_view component) {
  for (std::size_t at = 0; at < component.size();) {
    if (component[at] == '[') {
      (void)CIRRUS_TRY(in_set(component, at, 'x'));
    } else {
      at += component[at] == '\\' ? 2 : 1;
    }
  }
  return {};
}

/// Appends every way to choose one of each `{a,b}`.
Status alternatives(const std::string& pattern, std::vector<std::string>& all) {
  std::size_t open = std::string::npos;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\') {
      ++i;
    } else if (pattern[i] == '{') {
      open = i;
      break;
    }
  }
  if (open == std::string::npos) {
    if (all.size() == kMostAlternatives) {
      return error(Code::InvalidArgument, "the pattern has more than {} alternatives",
                   kMostAlternatives);
    }
    all.push_back(pattern);
    return {};
  }
  std::vector<std::size_t> borders{open};
  std::size_t depth = 0;
  std::size_t close = std::string::npos;
  for (std::size_t i = open; i < pattern.size() && close == std::string::npos; ++i) {
    if (pattern[i] == '\\') {
      ++i;
    } else if (pattern[i] == '{') {
      ++depth;
    } else if (pattern[i] == ',' && depth == 1) {
      borders.push_back(i);
    } else if (pattern[i] == '}' && --depth == 0) {
      close = i;
    }
  }
  if (close == std::string::npos) {
    return error(Code::InvalidArgument, "the pattern '{}' has a '{{' without its '}}'", pattern);
  }
  borders.push_back(close);
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    CIRRUS_TRY(alternatives(pattern.substr(0, open) +
                                pattern.substr(borders[i] + 1, borders[i + 1] - borders[i] - 1) +
                                pattern.substr(close + 1),
                            all));
  }
  return {};
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

/// One child of a directory.
struct Child {
  std::string name;
  bool may_be_directory = true;  ///< a directory, a link or not known
};

std::vector<Child> children_of(const fs::path& directory) {
  const std::unique_ptr<DIR, CloseDirectory> stream(::opendir(directory.c_str()));
  std::vector<Child> children;
  if (!stream) return children;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    children.push_back({std::string(name), entry->d_type == DT_DIR || entry->d_type == DT_LNK ||
                                               entry->d_type == DT_UNKNOWN});
  }
  std::sort(children.begin(), children.end(),
            [](const Child& a, const Child& b) { return a.name < b.name; });
  return children;
}

class Walk {
 public:
  Walk(const StopToken& stop, std::vector<fs::path>& found) : stop_(stop), found_(found) {}

  Status run(const fs::path& here, const std::vector<std::string>& components, std::size_t at) {
    if (stop_.stop_requested()) return error(Code::Cancelled, "the search was stopped");
    if (at == components.size()) return add(here);
    const std::string& component = components[at];
    if (component == "**") return any_depth(here, components, at);
    if (!has_meta(component)) {
      const fs::path next = here / component;
      struct stat facts {};
      return ::lstat(next.c_str(), &facts) == 0 ? run(next, components, at + 1) : Status();
    }
    const bool last = at + 1 == components.size();
    for (const Child& child : children_of(here)) {
      if (!last && !child.may_be_directory) continue;
      if (!CIRRUS_TRY(matches_component(component, child.name))) continue;
      CIRRUS_TRY(run(here / child.name, components, at + 1));
    }
    return {};
  }

 private:
  // Here, then every directory below, except where a link leads back to one that we are in.
  Status any_depth(const fs::path& here, const std::vector<std::string>& components,
                   std::size_t at) {
    struct stat facts {};
    if (::stat(here.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) {
      return {};
    }
    const std::pair<dev_t, ino_t> self{facts.st_dev, facts.st_ino};
    if (above_.size() >= kDeepest ||
        std::find(above_.begin(), above_.end(), self) != above_.end()) {
      return {};
    }
    const bool last = at + 1 == components.size();
    if (last) {
      CIRRUS_TRY(add(here));
    } else {
      // What follows may hold another `**`, which looks at circles of its own.
      const std::vector<std::pair<dev_t, ino_t>> kept = std::exchange(above_, {});
      const Status below = run(here, components, at + 1);
      above_ = kept;
      CIRRUS_TRY(below);
    }
    above_.push_back(self);
    for (const Child& child : children_of(here)) {
      const fs::path next = here / child.name;
      if (child.may_be_directory && fs::is_directory(next, ignored_)) {
        CIRRUS_TRY(any_depth(next, components, at));
      } else if (last) {
        CIRRUS_TRY(add(next));
      }
    }
    above_.pop_back();
    return {};
  }

  Status add(const fs::path& path) {
    if (found_.size() >= kMostResults) {
      return error(Code::ResourceExhausted, "the pattern matches more than {} files", kMostResults);
    }
    found_.push_back(path);
    return {};
  }

  const StopToken stop_;
  std::vector<fs::path>& found_;
  std::vector<std::pair<dev_t, ino_t>> above_;
  std::error_code ignored_;
};

}  // namespace

Result<bool> matches_component(std::string_view pattern, std::string_view name) {
  // The usual backtracking to the last star, which is linear in practice and never exponential.
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_name = 0;
  while (n < name.size()) {
    bool fits = false;
    std::size_t next = p;
    if (p < pattern.size()) {
      switch (pattern[p]) {
        case '*':
          star = p++;
          star_name = n;
          continue;
        case '?':
          fits = true;
          ++next;
          break;
        case '[': fits = CIRRUS_TRY(in_set(pattern, next, name[n])); break;
        case '\\':
          if (p + 1 < pattern.size()) ++next;
          [[fallthrough]];
        default: fits = pattern[next++] == name[n];
      }
    }
    if (fits) {
      p = next;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Result<std::vector<fs::path>> glob(std::string_view pattern, const StopToken& stop) {
  std::vector<std::string> patterns;
  CIRRUS_TRY(alternatives(std::string(pattern), patterns));
  std::vector<fs::path> found;
  for (const std::string& one : patterns) {
    std::vector<std::string> components;
    for (std::string& component : split(one, '/')) {
      if (component.empty() || component == ".") continue;
      // Two in a row mean what one means.
      if (component == "**" && !components.empty() && components.back() == "**") continue;
      CIRRUS_TRY(check_sets(component));
      components.push_back(std::move(component));
    }
    CIRRUS_TRY(Walk(stop, found).run("/", components, 0));
  }
  // Alternatives may find the same.
  if (patterns.size() > 1) {
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
  }
  return found;
}

}  // namespace cirrus::agent
