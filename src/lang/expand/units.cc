// SPDX-License-Identifier: MIT
#include "lang/expand/units.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "base/strings.h"

namespace cirrus::lang {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t kBareGigabytes = 100;  ///< Below it a bare number means gigabytes.

struct Amount {
  std::uint64_t number;
  std::string suffix;  ///< lower case
};

Result<Amount> split_amount(std::string_view text, std::string_view what) {
  Amount result{0, {}};
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, result.number);
  if (failure != std::errc{} || result.number > kMax) {
    return error(Code::InvalidArgument, "'{}' is not {}", shorten(text, 40), what);
  }
  result.suffix = to_lower(std::string_view(rest, static_cast<std::size_t>(end - rest)));
  return result;
}

Result<std::uint32_t> scaled(std::string_view text, std::uint64_t number, std::uint64_t factor) {
  if (number * factor > kMax)
    return error(Code::InvalidArgument, "'{}' is too large", shorten(text, 40));
  return static_cast<std::uint32_t>(number * factor);
}

}  // namespace

Result<std::uint32_t> parse_megabytes(std::string_view text) {
  const Amount amount = CIRRUS_TRY(split_amount(text, "an amount of memory such as 4G or 512Mb"));
  const std::string& suffix = amount.suffix;
  if (suffix.empty()) return scaled(text, amount.number, amount.number < kBareGigabytes ? 1024 : 1);
  if (suffix == "m" || suffix == "mb" || suffix == "mi") return scaled(text, amount.number, 1);
  if (suffix == "g" || suffix == "gb" || suffix == "gi") return scaled(text, amount.number, 1024);
  return error(Code::InvalidArgument, "'{}' is not an amount of memory such as 4G or 512Mb",
               shorten(text, 40));
}

Result<std::uint32_t> parse_seconds(std::string_view text) {
  const Amount amount = CIRRUS_TRY(split_amount(text, "a duration such as 90s, 30m or 2h"));
  const std::string& suffix = amount.suffix;
  if (suffix.empty() || suffix == "m") return scaled(text, amount.number, 60);
  if (suffix == "h") return scaled(text, amount.number, 3600);
  if (suffix == "s") return scaled(text, amount.number, 1);
  return error(Code::InvalidArgument, "'{}' is not a duration such as 90s, 30m or 2h",
               shorten(text, 40));
}

Result<std::int64_t> parse_integer(std::string_view text, std::int64_t low, std::int64_t high) {
  std::string_view digits = text;
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.remove_prefix(1);
  std::int64_t value = 0;
  const auto [rest, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (failure != std::errc{} || rest != digits.data() + digits.size() || value < low ||
      value > high) {
    return error(Code::InvalidArgument, "'{}' is not a whole number between {} and {}",
                 shorten(text, 40), low, high);
  }
  return value;
}

Result<double> parse_decimal(std::string_view text) {
  std::string_view digits = text;
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.remove_prefix(1);
  double value = 0;
  const auto [rest, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (failure != std::errc{} || rest != digits.data() + digits.size() || !std::isfinite(value)) {
    return error(Code::InvalidArgument, "'{}' is not a number", shorten(text, 40));
  }
  return value;
}

}  // namespace cirrus::lang
