// SPDX-License-Identifier: MIT
// Pools, tokens, the audit: what administrators do, and what every credential is checked against.
#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "controller/core/state.h"
#include "model/safe_name.h"

namespace cirrus::controller::core {

namespace {
constexpr std::pair<std::string_view, Role> kRoles[] = {{"reader", Role::Reader},
                                                        {"submitter", Role::Submitter},
                                                        {"operator", Role::Operator},
                                                        {"admin", Role::Admin}};
constexpr std::size_t kLongestNote = 200;                 // Ours.
constexpr std::size_t kMostPatterns = 256;                // Ours.
constexpr std::chrono::hours kLongestLostAfter{24 * 30};  // Ours.

Status check_settings(const State::PoolSettings& settings) {
  if (settings.lost_after &&
      (settings.lost_after->count() <= 0 || *settings.lost_after > kLongestLostAfter)) {
    return error(Code::InvalidArgument, "lost-after must be more than 0 and at most 30 days");
  }
  return {};
}

std::string untrusted_text(const model::IsolationSet& isolations) {
  if (isolations.empty()) return "trusted builds only";
  return "untrusted builds: " + join(isolations.words(), ", ");
}

void apply_settings(const State::PoolSettings& settings, store::PoolRecord& pool) {
  if (settings.lost_after) pool.lost_after_ms = settings.lost_after->count();
  if (settings.paused) pool.paused = *settings.paused;
  if (settings.hold_reference_polls) pool.hold_reference_polls = *settings.hold_reference_polls;
  if (settings.untrusted_isolations) pool.untrusted_isolations = *settings.untrusted_isolations;
  if (settings.record_shells) pool.record_shells = *settings.record_shells;
}

Error no_pool(const std::string& name) {
  return error(Code::NotFound, "no pool '{:.128}'", name);
}

/// The first `most` of the tokens that were made after `after` and are `wanted`, the oldest first,
/// with empty hashes.
template <typename Token, typename Wanted>
std::vector<Token> tokens_after(const std::map<std::string, Token>& tokens, const TokenPlace& after,
                                std::size_t most, const Wanted& wanted) {
  const auto place = [](const Token& token) { return std::tie(token.created_ms, token.id); };
  std::vector<Token> views;
  for (const auto& [id, token] : tokens) {
    if (wanted(token) && place(token) > std::tie(after.created_ms, after.id)) {
      views.push_back(token);
      views.back().hash.clear();
    }
  }
  std::sort(views.begin(), views.end(),
            [&](const Token& a, const Token& b) { return place(a) < place(b); });
  if (views.size() > most) views.resize(most);
  return views;
}
}  // namespace

std::string_view to_string(Role role) {
  for (const auto& [name, known] : kRoles) {
    if (known == role) return name;
  }
  return "reader";
}

Result<Role> parse_role(std::string_view text) {
  for (const auto& [name, role] : kRoles) {
    if (name == text) return role;
  }
  return error(Code::InvalidArgument,
               "'{:.40}' is no role: give reader, submitter, operator or admin", text);
}

void State::audit(const std::string& actor, const std::string& action, const std::string& subject,
                  Moment moment) {
  changes_.audit.push_back({moment.millis(), actor, action, subject});
}

void State::prove_store(Reply<void> reply, Moment moment) {
  changes_.settings.emplace_back("last-proof", std::to_string(moment.millis()));
  answer<void>(std::move(reply), Result<void>());
}

void State::audit_misuse(const std::string& actor, const std::string& action,
                         const std::string& subject, Moment moment) {
  if (misuse_.refused(actor + "\n" + action, moment.now).first) {
    audit(actor, action, subject, moment);
  }
}

Error State::refuse_credential(const std::string& peer, Error why, Moment moment) {
  if (why.code() != Code::Unauthenticated || peer.empty()) return why;
  const RefusalLimiter::Verdict verdict = bad_tokens_.refused(peer, moment.now);
  if (!verdict.limited) return why;
  if (verdict.first) {
    log_warning("too many bad tokens", {{"peer", peer}});
    audit("peer " + peer, "token.flood", why.message(), moment);
  }
  return error(Code::ResourceExhausted,
               "too many wrong tokens came from {}: try again in {} s ({})", peer,
               verdict.again.count(), why.message());
}

void State::authorize(const std::string& api_token, const std::string& peer,
                      Reply<ApiIdentity> reply, Moment moment) {
  // Found by its hash: the time taken says nothing about tokens that exist.
  const auto found = api_token_by_hash_.find(token_hash(api_token));
  if (found == api_token_by_hash_.end() || api_tokens_.at(found->second).revoked_ms != 0) {
    return hint<ApiIdentity>(
        std::move(reply),
        refuse_credential(peer, error(Code::Unauthenticated, "the API token is not valid"),
                          moment));
  }
  const store::ApiTokenRecord& token = api_tokens_.at(found->second);
  hint<ApiIdentity>(std::move(reply),
                    ApiIdentity{token.id, token.name, parse_role(token.role).value_or(Role::Reader),
                                token.repositories, token.trusted});
}

void State::create_pool(const std::string& name, const PoolSettings& settings, const Actor& actor,
                        Reply<void> reply, Moment moment) {
  const Result<model::SafeName> safe = model::SafeName::create(name, "pool name");
  if (!safe.ok()) return answer<void>(std::move(reply), safe.error());
  const Status allowed = check_settings(settings);
  if (!allowed.ok()) return answer<void>(std::move(reply), allowed.error());
  if (pools_.contains(name)) {
    return answer<void>(std::move(reply), error(Code::AlreadyExists, "pool '{}' exists", name));
  }
  store::PoolRecord pool;
  pool.name = name;
  apply_settings(settings, pool);
  pools_[name] = pool;
  changes_.pools.push_back(pool);
  audit(actor.name, "pool.create", name, moment);
  answer<void>(std::move(reply), Result<void>());
}

void State::change_pool(const std::string& name, const PoolSettings& settings, const Actor& actor,
                        Reply<void> reply, Moment moment) {
  const auto found = pools_.find(name);
  if (found == pools_.end()) {
    return answer<void>(std::move(reply), no_pool(name));
  }
  const Status allowed = check_settings(settings);
  if (!allowed.ok()) return answer<void>(std::move(reply), allowed.error());
  store::PoolRecord& pool = found->second;
  const store::PoolRecord before = pool;
  apply_settings(settings, pool);
  changes_.pools.push_back(pool);
  if (pool.paused != before.paused || pool.untrusted_isolations != before.untrusted_isolations) {
    for (auto& [key, worker] : workers_) {
      if (key.first == name) publish(worker);
    }
  }
  audit(actor.name,
        pool.paused == before.paused ? "pool.change" : (pool.paused ? "pool.pause" : "pool.resume"),
        name, moment);
  if (pool.untrusted_isolations != before.untrusted_isolations) {
    audit(actor.name, "pool.trust",
          fmt::format("{} ({})", name, untrusted_text(pool.untrusted_isolations)), moment);
  }
  if (pool.record_shells != before.record_shells) {
    audit(actor.name, "pool.shells",
          fmt::format("{} ({})", name, pool.record_shells ? "recorded" : "not recorded"), moment);
  }
  answer<void>(std::move(reply), Result<void>());
}

void State::create_registration_token(const RegistrationTokenRequest& request, const Actor& actor,
                                      Reply<NewToken> reply, Moment moment) {
  if (!pools_.contains(request.pool)) {
    return answer<NewToken>(std::move(reply), no_pool(request.pool));
  }
  if (request.note.size() > kLongestNote) {
    return answer<NewToken>(
        std::move(reply),
        error(Code::InvalidArgument, "the note is longer than {} bytes", kLongestNote));
  }
  const std::size_t star = request.worker_names.find('*');
  if (star != std::string::npos && star + 1 != request.worker_names.size()) {
    return answer<NewToken>(
        std::move(reply),
        error(Code::InvalidArgument, "'{:.80}': a '*' may only end the names of workers",
              request.worker_names));
  }
  if (!request.worker_names.empty() && request.worker_names != "*") {
    const Status name = model::check_worker_name(request.worker_names);
    if (!name.ok()) return answer<NewToken>(std::move(reply), name.error());
  }
  if (request.overlap) {
    for (auto& [id, other] : registration_tokens_) {
      if (other.pool != request.pool || other.revoked_ms != 0 || other.expires_ms != 0) continue;
      other.expires_ms = moment.millis() + request.overlap->count() * 1000;
      changes_.registration_tokens.push_back(other);
    }
  }
  NewToken made;
  made.token = options_.make_secret();
  store::RegistrationTokenRecord record;
  record.hash = token_hash(made.token);
  record.id = record.hash.substr(0, 12);
  record.pool = request.pool;
  record.created_ms = moment.millis();
  record.note = request.note;
  record.worker_names = request.worker_names;
  made.id = record.id;
  registration_token_by_hash_[record.hash] = record.id;
  registration_tokens_[record.id] = record;
  changes_.registration_tokens.push_back(record);
  audit(actor.name, request.overlap ? "pool.token.rotate" : "pool.token.create",
        request.pool + "/" + record.id, moment);
  answer<NewToken>(std::move(reply), std::move(made));
}

void State::revoke_registration_token(const std::string& id, const Actor& actor, Reply<void> reply,
                                      Moment moment) {
  const auto found = registration_tokens_.find(id);
  if (found == registration_tokens_.end()) {
    return answer<void>(std::move(reply),
                        error(Code::NotFound, "no registration token '{:.64}'", id));
  }
  if (found->second.revoked_ms == 0) {
    found->second.revoked_ms = moment.millis();
    changes_.registration_tokens.push_back(found->second);
    audit(actor.name, "pool.token.revoke", found->second.pool + "/" + id, moment);
  }
  answer<void>(std::move(reply), Result<void>());
}

void State::create_api_token(const ApiTokenRequest& request, const Actor& actor,
                             Reply<NewToken> reply, Moment moment) {
  const auto refuse = [&](Error why) { answer<NewToken>(std::move(reply), std::move(why)); };
  const Result<model::SafeName> safe = model::SafeName::create(request.name, "token name");
  if (!safe.ok()) return refuse(safe.error());
  for (const auto& [id, other] : api_tokens_) {
    if (other.name == request.name && other.revoked_ms == 0) {
      return refuse(error(Code::AlreadyExists,
                          "a token named '{}' exists ({}): revoke it first, or take another name",
                          request.name, id));
    }
  }
  std::vector<std::string> repositories = request.repositories;
  if (repositories.size() > kMostPatterns) {
    return refuse(
        error(Code::InvalidArgument, "a token lists at most {} repositories", kMostPatterns));
  }
  for (const std::string& pattern : repositories) {
    const Status known = check_repository_pattern(pattern);
    if (!known.ok()) return refuse(known.error());
  }
  if (repositories.empty() && request.role == Role::Submitter) {
    return refuse(error(Code::InvalidArgument,
                        "a submitter's token lists its repositories: owner/name, owner/*, or * for "
                        "all"));
  }
  if (repositories.empty() && request.role > Role::Submitter) repositories = {"*"};
  NewToken made;
  made.token = options_.make_secret();
  store::ApiTokenRecord record;
  record.hash = token_hash(made.token);
  record.id = record.hash.substr(0, 12);
  record.name = request.name;
  record.role = to_string(request.role);
  record.created_ms = moment.millis();
  record.repositories = std::move(repositories);
  record.trusted = request.trusted.value_or(request.role >= Role::Operator);
  made.id = record.id;
  api_token_by_hash_[record.hash] = record.id;
  api_tokens_[record.id] = record;
  changes_.api_tokens.push_back(record);
  audit(actor.name, "token.create",
        fmt::format("{} {} ({}{})", record.id, record.name, record.role,
                    record.trusted ? ", trusted" : ""),
        moment);
  answer<NewToken>(std::move(reply), std::move(made));
}

void State::revoke_api_token(const std::string& id, const Actor& actor, Reply<void> reply,
                             Moment moment) {
  const auto found = api_tokens_.find(id);
  if (found == api_tokens_.end()) {
    return answer<void>(std::move(reply), error(Code::NotFound, "no API token '{:.64}'", id));
  }
  store::ApiTokenRecord& token = found->second;
  if (token.revoked_ms != 0) return answer<void>(std::move(reply), Result<void>());
  const auto live_admin = [](const auto& entry) {
    return entry.second.revoked_ms == 0 && entry.second.role == to_string(Role::Admin);
  };
  if (token.role == to_string(Role::Admin) &&
      std::count_if(api_tokens_.begin(), api_tokens_.end(), live_admin) == 1) {
    return answer<void>(
        std::move(reply),
        error(Code::FailedPrecondition,
              "this is the last token of an administrator: make another one first"));
  }
  token.revoked_ms = moment.millis();
  changes_.api_tokens.push_back(token);
  audit(actor.name, "token.revoke", id + " " + token.name, moment);
  answer<void>(std::move(reply), Result<void>());
}

ApiTokenViews State::view_api_tokens(const TokenPlace& after, std::size_t most) const {
  return tokens_after(api_tokens_, after, most, [](const auto&) { return true; });
}

Result<RegistrationTokenViews> State::view_registration_tokens(const std::string& pool,
                                                               const TokenPlace& after,
                                                               std::size_t most) const {
  if (!pool.empty() && !pools_.contains(pool)) return no_pool(pool);
  return tokens_after(registration_tokens_, after, most,
                      [&](const auto& token) { return pool.empty() || token.pool == pool; });
}

std::string State::free_token_name(const std::string& name) const {
  std::set<std::string> taken;
  for (const auto& [id, token] : api_tokens_) {
    if (token.revoked_ms == 0) taken.insert(token.name);
  }
  std::string candidate = name;
  for (int number = 2; taken.contains(candidate); ++number) {
    candidate = fmt::format("{}-{}", name, number);
  }
  return candidate;
}

void State::set_worker_disabled(const std::string& pool, const std::string& name, bool disabled,
                                const Actor& actor, Reply<void> reply, Moment moment) {
  const auto found = workers_.find({pool, name});
  if (found == workers_.end()) {
    return answer<void>(std::move(reply),
                        error(Code::NotFound, "no worker '{:.128}' in pool '{:.128}'", name, pool));
  }
  Worker& worker = found->second;
  if (worker.record.disabled != disabled) {
    worker.record.disabled = disabled;
    changes_.workers.push_back(worker.record);
    publish(worker);
    audit(actor.name, disabled ? "worker.cordon" : "worker.uncordon", pool + "/" + name, moment);
  }
  answer<void>(std::move(reply), Result<void>());
}

Result<State::PoolToken> State::check_registration_token(const std::string& token,
                                                         const std::string& peer, Moment moment) {
  const auto found = registration_token_by_hash_.find(token_hash(token));
  if (found == registration_token_by_hash_.end()) {
    return refuse_credential(
        peer, error(Code::Unauthenticated, "the registration token is not valid"), moment);
  }
  const store::RegistrationTokenRecord& record = registration_tokens_.at(found->second);
  if (record.revoked_ms != 0) {
    return refuse_credential(
        peer, error(Code::Unauthenticated, "the registration token was revoked"), moment);
  }
  if (record.expires_ms != 0 && moment.millis() >= record.expires_ms) {
    return refuse_credential(
        peer, error(Code::Unauthenticated, "the registration token was replaced and has expired"),
        moment);
  }
  return PoolToken{record.id, record.pool};
}

Status State::check_worker_scope(const std::string& token_id, const std::string& name) const {
  const std::string& names = registration_tokens_.at(token_id).worker_names;
  if (names.empty() || names == name) return {};
  if (names.ends_with('*') && name.starts_with(names.substr(0, names.size() - 1))) return {};
  return error(Code::PermissionDenied,
               "this registration token is for workers named '{}', not for '{:.128}'", names, name);
}

}  // namespace cirrus::controller::core
