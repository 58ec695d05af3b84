// SPDX-License-Identifier: MIT
#include "agent/vault.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/strings.h"

namespace cirrus::agent {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kCached = "VAULT[";
constexpr std::string_view kUncached = "VAULT_NOCACHE[";

Error malformed(std::string_view value, std::string_view why) {
  return error(Code::InvalidArgument, "'{}' is no Vault reference: {}", value, why);
}

/// What the server said of an error, as one sentence.
std::string reason_of(const rpc::VaultAnswer& answer) {
  const Json body = Json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  std::vector<std::string> reasons;
  if (body.is_object() && body.contains("errors") && body["errors"].is_array()) {
    for (const Json& one : body["errors"]) {
      if (one.is_string()) reasons.push_back(one.get<std::string>());
    }
  }
  return shorten(
      fmt::format("status {}{}{}", answer.status, reasons.empty() ? "" : ": ", join(reasons, "; ")),
      500);
}

Result<Json> ask(rpc::VaultLink& link, const rpc::VaultCall& call) {
  const rpc::VaultAnswer answer = CIRRUS_TRY(link.call(call));
  if (answer.status == 404) return error(Code::NotFound, "Vault has nothing at '{}'", call.path);
  if (answer.status < 200 || answer.status > 299) {
    return error(Code::FailedPrecondition, "Vault refused '{}': {}", call.path, reason_of(answer));
  }
  Json body = Json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) {
    return error(Code::FailedPrecondition, "what answered for Vault did not send JSON");
  }
  return body;
}

}  // namespace

Result<std::optional<VaultReference>> parse_vault_reference(std::string_view value) {
  VaultReference reference;
  std::string_view inside = value;
  if (value.starts_with(kCached)) {
    inside.remove_prefix(kCached.size());
  } else if (value.starts_with(kUncached)) {
    inside.remove_prefix(kUncached.size());
    reference.cached = false;
  } else {
    return std::optional<VaultReference>();
  }
  if (!inside.ends_with(']')) return std::optional<VaultReference>();
  inside.remove_suffix(1);
  const std::vector<std::string> words = split(inside, ' ');
  if (words.size() < 2) return malformed(value, "it needs a path and a selector");
  reference.path = words[0];
  if (reference.path.empty() || reference.path.find('=') != std::string::npos) {
    return malformed(value, "its path is empty or has a '='");
  }
  reference.selector = split(words[1], '.');
  for (const std::string& part : reference.selector) {
    if (part.empty() || part.find('=') != std::string::npos) {
      return malformed(value, "its selector has an empty part or a '='");
    }
  }
  for (std::size_t at = 2; at < words.size(); ++at) {
    const std::size_t equals = words[at].find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == words[at].size() ||
        words[at].find('=', equals + 1) != std::string::npos) {
      return malformed(value, "an argument is not KEY=VALUE");
    }
    reference.arguments.emplace_back(words[at].substr(0, equals), words[at].substr(equals + 1));
  }
  return std::optional(std::move(reference));
}

Status Vault::log_in() {
  if (!token_.empty()) return {};
  token_ = login_.token;
  if (!token_.empty()) return {};
  if (login_.oidc_token.empty()) {
    return error(
        Code::Unauthenticated,
        "there is neither CIRRUS_VAULT_TOKEN nor CIRRUS_OIDC_TOKEN to log in to Vault with");
  }
  Json body{{"jwt", login_.oidc_token}};
  if (!login_.role.empty()) body["role"] = login_.role;
  const std::string mount = login_.auth_path.empty() ? "jwt" : login_.auth_path;
  const Json answer = CIRRUS_TRY(ask(link_, {.method = "PUT",
                                             .path = "auth/" + mount + "/login",
                                             .body = body.dump(),
                                             .token = "",
                                             .name_space = login_.name_space})
                                     .note("logging in to Vault"));
  const auto auth = answer.find("auth");
  if (auth != answer.end() && auth->is_object()) {
    const auto token = auth->find("client_token");
    if (token != auth->end() && token->is_string()) token_ = token->get<std::string>();
  }
  if (token_.empty()) return error(Code::Unauthenticated, "Vault's login answered without a token");
  return {};
}

Result<std::string> Vault::data_at(const std::string& path_and_query, bool cached) {
  const auto known = read_.find(path_and_query);
  if (cached && known != read_.end()) return known->second;
  Result<std::string> data = [&]() -> Result<std::string> {
    CIRRUS_TRY(log_in());
    const Json answer = CIRRUS_TRY(ask(link_, {.method = "GET",
                                               .path = path_and_query,
                                               .body = "",
                                               .token = token_,
                                               .name_space = login_.name_space}));
    const auto found = answer.find("data");
    if (found == answer.end() || !found->is_object()) {
      return error(Code::NotFound, "Vault has no data at '{}'", path_and_query);
    }
    return found->dump();
  }();
  read_.insert_or_assign(path_and_query, data);
  return data;
}

Result<std::string> Vault::read(const VaultReference& reference) {
  std::string path = reference.path;
  char separator = '?';
  for (const auto& [key, value] : reference.arguments) {
    path += separator + percent_encode(key) + "=" + percent_encode(value);
    separator = '&';
  }
  const std::string text = CIRRUS_TRY(data_at(path, reference.cached));
  const Json data = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const Json* at = &data;
  for (const std::string& part : reference.selector) {
    const auto next = at->is_object() ? at->find(part) : at->end();
    if (!at->is_object() || next == at->end()) {
      return error(Code::NotFound, "there is no '{}' in what Vault has at '{}'",
                   join(reference.selector, "."), reference.path);
    }
    at = &*next;
  }
  if (at->is_string()) return at->get<std::string>();
  if (at->is_object()) return at->dump();
  return error(Code::InvalidArgument, "'{}' at '{}' in Vault is neither a string nor an object",
               join(reference.selector, "."), reference.path);
}

Result<std::vector<std::string>> unbox_vault_variables(rpc::VaultLink& link, VaultLogin login,
                                                       const Variables& expanded,
                                                       Variables& variables) {
  Vault vault(link, std::move(login));
  std::vector<std::string> names;
  for (const auto& [name, value] : expanded) {
    const std::optional<VaultReference> reference =
        CIRRUS_TRY(parse_vault_reference(value).note("reading the variable {}", name));
    if (!reference) continue;
    variables[name] =
        CIRRUS_TRY(vault.read(*reference).note("reading the variable {} from Vault", name));
    names.push_back(name);
  }
  return names;
}

}  // namespace cirrus::agent
