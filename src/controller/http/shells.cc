// SPDX-License-Identifier: MIT
#include "controller/http/shells.h"

#include <algorithm>

#include "base/ids.h"
#include "controller/http/answers.h"
#include "controller/http/json_fields.h"
#include "controller/http/json_views.h"
#include "controller/http/problem.h"

namespace cirrus::controller::http {
namespace {

// Ours: a shell that nobody reads was ordered by a program that is gone.
constexpr std::chrono::seconds kUnread{60};
constexpr std::uint32_t kMostCells = 10'000;

Result<std::uint32_t> cells(const nlohmann::json& body, const char* name, std::uint32_t fallback) {
  const auto found = body.find(name);
  if (found == body.end()) return fallback;
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() < 1 ||
      found->get<std::uint64_t>() > kMostCells) {
    return error(Code::InvalidArgument, "'{}' must be a whole number from 1 to {}", name,
                 kMostCells);
  }
  return found->get<std::uint32_t>();
}

Result<cirrus::rpc::ShellOrder> read_order(const std::string& text) {
  const nlohmann::json body = CIRRUS_TRY(json_object(text));
  CIRRUS_TRY(only_fields(body, {"columns", "rows"}));
  cirrus::rpc::ShellOrder order;
  order.set_columns(CIRRUS_TRY(cells(body, "columns", 80)));
  order.set_rows(CIRRUS_TRY(cells(body, "rows", 24)));
  return order;
}

}  // namespace

void Shells::open(model::TaskId task, net::ServerRequest request, const Answer& answer) {
  Result<cirrus::rpc::ShellOrder> order = read_order(request.body);
  if (!order.ok()) return answer->respond(problem(order.error()));
  order.value().set_task_id(task.to_string());
  const core::Actor actor = actor_of(request);
  const bool posted = core_.post([this, task, actor, answer, order = std::move(order).value()](
                                     core::State& state, core::Moment moment) {
    state.order_shell(
        task, actor,
        [this, task, actor, answer, order](const Result<core::State::ShellPlace>& place) {
          if (!place.ok()) return answer->respond(problem(place.error()));
          const bool queued =
              writers_.run([this, task, actor, answer, order, place = place.value()](
                               const StopToken&) { begin(task, order, place, actor, answer); });
          if (!queued) answer->respond(problem(503, "too much is typed at once: try again"));
        },
        moment);
  });
  if (!posted) answer->respond(problem(503, "the controller is shutting down"));
}

void Shells::begin(model::TaskId task, const cirrus::rpc::ShellOrder& order,
                   const core::State::ShellPlace& place, const core::Actor& actor,
                   const Answer& answer) {
  std::shared_ptr<blobs::ShellRecord> record;
  cirrus::rpc::ShellTap tap;
  if (place.recorded) {
    auto begun = records_.begin(task, actor.name, core_.clock().wall());
    if (!begun.ok()) return answer->respond(problem(503, begun.error().to_string()));
    record = std::move(begun).value();
    tap = {record->notice(), [record](std::string_view bytes) { return record->append(bytes); }};
  }
  // An agent of the reference comes to us by itself; ours are reached through their worker.
  Result<std::shared_ptr<cirrus::rpc::ByteChannel>> channel =
      hub_.open(cirrus::rpc::kTerminalTargets + order.task_id(), order, tap);
  if (!channel.ok() && channel.error().code() == Code::NotFound) {
    channel = hub_.open(place.worker, order, tap);
  }
  if (!channel.ok()) {
    if (record) record->discard();
    const bool absent = channel.error().code() == Code::NotFound;
    return answer->respond(absent ? problem(409, place.absent) : problem(channel.error()));
  }
  const std::string id = random_hex(16);
  open_.with([&](Map& map) {
    const Monotonic now = std::chrono::steady_clock::now();
    std::erase_if(map, [now](const auto& one) {
      return !one.second.is_read && now - one.second.opened > kUnread;
    });
    map.emplace(id, Open{.channel = std::move(channel).value(), .token_id = actor.token_id});
  });
  answer->respond(json_response(201, nlohmann::json{{"schema_version", 1}, {"id", id}}.dump()));
}

std::shared_ptr<cirrus::rpc::ByteChannel> Shells::find(const std::string& id,
                                                       const std::string& token_id,
                                                       const Answer& answer) {
  const std::shared_ptr<cirrus::rpc::ByteChannel> channel = open_.with([&](Map& map) {
    const auto found = map.find(id);
    return found == map.end() || found->second.token_id != token_id ? nullptr
                                                                    : found->second.channel;
  });
  if (!channel) answer->respond(problem(404, "there is no such shell"));
  return channel;
}

void Shells::output(const std::string& id, const std::string& token_id, const Answer& answer) {
  const std::shared_ptr<cirrus::rpc::ByteChannel> channel = find(id, token_id, answer);
  if (!channel) return;
  const bool first = open_.with([&](Map& map) {
    const auto found = map.find(id);
    return found != map.end() && !std::exchange(found->second.is_read, true);
  });
  if (!first) return answer->respond(problem(409, "this shell is read already"));
  const bool queued = readers_.run([this, id, channel, answer](const StopToken& stop) {
    const std::shared_ptr<net::ByteStream> body = answer->stream(bytes_of_a_task());
    body->on_close([channel] { channel->cancel(); });
    const StopCallback cancel_on_stop(stop, [&channel] { channel->cancel(); });
    for (;;) {
      Result<std::string> bytes = channel->read();
      if (!bytes.ok() && bytes.error().code() == Code::DeadlineExceeded) {
        (void)body->write_blocking(bytes.error().to_string() + "\r\n", stop);
      }
      if (!bytes.ok() || bytes.value().empty()) break;
      if (!body->write_blocking(std::move(bytes).value(), stop)) break;
    }
    body->finish();
    open_.with([&id](Map& map) { map.erase(id); });
  });
  if (!queued) answer->respond(problem(503, "too many shells are open"));
}

void Shells::input(const std::string& id, const std::string& token_id, std::string frames,
                   const Answer& answer) {
  const std::shared_ptr<cirrus::rpc::ByteChannel> channel = find(id, token_id, answer);
  if (!channel) return;
  const bool queued =
      writers_.run([channel, answer, frames = std::move(frames)](const StopToken& stop) {
        const StopCallback cancel_on_stop(stop, [&channel] { channel->cancel(); });
        const Status written = channel->write(frames);
        answer->respond(written.ok() ? net::ServerResponse{204, {}, ""}
                                     : problem(409, "the shell has ended"));
      });
  if (!queued) answer->respond(problem(503, "too much is typed at once: try again"));
}

void Shells::close(const std::string& id, const std::string& token_id, const Answer& answer) {
  const std::shared_ptr<cirrus::rpc::ByteChannel> channel = find(id, token_id, answer);
  if (!channel) return;
  channel->cancel();
  open_.with([&id](Map& map) { map.erase(id); });
  answer->respond({204, {}, ""});
}

void Shells::stop() {
  const Map open = open_.with([](Map& map) { return std::exchange(map, {}); });
  for (const auto& [id, shell] : open) shell.channel->cancel();
  readers_.stop();
  writers_.stop();
}

}  // namespace cirrus::controller::http
