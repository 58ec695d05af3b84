// SPDX-License-Identifier: MIT
#include "controller/http/api.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "controller/http/answers.h"
#include "controller/http/event_streams.h"
#include "controller/http/json_fields.h"
#include "controller/http/json_views.h"
#include "controller/http/problem.h"
#include "controller/http/routes.h"
#include "model/safe_name.h"

namespace cirrus::controller::http {

namespace {
Result<core::RerunWish> rerun_wish(const std::string& body) {
  const nlohmann::json object = CIRRUS_TRY(json_object(body));
  CIRRUS_TRY(only_fields(object, {"terminal"}));
  core::RerunWish wish;
  wish.terminal = CIRRUS_TRY(bool_field(object, "terminal"));
  return wish;
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
    if (artifacts && request.method == "GET") return route_artifacts(request, parts, responder);
    const bool reports = parts[2] == "tasks" && parts.size() == 5 &&
                         (parts[4] == "annotations" || parts[4] == "report");
    if (reports && request.method == "GET") return route_reports(request, parts, responder);
    const bool shell = parts[2] == "tasks" && parts.size() == 5 && parts[4] == "shell";
    const bool records = parts[2] == "tasks" && parts.size() >= 5 && parts[4] == "shells";
    if (records && request.method == "GET") return route_shell_records(request, parts, responder);
    if (shell || parts[2] == "shells") return route_shells(std::move(request), parts, responder);
    if (parts[2] == "caches") return route_caches(request, parts, responder);
    if (parts[2] == "tasks") return route_tasks(request, parts, responder);
    return route_fleet(request, parts, responder);
  }
  route_service(request, parts, responder);
}

void Api::route_shells(net::ServerRequest request, const Parts& parts, const Answer& answer) {
  const std::string token = actor_of(request).token_id;
  if (parts[2] == "tasks" && request.method == "POST") {
    const Result<model::TaskId> task = model::TaskId::parse(parts[3]);
    if (!task.ok()) return answer->respond(problem(404, task.error().message()));
    return shells_.open(task.value(), std::move(request), answer);
  }
  if (parts.size() == 5 && parts[4] == "output" && request.method == "GET") {
    return shells_.output(parts[3], token, answer);
  }
  if (parts.size() == 5 && parts[4] == "input" && request.method == "POST") {
    return shells_.input(parts[3], token, std::move(request.body), answer);
  }
  if (parts.size() == 4 && request.method == "DELETE") {
    return shells_.close(parts[3], token, answer);
  }
  answer->respond(problem(404, "no such route"));
}

std::string Api::absence_of(model::BuildId id) {
  const auto removed = core_.store().read_removed(id);
  if (!removed.ok() || !removed.value()) return fmt::format("no build {}", id);
  return fmt::format("build {} of {} was removed on {}: {}", id, removed.value()->repository,
                     to_rfc3339(from_unix_millis(removed.value()->removed_ms)).substr(0, 10),
                     removed.value()->why);
}

std::string Api::absence_of(model::TaskId id) {
  const Result<bool> removed = core_.store().was_removed(id);
  if (!removed.ok() || !removed.value()) return fmt::format("no task {}", id);
  return fmt::format("task {} was removed with its build: finished builds are kept for a time only",
                     id);
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
            if (!rows.value()) return answer->respond(problem(404, absence_of(id)));
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
            answer->respond(problem(404, absence_of(id)));
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
    store::RemovalSummary removed;  // said where the list ends
    if (!more) {
      const Result<store::RemovalSummary> found = core_.store().removals();
      if (!found.ok()) return answer->respond(problem(found.error()));
      removed = found.value();
    }
    answer->respond(json_response(200, builds_json(builds, more, removed)));
  });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

void Api::route_builds(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  const bool get = request.method == "GET";
  const bool is_post = request.method == "POST";
  if (parts.size() == 3 && get) return list_builds(request, answer);
  if (parts.size() == 3 && is_post) {
    return submission_.submit(std::move(request.body), actor_of(request), answer);
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
  if (parts.size() == 5 && parts[4] == "rerun" && is_post) {
    return rerun_build(parts[3], actor_of(request), answer);
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
    const core::Actor actor = actor_of(request);
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
      const Result<core::RerunWish> wish = rerun_wish(request.body);
      if (!wish.ok()) return answer->respond(problem(wish.error()));
      // Looked up first: its build may have left memory.
      return with_task(parts[3], answer,
                       [this, answer, actor, wish = wish.value()](const core::TaskView& task) {
                         rerun(task, actor, wish, answer);
                       });
    }
  }
  answer->respond(problem(404, "no such route"));
}

void Api::with_rows(model::BuildId build, const Answer& answer,
                    std::function<void(core::State&, core::Moment)> command) {
  const bool queued =
      pool_.run([this, build, answer, command = std::move(command)](const StopToken&) {
        const auto rows = core_.store().read_build(build);
        if (!rows.ok()) return answer->respond(problem(rows.error()));
        if (!rows.value()) return answer->respond(problem(404, absence_of(build)));
        post(answer, [rows = *rows.value(), command](core::State& state, core::Moment moment) {
          state.adopt_build(rows, moment);
          command(state, moment);
        });
      });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

void Api::rerun(const core::TaskView& task, const core::Actor& actor, core::RerunWish wish,
                const Answer& answer) {
  with_rows(task.build, answer,
            [id = task.id, actor, wish, answer](core::State& state, core::Moment moment) {
              state.rerun_task(
                  id, actor,
                  [answer](const Result<model::TaskId>& fresh) {
                    if (!fresh.ok()) return answer->respond(problem(fresh.error()));
                    answer->respond(json_response(202, id_json(fresh.value().to_string())));
                  },
                  moment, wish);
            });
}

void Api::rerun_build(const std::string& id, const core::Actor& actor, const Answer& answer) {
  const Result<model::BuildId> build = model::BuildId::parse(id);
  if (!build.ok()) return answer->respond(problem(404, build.error().message()));
  with_rows(build.value(), answer,
            [id = build.value(), actor, answer](core::State& state, core::Moment moment) {
              state.rerun_build(
                  id, actor,
                  [answer](const Result<std::vector<model::TaskId>>& fresh) {
                    if (!fresh.ok()) return answer->respond(problem(fresh.error()));
                    answer->respond(json_response(202, ids_json(fresh.value())));
                  },
                  moment);
            });
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
  if (operation == "git-receive-pack" || request.query["service"] == "git-receive-pack") {
    const Status allowed = actor_of(request).check_may_act_on(repository.value().full());
    if (!allowed.ok()) return answer->respond(problem(403, allowed.error().message()));
  }
  git_.serve(std::move(request), repository.value(), operation, answer);
}

}  // namespace cirrus::controller::http
