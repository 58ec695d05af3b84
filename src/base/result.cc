// SPDX-License-Identifier: MIT
#include "base/result.h"

#include <cerrno>
#include <system_error>

namespace cirrus {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::Ok: return "ok";
    case Code::Cancelled: return "cancelled";
    case Code::Unknown: return "unknown";
    case Code::InvalidArgument: return "invalid_argument";
    case Code::DeadlineExceeded: return "deadline_exceeded";
    case Code::NotFound: return "not_found";
    case Code::AlreadyExists: return "already_exists";
    case Code::PermissionDenied: return "permission_denied";
    case Code::ResourceExhausted: return "resource_exhausted";
    case Code::FailedPrecondition: return "failed_precondition";
    case Code::Aborted: return "aborted";
    case Code::OutOfRange: return "out_of_range";
    case Code::Unimplemented: return "unimplemented";
    case Code::Internal: return "internal";
    case Code::Unavailable: return "unavailable";
    case Code::DataLoss: return "data_loss";
    case Code::Unauthenticated: return "unauthenticated";
  }
  return "unknown";
}

std::string Error::to_string() const {
  std::string text;
  for (auto note = notes_.rbegin(); note != notes_.rend(); ++note) {
    text += *note;
    text += ": ";
  }
  return text + message_;
}

Code code_of_errno(int number) {
  switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH: return Code::NotFound;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP: return Code::PermissionDenied;
    case EEXIST:
    case EADDRINUSE: return Code::AlreadyExists;
    case EINVAL:
    case ENAMETOOLONG: return Code::InvalidArgument;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN: return Code::ResourceExhausted;
    case ETIMEDOUT: return Code::DeadlineExceeded;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENETUNREACH:
    case EHOSTUNREACH: return Code::Unavailable;
    case ECANCELED: return Code::Cancelled;
    default: return Code::Internal;
  }
}

namespace detail {
std::string errno_text(int number) {
  return std::generic_category().message(number);
}
}  // namespace detail

}  // namespace cirrus
