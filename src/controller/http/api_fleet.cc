// SPDX-License-Identifier: MIT
// Api: workers, pools, tokens and the audit.
#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

#include "controller/http/answers.h"
#include "controller/http/api.h"
#include "controller/http/json_fields.h"
#include "controller/http/json_views.h"

namespace cirrus::controller::http {

namespace {
using nlohmann::json;

/// The fields of a body that may be empty. Errors: InvalidArgument, naming the field.
class Fields {
 public:
  static Result<Fields> read(const std::string& body) {
    Fields fields;
    fields.body_ = CIRRUS_TRY(json_object(body));
    return fields;
  }
  /// Errors: InvalidArgument, naming the first field that is none of these.
  Status only(std::initializer_list<const char*> known) const { return only_fields(body_, known); }
  Result<std::string> text(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return std::string();
    if (!value->is_string()) return error(Code::InvalidArgument, "'{}' must be a string", name);
    return value->get<std::string>();
  }
  Result<std::optional<bool>> flag(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return std::optional<bool>();
    if (!value->is_boolean()) return error(Code::InvalidArgument, "'{}' must be a boolean", name);
    return std::optional(value->get<bool>());
  }
  /// At most ten years, so that sums of it fit everywhere.
  Result<std::optional<std::chrono::seconds>> seconds(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return std::optional<std::chrono::seconds>();
    constexpr std::uint64_t kMost = 3650U * 86400U;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > kMost) {
      return error(Code::InvalidArgument, "'{}' must be a number of seconds up to {}", name, kMost);
    }
    return std::optional(std::chrono::seconds(value->get<std::uint64_t>()));
  }
  bool has(const char* name) const { return find(name) != nullptr; }
  Result<std::vector<std::string>> texts(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return std::vector<std::string>();
    const auto is_text = [](const json& entry) { return entry.is_string(); };
    if (!value->is_array() || !std::all_of(value->begin(), value->end(), is_text)) {
      return error(Code::InvalidArgument, "'{}' must be a list of strings", name);
    }
    return value->get<std::vector<std::string>>();
  }

 private:
  const json* find(const char* name) const {
    const auto found = body_.find(name);
    return found == body_.end() || found->is_null() ? nullptr : &*found;
  }
  json body_ = json::object();
};

/// `fresh`: of a pool that is made, whose name is in there, too.
Result<core::State::PoolSettings> read_settings(const Fields& fields, bool fresh) {
  CIRRUS_TRY(fields.only({"name", "lost_after_seconds", "paused", "hold_reference_polls",
                          "untrusted_isolations", "record_shells"}));
  if (!fresh && fields.has("name")) {
    return error(Code::InvalidArgument, "a pool keeps its name: leave out 'name'");
  }
  core::State::PoolSettings settings;
  if (const auto lost = CIRRUS_TRY(fields.seconds("lost_after_seconds")))
    settings.lost_after = lost;
  settings.paused = CIRRUS_TRY(fields.flag("paused"));
  settings.hold_reference_polls = CIRRUS_TRY(fields.flag("hold_reference_polls"));
  if (fields.has("untrusted_isolations")) {
    settings.untrusted_isolations =
        CIRRUS_TRY(model::IsolationSet::of(CIRRUS_TRY(fields.texts("untrusted_isolations")))
                       .note("'untrusted_isolations'"));
  }
  settings.record_shells = CIRRUS_TRY(fields.flag("record_shells"));
  return settings;
}

Result<core::State::ApiTokenRequest> read_token_request(const Fields& fields) {
  CIRRUS_TRY(fields.only({"name", "role", "repositories", "trusted"}));
  core::State::ApiTokenRequest request;
  request.name = CIRRUS_TRY(fields.text("name"));
  request.role = CIRRUS_TRY(core::parse_role(CIRRUS_TRY(fields.text("role"))));
  request.repositories = CIRRUS_TRY(fields.texts("repositories"));
  request.trusted = CIRRUS_TRY(fields.flag("trusted"));
  return request;
}

/// `1764417300123-0123abcd`: made at that moment, with that id; empty: before the first. Errors:
/// InvalidArgument.
Result<core::TokenPlace> token_place(const std::string& text) {
  core::TokenPlace place;
  if (text.empty()) return place;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, place.created_ms);
  if (read.ec != std::errc() || read.ptr == end || *read.ptr != '-' || read.ptr + 1 == end) {
    return error(Code::InvalidArgument, "'after' must be the 'next_after' of a page");
  }
  place.id.assign(read.ptr + 1, end);
  return place;
}

/// Answers with a page of tokens, of which there are more where `found` has more than `most`.
template <typename Tokens>
void answer_with_tokens(core::State& state, Tokens found, std::size_t most,
                        const std::shared_ptr<net::Responder>& answer) {
  const bool more = found.size() > most;
  if (more) found.pop_back();
  const std::string next =
      more ? fmt::format("{}-{}", found.back().created_ms, found.back().id) : "";
  state.answer<Tokens>(
      [answer, next](const Result<Tokens>& tokens) {
        if (!tokens.ok()) return answer->respond(problem(tokens.error()));
        answer->respond(json_response(200, tokens_json(tokens.value(), next)));
      },
      std::move(found));
}

core::Reply<core::State::NewToken> token_made(const std::shared_ptr<net::Responder>& answer) {
  return [answer](const Result<core::State::NewToken>& token) {
    if (!token.ok()) return answer->respond(problem(token.error()));
    answer->respond(json_response(201, token_json(token.value())));
  };
}

}  // namespace

void Api::route_fleet(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  if (parts[2] == "workers") return route_workers(request, parts, answer);
  if (parts[2] == "pools") return route_pools(request, parts, answer);
  if (parts[2] == "tokens" || parts[2] == "registration-tokens") {
    return route_tokens(request, parts, answer);
  }
  if (parts.size() == 3 && parts[2] == "audit" && request.method == "GET") {
    return list_audit(request, answer);
  }
  if (parts.size() == 3 && parts[2] == "whoami" && request.method == "GET") {
    return who_am_i(request, answer);
  }
  answer->respond(problem(404, "no such route"));
}

// GET /api/v1/whoami[?repository=owner/name]: what the token is for, or 403 if not for that.
void Api::who_am_i(const net::ServerRequest& request, const Answer& answer) {
  const auto* const caller = std::any_cast<Caller>(&request.principal);
  if (caller == nullptr) return answer->respond(problem(401, "no token"));
  const core::ApiIdentity& identity = caller->identity;
  const auto repository = request.query.find("repository");
  if (repository != request.query.end()) {
    const Status allowed = actor_of(request).check_may_act_on(repository->second);
    if (!allowed.ok()) return answer->respond(problem(allowed.error()));
    if (identity.role < core::Role::Submitter) {
      return answer->respond(problem(403, "this needs a token of role 'submitter' or higher"));
    }
  }
  answer->respond(json_response(200, identity_json(identity)));
}

// GET /api/v1/workers[?pool=&limit=&after=pool/name], in the order of pools and names.
void Api::list_workers(const net::ServerRequest& request, const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 1000, 1, 5000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  post(answer, [this, answer, pool = text_of_query(request, "pool"),
                after = text_of_query(request, "after"),
                most = static_cast<std::size_t>(limit.value())](core::State& state,
                                                                core::Moment moment) {
    // Drawn elsewhere: thousands of workers are a lot of text.
    auto workers = std::make_shared<std::vector<core::WorkerView>>(state.view_workers(moment));
    const bool queued = pool_.run([answer, pool, after, most, workers](const StopToken&) {
      const auto key = [](const core::WorkerView& worker) {
        return worker.pool + "/" + worker.name;
      };
      std::erase_if(*workers, [&](const core::WorkerView& worker) {
        return (!pool.empty() && worker.pool != pool) || (!after.empty() && key(worker) <= after);
      });
      std::sort(workers->begin(), workers->end(),
                [&](const auto& a, const auto& b) { return key(a) < key(b); });
      const bool more = workers->size() > most;
      if (more) workers->resize(most);
      answer->respond(json_response(200, workers_json(*workers, more ? key(workers->back()) : "")));
    });
    if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
  });
}

// GET /api/v1/workers, /api/v1/workers/{pool}/{name}; POST …/cordon and …/uncordon
void Api::route_workers(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  const bool get = request.method == "GET";
  if (parts.size() == 3 && get) return list_workers(request, answer);
  if (parts.size() == 4 && parts[3] == "events" && get) {
    return feeds_.stream(LiveFeeds::Topic::Fleet, last_event_id(request), answer);
  }
  if (parts.size() == 5 && get) {
    return post(answer, [answer, pool = parts[3], name = parts[4]](core::State& state,
                                                                   core::Moment moment) {
      state.answer<std::vector<core::WorkerView>>(
          [answer, pool, name](const Result<std::vector<core::WorkerView>>& workers) {
            if (!workers.ok()) return answer->respond(problem(workers.error()));
            const auto found = std::find_if(
                workers.value().begin(), workers.value().end(),
                [&](const core::WorkerView& w) { return w.pool == pool && w.name == name; });
            if (found == workers.value().end()) {
              return answer->respond(
                  problem(404, fmt::format("no worker '{:.128}' in pool '{:.128}'", name, pool)));
            }
            answer->respond(json_response(200, worker_json(*found)));
          },
          state.view_workers(moment));
    });
  }
  const bool cordon = parts.size() == 6 && parts[5] == "cordon";
  if (parts.size() == 6 && request.method == "POST" && (cordon || parts[5] == "uncordon")) {
    return post(answer, [answer, actor = actor_of(request), pool = parts[3], name = parts[4],
                         cordon](core::State& state, core::Moment moment) {
      state.set_worker_disabled(pool, name, cordon, actor, accepted(answer), moment);
    });
  }
  answer->respond(problem(404, "no such route"));
}

// GET /api/v1/pools[?limit=&after=], in the order of names.
void Api::list_pools(const net::ServerRequest& request, const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 1000, 1, 5000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  post(answer, [answer, after = text_of_query(request, "after"),
                most = static_cast<std::size_t>(limit.value())](core::State& state, core::Moment) {
    using Pools = std::vector<core::PoolView>;
    Pools found = state.view_pools(after, most + 1);
    const bool more = found.size() > most;
    if (more) found.pop_back();
    state.answer<Pools>(
        [answer, more](const Result<Pools>& pools) {
          if (!pools.ok()) return answer->respond(problem(pools.error()));
          answer->respond(json_response(
              200, pools_json(pools.value(), more ? pools.value().back().record.name : "")));
        },
        std::move(found));
  });
}

// GET and POST /api/v1/pools, /api/v1/pools/{pool}; POST …/pause, …/resume and …/tokens
void Api::route_pools(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  const core::Actor actor = actor_of(request);
  if (parts.size() == 3 && request.method == "GET") return list_pools(request, answer);
  if (parts.size() == 4 && request.method == "GET") {
    return post(answer, [answer, name = parts[3]](core::State& state, core::Moment) {
      state.answer<core::PoolView>(
          [answer](const Result<core::PoolView>& pool) {
            if (!pool.ok()) return answer->respond(problem(pool.error()));
            answer->respond(json_response(200, pool_json(pool.value())));
          },
          state.view_pool(name));
    });
  }
  if (request.method != "POST") return answer->respond(problem(404, "no such route"));
  const Result<Fields> fields = Fields::read(request.body);
  if (!fields.ok()) return answer->respond(problem(fields.error()));
  if (parts.size() == 3 || parts.size() == 4) {
    const Result<core::State::PoolSettings> settings =
        read_settings(fields.value(), parts.size() == 3);
    if (!settings.ok()) return answer->respond(problem(settings.error()));
    const Result<std::string> name =
        parts.size() == 4 ? Result<std::string>(parts[3]) : fields.value().text("name");
    if (!name.ok()) return answer->respond(problem(name.error()));
    return post(answer, [answer, actor, fresh = parts.size() == 3, name = name.value(),
                         settings = settings.value()](core::State& state, core::Moment moment) {
      if (fresh) return state.create_pool(name, settings, actor, accepted(answer), moment);
      state.change_pool(name, settings, actor, accepted(answer), moment);
    });
  }
  if (parts.size() == 5 && (parts[4] == "pause" || parts[4] == "resume")) {
    return post(answer, [answer, actor, name = parts[3], pause = parts[4] == "pause"](
                            core::State& state, core::Moment moment) {
      core::State::PoolSettings settings;
      settings.paused = pause;
      state.change_pool(name, settings, actor, accepted(answer), moment);
    });
  }
  if (parts.size() == 5 && parts[4] == "tokens") {
    const Status known = fields.value().only({"overlap_seconds", "note", "worker_names"});
    if (!known.ok()) return answer->respond(problem(known.error()));
    const auto overlap = fields.value().seconds("overlap_seconds");
    if (!overlap.ok()) return answer->respond(problem(overlap.error()));
    const Result<std::string> note = fields.value().text("note");
    if (!note.ok()) return answer->respond(problem(note.error()));
    const Result<std::string> names = fields.value().text("worker_names");
    if (!names.ok()) return answer->respond(problem(names.error()));
    core::State::RegistrationTokenRequest wanted{parts[3], overlap.value(), note.value(),
                                                 names.value()};
    return post(answer, [wanted, actor, answer](core::State& state, core::Moment moment) {
      state.create_registration_token(wanted, actor, token_made(answer), moment);
    });
  }
  answer->respond(problem(404, "no such route"));
}

// GET /api/v1/tokens[?limit=&after=] and /api/v1/registration-tokens[?pool=&limit=&after=], the
// oldest first.
void Api::list_tokens(const net::ServerRequest& request, bool api_tokens, const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 1000, 1, 5000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  const Result<core::TokenPlace> after = token_place(text_of_query(request, "after"));
  if (!after.ok()) return answer->respond(problem(after.error()));
  post(answer, [answer, api_tokens, pool = text_of_query(request, "pool"), after = after.value(),
                most = static_cast<std::size_t>(limit.value())](core::State& state, core::Moment) {
    if (api_tokens) {
      return answer_with_tokens(state, state.view_api_tokens(after, most + 1), most, answer);
    }
    Result<core::RegistrationTokenViews> found =
        state.view_registration_tokens(pool, after, most + 1);
    if (!found.ok()) return answer->respond(problem(found.error()));
    answer_with_tokens(state, std::move(found).value(), most, answer);
  });
}

// GET and POST /api/v1/tokens; GET /api/v1/registration-tokens; POST /api/v1/tokens/{id}/revoke and
// /api/v1/registration-tokens/{id}/revoke
void Api::route_tokens(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  const core::Actor actor = actor_of(request);
  const bool api_tokens = parts[2] == "tokens";
  if (parts.size() == 3 && request.method == "GET") {
    return list_tokens(request, api_tokens, answer);
  }
  if (request.method != "POST") return answer->respond(problem(404, "no such route"));
  if (parts.size() == 5 && parts[4] == "revoke") {
    return post(answer, [id = parts[3], api_tokens, actor, answer](core::State& state,
                                                                   core::Moment moment) {
      if (api_tokens) return state.revoke_api_token(id, actor, accepted(answer), moment);
      state.revoke_registration_token(id, actor, accepted(answer), moment);
    });
  }
  if (api_tokens && parts.size() == 3) {
    const Result<Fields> fields = Fields::read(request.body);
    if (!fields.ok()) return answer->respond(problem(fields.error()));
    const Result<core::State::ApiTokenRequest> wanted = read_token_request(fields.value());
    if (!wanted.ok()) return answer->respond(problem(wanted.error()));
    return post(answer,
                [wanted = wanted.value(), actor, answer](core::State& state, core::Moment moment) {
                  state.create_api_token(wanted, actor, token_made(answer), moment);
                });
  }
  answer->respond(problem(404, "no such route"));
}

// GET /api/v1/audit?limit=&before=&actor=&action=
void Api::list_audit(const net::ServerRequest& request, const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 100, 1, 1000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  const Result<std::int64_t> before = number_of(request.query, "before", 0, 0, kMostNumber);
  if (!before.ok()) return answer->respond(problem(before.error()));
  store::AuditQuery query;
  query.limit = static_cast<int>(limit.value());
  query.before = before.value();
  query.actor = text_of_query(request, "actor");
  query.action = text_of_query(request, "action");
  const bool queued = pool_.run([this, query, answer](const StopToken&) {
    const auto entries = core_.store().list_audit(query);
    if (!entries.ok()) return answer->respond(problem(entries.error()));
    answer->respond(json_response(200, audit_json(entries.value())));
  });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

}  // namespace cirrus::controller::http
