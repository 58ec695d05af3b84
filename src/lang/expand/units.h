// SPDX-License-Identifier: MIT
// Amounts written in configurations. Every failure is InvalidArgument and names the text.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace cirrus::lang {

/// Memory in megabytes: digits and nothing (below 100 gigabytes, else megabytes), `m mb mi`, or
/// `g gb gi` in any case. Source: reference CLI; its overflow is an error here.
Result<std::uint32_t> parse_megabytes(std::string_view text);

/// A duration in seconds: digits and nothing or `m` for minutes, `h`, `s`, in any case.
/// Source: reference CLI; its overflow is an error here.
Result<std::uint32_t> parse_seconds(std::string_view text);

/// A decimal integer between `low` and `high`, both included.
Result<std::int64_t> parse_integer(std::string_view text, std::int64_t low, std::int64_t high);

/// A finite decimal number.
Result<double> parse_decimal(std::string_view text);

}  // namespace cirrus::lang
