// SPDX-License-Identifier: MIT
#include "controller/http/api.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include <nlohmann/json.hpp>

#include "controller/http/event_streams.h"
#include "controller/http/json_views.h"
#include "controller/http/problem.h"
#include "controller/http/routes.h"
#include "model/safe_name.h"

namespace cirrus::controller::http {

namespace {
/// A whole number of the query. Errors: InvalidArgument, naming it and its range.
Result<std::int64_t> number_of(const std::map<std::string, std::string>& query,
                               const std::string& name, std::int64_t fallback, std::int64_t least,
                               std::int64_t most) {
  const auto found = query.find(name);
  if (found == query.end()) return fallback;
  std::int64_t value = 0;
  const char* const end = found->second.data() + found->second.size();
  const auto read = std::from_chars(found->second.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end || value < least || value > most) {
    return error(Code::InvalidArgument, "'{}' must be a whole number from {} to {}", name, least,
                 most);
  }
  return value;
}

constexpr std::int64_t kMostNumber = std::numeric_limits<std::int64_t>::max();

std::string last_event_id(const net::ServerRequest& request) {
  return std::string(request.header("last-event-id"));
}

core::ApiIdentity identity_of(const net::ServerRequest& request) {
  const auto* const caller = std::any_cast<Caller>(&request.principal);
  return caller == nullptr ? core::ApiIdentity{} : caller->identity;
}

std::string actor_of(const net::ServerRequest& request) {
  return identity_of(request).name;
}

/// Answers 202 without a body, or the problem.
core::Reply<void> accepted(const std::shared_ptr<net::Responder>& answer) {
  return [answer](const Result<void>& result) {
    if (!result.ok()) return answer->respond(problem(result.error()));
    answer->respond(json_response(202, R"({"schema_version":1})"));
  };
}
}  // namespace

void Api::post(const Answer& answer, core::Core::Command command) {
  if (!core_.post(std::move(command))) {
    answer->respond(problem(503, "the controller is shutting down"));
  }
}

void Api::handle(net::ServerRequest request, std::shared_ptr<net::Responder> responder) {
  Result<Parts> split = split_path(request.path);
  if (!split.ok()) return responder->respond(problem(split.error()));
  const Parts& parts = split.value();
  requests_.count(find_route(request.method, parts).route);
  if (parts.front() == "git") return route_git(std::move(request), parts, responder);
  if (parts.size() >= 3 && parts[0] == "api" && parts[1] == "v1") {
    if (parts[2] == "secrets") return seal_secret(request, responder);
    if (parts[2] == "builds") return route_builds(request, parts, responder);
    if (parts[2] == "openapi.yaml") return route_service(request, parts, responder);
    const bool artifacts = parts[2] == "tasks" && parts.size() >= 5 && parts[4] == "artifacts";
    if (artifacts && request.method == "GET") return route_artifacts(parts, responder);
    if (parts[2] == "caches") return route_caches(request, parts, responder);
    if (parts[2] == "tasks") return route_tasks(request, parts, responder);
    return route_fleet(request, parts, responder);
  }
  route_service(request, parts, responder);
}

void Api::with_build(const std::string& id, const Answer& answer,
                     std::function<void(const core::BuildView&)> found) {
  const Result<model::BuildId> number = model::BuildId::parse(id);
  if (!number.ok()) return answer->respond(problem(404, number.error().message()));
  post(answer, [this, id = number.value(), answer, found = std::move(found)](core::State& state,
                                                                             core::Moment) {
    state.answer<core::BuildView>(
        [this, id, answer, found](const Result<core::BuildView>& view) {
          if (view.ok()) return found(view.value());
          if (view.error().code() != Code::NotFound) return answer->respond(problem(view.error()));
          const bool queued = pool_.run([this, id, answer, found](const StopToken&) {
            const Result<std::optional<store::BuildRows>> rows = core_.store().read_build(id);
            if (!rows.ok()) return answer->respond(problem(rows.error()));
            if (!rows.value()) return answer->respond(problem(404, fmt::format("no build {}", id)));
            found(core::State::view_of_rows(*rows.value()));
          });
          if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
        },
        state.view_build(id));
  });
}

void Api::with_task(const std::string& id, const Answer& answer,
                    std::function<void(const core::TaskView&)> found) {
  const Result<model::TaskId> number = model::TaskId::parse(id);
  if (!number.ok()) return answer->respond(problem(404, number.error().message()));
  post(answer, [this, id = number.value(), answer, found = std::move(found)](core::State& state,
                                                                             core::Moment) {
    state.answer<core::TaskView>(
        [this, id, answer, found](const Result<core::TaskView>& view) {
          if (view.ok()) return found(view.value());
          if (view.error().code() != Code::NotFound) return answer->respond(problem(view.error()));
          const bool queued = pool_.run([this, id, answer, found](const StopToken&) {
            const auto build = core_.store().build_of(id);
            if (!build.ok()) return answer->respond(problem(build.error()));
            if (build.value()) {
              const auto rows = core_.store().read_build(*build.value());
              if (!rows.ok()) return answer->respond(problem(rows.error()));
              if (rows.value()) {
                const core::BuildView view_of_build = core::State::view_of_rows(*rows.value());
                for (const core::TaskView& task : view_of_build.tasks) {
                  if (task.id == id) return found(task);
                }
              }
            }
            answer->respond(problem(404, fmt::format("no task {}", id)));
          });
          if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
        },
        state.view_task(id));
  });
}

void Api::list_builds(const net::ServerRequest& request, const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 20, 1, 100);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  const Result<std::int64_t> before = number_of(request.query, "before", 0, 0, kMostNumber);
  if (!before.ok()) return answer->respond(problem(before.error()));
  const bool queued = pool_.run([this, limit = static_cast<int>(limit.value()),
                                 before = before.value(), answer](const StopToken&) {
    auto ids = core_.store().list_builds(before, limit + 1);
    if (!ids.ok()) return answer->respond(problem(ids.error()));
    const bool more = ids.value().size() > static_cast<std::size_t>(limit);
    if (more) ids.value().pop_back();
    // From the store: everything shown is durable, and the loop is left alone.
    std::vector<core::BuildView> builds;
    for (const model::BuildId id : ids.value()) {
      const auto rows = core_.store().read_build(id);
      if (!rows.ok()) return answer->respond(problem(rows.error()));
      if (rows.value()) builds.push_back(core::State::view_of_rows(*rows.value()));
    }
    answer->respond(json_response(200, builds_json(builds, more)));
  });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

void Api::route_builds(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  const bool get = request.method == "GET";
  const bool is_post = request.method == "POST";
  if (parts.size() == 3 && get) return list_builds(request, answer);
  if (parts.size() == 3 && is_post) {
    return submission_.submit(std::move(request.body), identity_of(request), answer);
  }
  if (parts.size() == 4 && parts[3] == "events" && get) {
    return feeds_.stream(LiveFeeds::Topic::Builds, last_event_id(request), answer);
  }
  if (parts.size() == 4 && get) {
    return with_build(parts[3], answer, [answer](const core::BuildView& build) {
      answer->respond(json_response(200, build_json(build)));
    });
  }
  if (parts.size() == 5 && parts[4] == "events" && get) {
    return with_build(parts[3], answer,
                      [this, answer, last = last_event_id(request)](const core::BuildView& build) {
                        stream_build(core_, build, last, answer);
                      });
  }
  if (parts.size() == 5 && parts[4] == "cancel" && is_post) {
    const Result<model::BuildId> id = model::BuildId::parse(parts[3]);
    if (!id.ok()) return answer->respond(problem(404, id.error().message()));
    return post(answer, [id = id.value(), actor = actor_of(request), answer](core::State& state,
                                                                             core::Moment moment) {
      state.cancel_build(id, actor, accepted(answer), moment);
    });
  }
  answer->respond(problem(404, "no such route"));
}

void Api::send_log(const core::TaskView& task, const std::string& step, std::uint64_t offset,
                   const Answer& answer) {
  const bool queued = pool_.run([this, id = task.id, step, offset, answer](const StopToken& stop) {
    const std::shared_ptr<net::ByteStream> body =
        answer->stream({200,
                        {{"Content-Type", "text/plain; charset=utf-8"},
                         {"X-Content-Type-Options", "nosniff"},
                         {"Content-Security-Policy", "sandbox"},
                         {"Cache-Control", "no-store"}},
                        ""});
    for (std::uint64_t at = offset;;) {
      Result<std::string> bytes = logs_.read(id, step, at, 256 * 1024);
      if (!bytes.ok() || bytes.value().empty()) break;
      at += bytes.value().size();
      if (!body->write_blocking(std::move(bytes).value(), stop)) break;
    }
    body->finish();
  });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

void Api::route_tasks(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  const bool get = request.method == "GET";
  const bool is_post = request.method == "POST";
  if (parts.size() == 4 && get) {
    return with_task(parts[3], answer, [answer](const core::TaskView& task) {
      answer->respond(json_response(200, task_json(task)));
    });
  }
  if (parts.size() == 5 && parts[4] == "events" && get) {
    return with_task(parts[3], answer,
                     [this, answer, last = last_event_id(request)](const core::TaskView& task) {
                       stream_task(core_, task, last, answer);
                     });
  }
  if (parts.size() == 5 && parts[4] == "why" && get) {
    return with_task(parts[3], answer, [answer](const core::TaskView& task) {
      answer->respond(json_response(200, why_json(task)));
    });
  }
  if (parts.size() == 6 && parts[4] == "logs" && get) {
    const bool follow = request.query["follow"] == "1";
    // A client that lost the stream says where it was.
    const std::string last = last_event_id(request);
    if (follow && !last.empty()) request.query["offset"] = last;
    const Result<std::int64_t> offset = number_of(request.query, "offset", 0, 0, kMostNumber);
    if (!offset.ok()) return answer->respond(problem(offset.error()));
    return with_task(
        parts[3], answer,
        [this, answer, follow, step = parts[5],
         offset = static_cast<std::uint64_t>(offset.value())](const core::TaskView& task) {
          const bool known = std::any_of(task.steps.begin(), task.steps.end(),
                                         [&](const core::StepView& s) { return s.name == step; });
          if (!known) {
            return answer->respond(
                problem(404, fmt::format("task {} has no step '{:.200}'", task.id, step)));
          }
          if (follow) return stream_log(core_, logs_, pool_, task, step, offset, answer);
          send_log(task, step, offset, answer);
        });
  }
  const Result<model::TaskId> id = model::TaskId::parse(parts.size() > 3 ? parts[3] : "");
  if (parts.size() == 5 && is_post && id.ok()) {
    const std::string actor = actor_of(request);
    if (parts[4] == "cancel") {
      return post(answer,
                  [id = id.value(), actor, answer](core::State& state, core::Moment moment) {
                    state.cancel_task(id, actor, accepted(answer), moment);
                  });
    }
    if (parts[4] == "trigger") {
      return post(answer,
                  [id = id.value(), actor, answer](core::State& state, core::Moment moment) {
                    state.trigger_task(id, actor, accepted(answer), moment);
                  });
    }
    if (parts[4] == "rerun") {
      // Looked up first: its build may have left memory.
      return with_task(parts[3], answer, [this, answer, actor](const core::TaskView& task) {
        rerun(task, actor, answer);
      });
    }
  }
  answer->respond(problem(404, "no such route"));
}

void Api::rerun(const core::TaskView& task, const std::string& actor, const Answer& answer) {
  const bool queued =
      pool_.run([this, id = task.id, build = task.build, actor, answer](const StopToken&) {
        const auto rows = core_.store().read_build(build);
        if (!rows.ok()) return answer->respond(problem(rows.error()));
        if (!rows.value()) return answer->respond(problem(404, fmt::format("no build {}", build)));
        post(answer,
             [id, actor, answer, rows = *rows.value()](core::State& state, core::Moment moment) {
               state.adopt_build(rows, moment);
               state.rerun_task(
                   id, actor,
                   [answer](const Result<model::TaskId>& fresh) {
                     if (!fresh.ok()) return answer->respond(problem(fresh.error()));
                     answer->respond(json_response(202, id_json(fresh.value().to_string())));
                   },
                   moment);
             });
      });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

// GET /api/v1/workers[?pool=&limit=&after=pool/name], in the order of pools and names.
void Api::list_workers(const net::ServerRequest& request, const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 1000, 1, 5000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  const auto text = [&](const char* name) {
    const auto found = request.query.find(name);
    return found == request.query.end() ? std::string() : found->second;
  };
  post(answer, [this, answer, pool = text("pool"), after = text("after"),
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

void Api::route_fleet(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  const bool get = request.method == "GET";
  const bool is_post = request.method == "POST";
  const std::string actor = actor_of(request);
  if (parts.size() == 3 && parts[2] == "workers" && get) return list_workers(request, answer);
  if (parts.size() == 4 && parts[2] == "workers" && parts[3] == "events" && get) {
    return feeds_.stream(LiveFeeds::Topic::Fleet, last_event_id(request), answer);
  }
  // POST /api/v1/workers/{pool}/{name}/cordon|uncordon
  if (parts.size() == 6 && parts[2] == "workers" && is_post &&
      (parts[5] == "cordon" || parts[5] == "uncordon")) {
    return post(answer, [answer, actor, pool = parts[3], name = parts[4],
                         off = parts[5] == "cordon"](core::State& state, core::Moment moment) {
      state.set_worker_disabled(pool, name, off, actor, accepted(answer), moment);
    });
  }
  if (parts.size() == 3 && parts[2] == "pools" && get) {
    return post(answer, [answer](core::State& state, core::Moment) {
      state.answer<std::vector<core::PoolView>>(
          [answer](const Result<std::vector<core::PoolView>>& pools) {
            if (!pools.ok()) return answer->respond(problem(pools.error()));
            answer->respond(json_response(200, pools_json(pools.value())));
          },
          state.view_pools());
    });
  }
  const nlohmann::json body = nlohmann::json::parse(request.body, nullptr, false);
  const auto text = [&](const char* name) {
    const bool there = body.is_object() && body.contains(name) && body[name].is_string();
    return there ? body[name].get<std::string>() : std::string();
  };
  if (parts.size() == 3 && parts[2] == "pools" && is_post) {
    return post(
        answer, [answer, actor, name = text("name")](core::State& state, core::Moment moment) {
          state.create_pool(name, std::chrono::minutes(10), actor, accepted(answer), moment);
        });
  }
  const auto token_made = [answer](const Result<core::State::NewToken>& token) {
    if (!token.ok()) return answer->respond(problem(token.error()));
    answer->respond(json_response(201, token_json(token.value())));
  };
  // POST /api/v1/pools/{pool}/tokens, with {"overlap_seconds": N} to replace the others.
  if (parts.size() == 5 && parts[2] == "pools" && parts[4] == "tokens" && is_post) {
    std::optional<std::chrono::seconds> overlap;
    if (body.is_object() && body.contains("overlap_seconds") &&
        body["overlap_seconds"].is_number_unsigned()) {
      overlap = std::chrono::seconds(
          std::min<std::uint64_t>(body["overlap_seconds"].get<std::uint64_t>(), 366U * 86400U));
    }
    return post(answer, [pool = parts[3], overlap, actor, token_made](core::State& state,
                                                                      core::Moment moment) {
      state.create_registration_token(pool, overlap, actor, token_made, moment);
    });
  }
  // POST /api/v1/registration-tokens/{id}/revoke
  if (parts.size() == 5 && parts[2] == "registration-tokens" && parts[4] == "revoke" && is_post) {
    return post(answer, [id = parts[3], actor, answer](core::State& state, core::Moment moment) {
      state.revoke_registration_token(id, actor, accepted(answer), moment);
    });
  }
  if (parts.size() == 3 && parts[2] == "tokens" && is_post) {
    const std::string role = text("role");
    const core::Role wanted = role == "admin"       ? core::Role::Admin
                              : role == "operator"  ? core::Role::Operator
                              : role == "submitter" ? core::Role::Submitter
                                                    : core::Role::Reader;
    return post(answer, [name = text("name"), wanted, actor, token_made](core::State& state,
                                                                         core::Moment moment) {
      state.create_api_token(name, wanted, actor, token_made, moment);
    });
  }
  if (parts.size() == 3 && parts[2] == "audit" && get) {
    const bool queued = pool_.run([this, answer](const StopToken&) {
      const auto entries = core_.store().list_audit(200);
      if (!entries.ok()) return answer->respond(problem(entries.error()));
      answer->respond(json_response(200, audit_json(entries.value())));
    });
    if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
    return;
  }
  answer->respond(problem(404, "no such route"));
}

void Api::route_git(net::ServerRequest request, const Parts& parts, const Answer& answer) {
  // git / owner / name.git / operation; nothing of the dumb protocol.
  if (parts.size() < 4 || !parts[2].ends_with(".git")) {
    return answer->respond(problem(404, "no such route"));
  }
  const std::string operation = parts.size() == 5 ? parts[3] + "/" + parts[4] : parts[3];
  const bool advertise = parts.size() == 5 && operation == "info/refs" && request.method == "GET" &&
                         (request.query["service"] == "git-upload-pack" ||
                          request.query["service"] == "git-receive-pack");
  const bool service = parts.size() == 4 && request.method == "POST" &&
                       (operation == "git-upload-pack" || operation == "git-receive-pack");
  if (!advertise && !service) return answer->respond(problem(404, "no such route"));
  const Result<model::RepositoryName> repository =
      model::RepositoryName::create(parts[1] + "/" + parts[2].substr(0, parts[2].size() - 4));
  if (!repository.ok()) return answer->respond(problem(404, repository.error().message()));
  const auto* const caller = std::any_cast<Caller>(&request.principal);
  if (caller == nullptr) return answer->respond(problem(401, "no token"));
  if (caller->task && caller->repository != repository.value().full()) {
    return answer->respond(problem(403, "this task may read its own repository only"));
  }
  git_.serve(std::move(request), repository.value(), operation, answer);
}

}  // namespace cirrus::controller::http
