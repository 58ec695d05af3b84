// SPDX-License-Identifier: MIT
#include "model/isolation_kind.h"

#include <algorithm>

#include "base/strings.h"

namespace cirrus::model {

namespace {
constexpr std::string_view kAny = "any";

std::uint32_t bit_of(IsolationKind kind) {
  return std::uint32_t{1} << static_cast<unsigned>(kind);
}
}  // namespace

std::string_view to_string(IsolationKind kind) {
  switch (kind) {
    case IsolationKind::None: return "none";
    case IsolationKind::Container: return "container";
    case IsolationKind::Tart: return "tart";
    case IsolationKind::Vetu: return "vetu";
    case IsolationKind::Parallels: return "parallels";
  }
  return "";
}

IsolationSet IsolationSet::any() {
  IsolationSet set;
  set.any_ = true;
  return set;
}

Result<IsolationSet> IsolationSet::of(const std::vector<std::string>& words) {
  if (words.size() == 1 && words.front() == kAny) return any();
  IsolationSet set;
  for (const std::string& word : words) {
    const auto* const kind =
        std::find_if(kIsolationKinds.begin(), kIsolationKinds.end(),
                     [&](IsolationKind known) { return to_string(known) == word; });
    if (kind == kIsolationKinds.end()) {
      std::vector<std::string> known;
      for (const IsolationKind each : kIsolationKinds) known.emplace_back(to_string(each));
      return error(Code::InvalidArgument, "'{}' is no isolation: give {}, or any alone",
                   shorten(word, 40), join(known, ", "));
    }
    set.kinds_ |= bit_of(*kind);
  }
  return set;
}

bool IsolationSet::allows(IsolationKind kind) const {
  return any_ || (kinds_ & bit_of(kind)) != 0;
}

std::vector<std::string> IsolationSet::words() const {
  if (any_) return {std::string(kAny)};
  std::vector<std::string> words;
  for (const IsolationKind kind : kIsolationKinds) {
    if (allows(kind)) words.emplace_back(to_string(kind));
  }
  return words;
}

}  // namespace cirrus::model
