// SPDX-License-Identifier: MIT
#include "cli/api_client.h"

#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/environment.h"

namespace cirrus::cli {

namespace {

Result<net::HttpResponse> checked(Result<net::HttpResponse> response) {
  if (!response.ok() || response.value().status < 400) return response;
  const net::HttpResponse& answer = response.value();
  std::string sentence = fmt::format("the controller answered {}", answer.status);
  // RFC 9457: `detail` is the sentence for people; `rendered` is ours, for configuration errors.
  const nlohmann::json problem = nlohmann::json::parse(answer.body, nullptr, false);
  if (problem.is_object()) {
    if (problem.contains("rendered") && problem["rendered"].is_string()) {
      sentence = problem["rendered"].get<std::string>();
    } else if (problem.contains("detail") && problem["detail"].is_string()) {
      sentence = problem["detail"].get<std::string>();
    }
  }
  switch (answer.status) {
    case 401: return Error(Code::Unauthenticated, sentence);
    case 403: return Error(Code::PermissionDenied, sentence);
    case 404: return Error(Code::NotFound, sentence);
    case 409: return Error(Code::FailedPrecondition, sentence);
    case 429:
    case 503: return Error(Code::Unavailable, sentence);
    default:
      return Error(answer.status >= 500 ? Code::Unavailable : Code::InvalidArgument, sentence);
  }
}

Result<nlohmann::json> parsed(Result<net::HttpResponse> response) {
  const net::HttpResponse answer = CIRRUS_TRY(checked(std::move(response)));
  nlohmann::json document = nlohmann::json::parse(answer.body, nullptr, false);
  if (document.is_discarded()) return error(Code::Internal, "the controller sent no JSON");
  return document;
}

}  // namespace

void add_api_flags(CLI::App& command, ApiFlags& flags) {
  command.add_option("--api-url", flags.url, "controller, such as http://127.0.0.1:7480")
      ->type_name("URL");
  command.add_option("--api-token-file", flags.token_file, "file that holds an API token")
      ->type_name("FILE");
  command
      .add_option("--api-ca-file", flags.ca_file, "certificates to trust instead of the system's")
      ->type_name("FILE");
  command.add_option("--context", flags.context, "a saved controller, see 'cirrus context'")
      ->type_name("NAME");
}

Result<ApiClient> ApiClient::create(const Context& context) {
  return ApiClient(context.url, context.token, context.ca_file);
}

namespace {
/// The named context, or the one in use; nullopt if none is.
Result<std::optional<Context>> saved_context(const ApiFlags& flags) {
  const std::string named =
      flags.context.empty() ? variable("CIRRUS_CONTEXT").value_or("") : flags.context;
  const Contexts contexts = CIRRUS_TRY(load_contexts(contexts_file()));
  const auto found = contexts.known.find(named.empty() ? contexts.current : named);
  if (found != contexts.known.end()) return std::optional(found->second);
  if (named.empty()) return std::optional<Context>();
  return error(Code::InvalidArgument, "there is no context '{}': see 'cirrus context list'", named);
}
}  // namespace

Result<ApiClient> ApiClient::create(const ApiFlags& flags) {
  std::string url = flags.url.empty() ? variable("CIRRUS_API_URL").value_or("") : flags.url;
  std::optional<Context> saved;
  // A saved token is for its own controller only.
  if (url.empty() || !flags.context.empty()) saved = CIRRUS_TRY(saved_context(flags));
  if (saved && url.empty()) url = saved->url;
  if (url.empty()) {
    return error(Code::InvalidArgument,
                 "which controller? pass --api-url, set CIRRUS_API_URL, or save one with 'cirrus "
                 "context add'");
  }
  while (url.ends_with('/')) url.pop_back();
  std::string ca_file =
      flags.ca_file.empty() ? variable("CIRRUS_API_CA_FILE").value_or("") : flags.ca_file;
  if (saved && ca_file.empty()) ca_file = saved->ca_file;
  Secret token;
  if (!flags.token_file.empty()) {
    token = CIRRUS_TRY(read_secret_file(flags.token_file));
  } else if (saved && saved->url == url) {
    token = saved->token;
  } else if (const auto known = CIRRUS_TRY(secret_variable("CIRRUS_API_TOKEN"))) {
    token = *known;
  } else {
    return error(Code::InvalidArgument,
                 "as whom? pass --api-token-file or set CIRRUS_API_TOKEN or CIRRUS_API_TOKEN_FILE");
  }
  return ApiClient(std::move(url), std::move(token), std::move(ca_file));
}

net::HttpRequest ApiClient::request(const std::string& method, const std::string& path) const {
  net::HttpRequest request;
  request.method = method;
  request.url = url_ + path;
  request.ca_file = ca_file_;
  request.timeout = timeout_;
  request.headers = {{"Authorization", "Bearer " + token_.reveal()}};
  return request;
}

Result<nlohmann::json> ApiClient::get(const std::string& path) const {
  return parsed(http_.send(request("GET", path)));
}

Result<nlohmann::json> ApiClient::post(const std::string& path, const nlohmann::json& body) const {
  net::HttpRequest message = request("POST", path);
  message.headers.emplace_back("Content-Type", "application/json");
  message.body = body.dump();
  return parsed(http_.send(message));
}

Result<nlohmann::json> ApiClient::remove(const std::string& path) const {
  return parsed(http_.send(request("DELETE", path)));
}

Status ApiClient::download(const std::string& path,
                           const std::function<bool(std::string_view bytes)>& on_bytes) const {
  net::HttpRequest message = request("GET", path);
  message.timeout = std::chrono::milliseconds(0);
  CIRRUS_TRY(checked(http_.stream(message, on_bytes)));
  return {};
}

Result<std::string> ApiClient::get_text(const std::string& path) const {
  net::HttpRequest message = request("GET", path);
  message.timeout = std::chrono::milliseconds(0);
  return CIRRUS_TRY(checked(http_.send(message, {}, std::size_t{4} << 30U))).body;
}

Status ApiClient::events(const std::string& path,
                         const std::function<bool(const net::EventParser::Event&)>& on_event,
                         const StopToken& stop) const {
  int failures = 0;
  std::string last_id;
  while (!stop.stop_requested()) {
    net::HttpRequest message = request("GET", path);
    message.headers.emplace_back("Accept", "text/event-stream");
    if (!last_id.empty()) message.headers.emplace_back("Last-Event-ID", last_id);
    message.timeout = std::chrono::milliseconds(0);
    net::EventParser parser;
    bool ended = false;
    Result<net::HttpResponse> response = checked(http_.stream(
        message,
        [&](std::string_view bytes) {
          failures = 0;
          return parser.feed(bytes, [&](const net::EventParser::Event& event) {
            if (!event.id.empty()) last_id = event.id;
            ended = !on_event(event);
            return !ended;
          });
        },
        stop));
    if (ended) return {};
    if (!response.ok() && response.error().code() != Code::Unavailable) return response.error();
    // The controller may be restarting: a minute of patience.
    if (++failures > 60) {
      if (response.ok()) return error(Code::Unavailable, "the event stream keeps ending");
      return response.error();
    }
    (void)wait_for(stop, std::chrono::milliseconds(failures == 1 ? 50 : 1000));
  }
  return error(Code::Cancelled, "interrupted");
}

int exit_code_for(const Error& failure) {
  switch (failure.code()) {
    case Code::Unavailable:
    case Code::DeadlineExceeded:
    case Code::Unauthenticated:
    case Code::PermissionDenied: return kUnreachable;
    case Code::InvalidArgument: return kUsage;
    default: return kFailed;
  }
}

}  // namespace cirrus::cli
