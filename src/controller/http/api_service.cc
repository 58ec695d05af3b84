// SPDX-License-Identifier: MIT
// Api: the page, health, figures, the API's own document, and sealing secrets.
#include <nlohmann/json.hpp>

#include "controller/http/answers.h"
#include "controller/http/api.h"
#include "controller/http/assets.h"
#include "controller/http/json_fields.h"
#include "controller/http/problem.h"

namespace cirrus::controller::http {

namespace {
/// With what else is to be said.
net::ServerResponse fine(nlohmann::json body) {
  body["schema_version"] = 1;
  body["status"] = "ok";
  return json_response(200, body.dump());
}
}  // namespace

// GET /, /assets/{name}, /healthz, /readyz, /metrics, /api/v1/openapi.yaml
void Api::route_service(const net::ServerRequest& request, const Parts& parts,
                        const Answer& answer) {
  const std::string& last = parts.back();
  if (request.path == "/healthz" || request.path == "/readyz") {
    if (const std::optional<std::string> poison = core_.poisoned()) {
      return answer->respond(problem(503, *poison));
    }
    if (request.path == "/healthz") return answer->respond(fine(nlohmann::json::object()));
    // Asked and not assumed: a disk may have failed since somebody last wrote.
    return post(answer, [this, answer](core::State& state, core::Moment moment) {
      state.prove_store(
          [this, answer](const Result<void>& proven) {
            if (!proven.ok()) return answer->respond(problem(proven.error()));
            // A full disk is no reason to send workers elsewhere: there is nobody else, and logs
            // are taken.
            const std::optional<std::string> refusal = stores_.disk.refusal();
            nlohmann::json uploads = {{"uploads", refusal ? "refused" : "taken"}};
            if (refusal) uploads["reason"] = *refusal;
            answer->respond(fine(std::move(uploads)));
          },
          moment);
    });
  }
  if (request.path == "/metrics") return send_metrics(answer);
  const bool page = request.path == "/";
  if (page || parts.front() == "assets" || request.path == "/api/v1/openapi.yaml") {
    const std::optional<Asset> asset = find_asset(page ? "index.html" : last);
    if (asset) return answer->respond(asset_response(*asset, request));
  }
  answer->respond(problem(404, "no such route"));
}

std::vector<std::string> Api::troubles() const {
  std::vector<std::string> sentences;
  if (const std::optional<std::string> poison = core_.poisoned()) sentences.push_back(*poison);
  if (const std::optional<std::string> disk = stores_.disk.notice()) sentences.push_back(*disk);
  return sentences;
}

void Api::send_metrics(const Answer& answer) {
  post(answer, [this, answer](core::State& state, core::Moment moment) {
    auto figures = std::make_shared<Figures>();
    figures->state = state.statistics(moment);
    const bool queued = pool_.run([this, answer, figures](const StopToken&) {
      figures->requests = requests_.all();
      figures->log_bytes_written = logs_.bytes_written();
      figures->artifact_bytes_stored = stores_.artifacts.bytes_stored();
      figures->cache_bytes = stores_.caches.total_bytes();
      figures->free_bytes = stores_.disk.free_bytes().value_or(0);
      figures->uploads_taken = !stores_.disk.refusal();
      figures->uploads_refused = stores_.disk.refused();
      figures->store_writable = !core_.poisoned();
      answer->respond({200,
                       {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"},
                        {"Cache-Control", "no-store"},
                        {"X-Content-Type-Options", "nosniff"}},
                       metrics_text(*figures)});
    });
    if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
  });
}

// POST /api/v1/secrets: {"repository":"owner/name","value":"…","force":false}
void Api::seal_secret(const net::ServerRequest& request, const Answer& answer) {
  const auto seal = [&]() -> Result<std::string> {
    const nlohmann::json body = CIRRUS_TRY(json_object(request.body));
    CIRRUS_TRY(only_fields(body, {"repository", "value", "force"}));
    const model::RepositoryName repository =
        CIRRUS_TRY(model::RepositoryName::create(CIRRUS_TRY(text_field(body, "repository"))));
    CIRRUS_TRY(actor_of(request).check_may_act_on(repository.full()));
    const std::string value = CIRRUS_TRY(text_field(body, "value"));
    const bool force = CIRRUS_TRY(bool_field(body, "force"));
    if (value.size() < secrets::SecretBox::kShortest && !force) {
      return error(Code::InvalidArgument,
                   "a value under {} bytes cannot be masked in logs: use a longer one, or force it",
                   secrets::SecretBox::kShortest);
    }
    return CIRRUS_TRY(secrets_.seal(repository.full(), value));
  };
  const Result<std::string> sealed = seal();
  if (!sealed.ok()) return answer->respond(problem(sealed.error()));
  const nlohmann::json body = {{"schema_version", 1}, {"encrypted", sealed.value()}};
  answer->respond(json_response(200, body.dump()));
}

}  // namespace cirrus::controller::http
