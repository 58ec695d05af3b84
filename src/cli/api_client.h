// SPDX-License-Identifier: MIT
// ApiClient: the controller's HTTP API as commands use it.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "base/secret.h"
#include "cli/contexts.h"
#include "net/http_client.h"

namespace CLI {
class App;
}

namespace cirrus::cli {

/// Which controller, and as whom. Flags first, then the environment, then a saved context.
struct ApiFlags {
  std::string url;
  std::string token_file;
  std::string ca_file = {};
  std::string context = {};
};
void add_api_flags(CLI::App& command, ApiFlags& flags);

class ApiClient {
 public:
  /// Errors: InvalidArgument with what to pass if no address or token is known.
  static Result<ApiClient> create(const ApiFlags& flags);
  /// Of a saved context.
  static Result<ApiClient> create(const Context& context);

  const std::string& url() const { return url_; }
  const Secret& token() const { return token_; }
  /// Certificates to trust; empty: the system's.
  const std::string& ca_file() const { return ca_file_; }

  /// For each request that is no stream; half a minute unless set.
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }

  /// Errors carry the server's sentence. Codes: InvalidArgument for 4xx, NotFound,
  /// FailedPrecondition (409), Unauthenticated,
  /// PermissionDenied, Unavailable if it cannot be reached or answers 5xx.
  Result<nlohmann::json> get(const std::string& path) const;
  Result<nlohmann::json> post(const std::string& path, const nlohmann::json& body) const;
  /// DELETE.
  Result<nlohmann::json> remove(const std::string& path) const;
  /// The body piece by piece as it arrives; false from `on_bytes` ends the download.
  Status download(const std::string& path,
                  const std::function<bool(std::string_view bytes)>& on_bytes) const;
  /// The body as it is.
  Result<std::string> get_text(const std::string& path) const;
  /// Server-sent events until `on_event` returns false. A broken stream is opened again.
  Status events(const std::string& path,
                const std::function<bool(const net::EventParser::Event&)>& on_event,
                const StopToken& stop = {}) const;

 private:
  ApiClient(std::string url, Secret token, std::string ca_file)
      : url_(std::move(url)), token_(std::move(token)), ca_file_(std::move(ca_file)) {}
  net::HttpRequest request(const std::string& method, const std::string& path) const;

  std::string url_;
  Secret token_;
  std::string ca_file_;
  std::chrono::milliseconds timeout_{30'000};
  net::HttpClient http_;
};

/// 3 for what cannot be reached or is not allowed, 2 for what was asked wrongly, else 1.
int exit_code_for(const Error& failure);

}  // namespace cirrus::cli
