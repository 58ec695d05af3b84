// SPDX-License-Identifier: MIT
#include "isolation/container/registry_login.h"

#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "os/files.h"
#include "os/host.h"

namespace cirrus::isolation {

namespace {
using nlohmann::json;

constexpr const char* kDockerHub = "https://index.docker.io/v1/";
constexpr auto kHelperTime = std::chrono::seconds(20);

std::string variable(const os::Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

std::vector<std::string> configurations(const std::string& given,
                                        const os::Environment& environment) {
  if (!given.empty()) return {given};
  std::vector<std::filesystem::path> places;
  const std::string docker = variable(environment, "DOCKER_CONFIG");
  const std::string home = variable(environment, "HOME");
  const std::string podman = variable(environment, "REGISTRY_AUTH_FILE");
  const std::string runtime = variable(environment, "XDG_RUNTIME_DIR");
  if (!docker.empty()) places.push_back(std::filesystem::path(docker) / "config.json");
  if (!home.empty()) places.push_back(std::filesystem::path(home) / ".docker/config.json");
  if (!podman.empty()) places.emplace_back(podman);
  if (!runtime.empty()) {
    places.push_back(std::filesystem::path(runtime) / "containers/auth.json");
  }
  std::vector<std::string> texts;
  for (const std::filesystem::path& place : places) {
    Result<std::string> text = os::read_file(place, 4U << 20U);
    if (text.ok()) texts.push_back(std::move(text).value());
  }
  return texts;
}

std::string text_at(const json& value, const std::string& key) {
  const auto found = value.is_object() ? value.find(key) : value.end();
  return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// What a helper program says about a registry, as an AuthConfig; empty if nothing.
std::string ask_helper(const std::string& helper, const std::string& registry,
                       const os::Environment& environment, const StopToken& stop) {
  if (helper.find('/') != std::string::npos) return {};
  // Looked up where the engine's own commands would: the environment's PATH, not this process'.
  const std::string program =
      os::find_program("docker-credential-" + helper, variable(environment, "PATH"));
  if (program.empty()) return {};
  os::SpawnOptions options;
  options.argv = {program, "get"};
  options.environment = environment;
  const Result<os::CommandOutput> said =
      os::run_command(options, registry, stop, system_clock().now() + kHelperTime, 1U << 20U);
  if (!said.ok() || !said.value().status.success()) return {};
  const json answer = json::parse(said.value().output, nullptr, false);
  const std::string user = text_at(answer, "Username");
  const std::string secret = text_at(answer, "Secret");
  if (secret.empty()) return {};
  json login = {{"serveraddress", registry}};
  if (user == "<token>") {
    login["identitytoken"] = secret;
  } else {
    login["username"] = user;
    login["password"] = secret;
  }
  return login.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string base64_decoded(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    int digit = -1;
    if (c >= 'A' && c <= 'Z') digit = c - 'A';
    if (c >= 'a' && c <= 'z') digit = c - 'a' + 26;
    if (c >= '0' && c <= '9') digit = c - '0' + 52;
    if (c == '+' || c == '-') digit = 62;
    if (c == '/' || c == '_') digit = 63;
    if (digit < 0) continue;
    bits = (bits << 6U) | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>((bits >> static_cast<unsigned>(count)) & 0xFFU));
  }
  return bytes;
}

std::string login_in(const json& config, const std::string& registry,
                     const os::Environment& environment, const StopToken& stop) {
  const bool hub = registry == kDockerHub;
  const auto helpers = config.find("credHelpers");
  std::string helper = helpers != config.end() ? text_at(*helpers, registry) : std::string();
  if (helper.empty()) helper = text_at(config, "credsStore");
  if (!helper.empty()) {
    std::string login = ask_helper(helper, registry, environment, stop);
    if (!login.empty()) return login;
  }
  const auto auths = config.find("auths");
  if (auths == config.end() || !auths->is_object()) return {};
  for (const std::string& key : {registry, "https://" + registry, "https://" + registry + "/v1/",
                                 std::string(hub ? "docker.io" : registry), "http://" + registry}) {
    const auto entry = auths->find(key);
    if (entry == auths->end() || !entry->is_object()) continue;
    json login = {{"serveraddress", registry}};
    const std::string pair = base64_decoded(text_at(*entry, "auth"));
    const std::size_t colon = pair.find(':');
    if (colon != std::string::npos) {
      login["username"] = pair.substr(0, colon);
      login["password"] = pair.substr(colon + 1);
    }
    for (const char* field : {"username", "password", "identitytoken", "registrytoken"}) {
      const std::string value = text_at(*entry, field);
      if (!value.empty()) login[field] = value;
    }
    if (login.size() > 1) return login.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  return {};
}

}  // namespace

std::string registry_of(const std::string& image) {
  const std::size_t slash = image.find('/');
  const std::string first = image.substr(0, slash);
  const bool names_host = slash != std::string::npos &&
                          (first.find_first_of(".:") != std::string::npos || first == "localhost");
  if (!names_host || first == "docker.io" || first == "index.docker.io") return kDockerHub;
  return first;
}

std::string registry_login(const std::string& image, const std::string& config,
                           const os::Environment& environment, const StopToken& stop) {
  const std::string registry = registry_of(image);
  for (const std::string& text : configurations(config, environment)) {
    const json parsed = json::parse(text, nullptr, false);
    if (!parsed.is_object()) continue;
    std::string login = login_in(parsed, registry, environment, stop);
    if (!login.empty()) return login;
  }
  return {};
}

}  // namespace cirrus::isolation
