// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "base/result.h"
#include "net/http_types.h"

namespace cirrus::controller::http {

/// The HTTP status that fits an error code.
int status_of(Code code);

/// An RFC 9457 problem. `rendered`: a longer text with place and caret; may be empty.
net::ServerResponse problem(int status, const std::string& detail,
                            const std::string& rendered = {});
net::ServerResponse problem(const Error& failure);

/// A JSON answer.
net::ServerResponse json_response(int status, std::string body);

}  // namespace cirrus::controller::http
