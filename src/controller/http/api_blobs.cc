// SPDX-License-Identifier: MIT
// Api: artifacts and recorded shells of tasks, caches of repositories.
#include <charconv>
#include <limits>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "controller/blobs/retention.h"
#include "controller/http/answers.h"
#include "controller/http/api.h"
#include "controller/http/json_views.h"
#include "controller/http/problem.h"
#include "os/fd.h"

namespace cirrus::controller::http {

namespace {
using nlohmann::json;

constexpr std::size_t kPiece = 256U * 1024U;

/// Names are anybody's bytes: what is no UTF-8 is shown with marks in its place.
std::string dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// The last part of a path as a quoted name for the download.
std::string attachment(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e || c == '"' ||
        c == '\\') {
      c = '_';
    }
  }
  return "attachment; filename=\"" + name + "\"";
}

/// Where a page of caches ended: so many of this moment were shown. Without their keys, which may
/// be any bytes.
struct CachePlace {
  std::int64_t millis = std::numeric_limits<std::int64_t>::max();
  std::size_t shown = 0;
};

/// `1764417300123-2`; empty: the beginning. Errors: InvalidArgument.
Result<CachePlace> cache_place(const std::string& text) {
  CachePlace place;
  if (text.empty()) return place;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, place.millis);
  const bool dash = first.ec == std::errc() && first.ptr != end && *first.ptr == '-';
  const auto second = dash ? std::from_chars(first.ptr + 1, end, place.shown) : first;
  if (!dash || second.ec != std::errc() || second.ptr != end) {
    return error(Code::InvalidArgument, "'after' must be the 'next_after' of a page");
  }
  return place;
}

json page_of_caches(const std::vector<blobs::CacheEntry>& caches, const CachePlace& after,
                    std::size_t most) {
  json page = {{"schema_version", 1}, {"caches", json::array()}, {"next_after", nullptr}};
  json& list = page["caches"];
  CachePlace at;
  std::string next;
  for (const blobs::CacheEntry& cache : caches) {
    if (cache.created_millis != at.millis) at = {cache.created_millis, 0};
    ++at.shown;
    const bool known =
        at.millis > after.millis || (at.millis == after.millis && at.shown <= after.shown);
    if (known) continue;
    if (list.size() == most) {
      page["next_after"] = next;
      break;
    }
    next = fmt::format("{}-{}", at.millis, at.shown);
    list.push_back({{"key", cache.key},
                    {"size", cache.bytes},
                    {"created_at", to_rfc3339(from_unix_millis(cache.created_millis))},
                    {"used_at", to_rfc3339(from_unix_millis(cache.used_millis))},
                    {"task_id", cache.created_by_task}});
  }
  return page;
}

json page_of_artifacts(const blobs::ArtifactPage& page) {
  json list = json::array();
  for (const blobs::Artifact& artifact : page.artifacts) {
    json files = json::array();
    for (const blobs::ArtifactFile& file : artifact.files) {
      files.push_back({{"path", file.path}, {"size", file.bytes}});
    }
    list.push_back({{"name", artifact.name},
                    {"type", artifact.type},
                    {"format", artifact.format},
                    {"files", std::move(files)}});
  }
  const json next = page.next ? json(page.next->to_string()) : json();
  return {{"schema_version", 1}, {"artifacts", std::move(list)}, {"next_after", next}};
}
}  // namespace

void Api::send_file(const core::TaskView& task, const std::string& name, const std::string& path,
                    const Answer& answer) {
  const bool queued =
      downloads_.run([this, id = task.id, name, path, answer](const StopToken& stop) {
        Result<blobs::ArtifactStore::File> file = stores_.artifacts.open(id, name, path);
        if (!file.ok()) return answer->respond(problem(file.error()));
        // Whatever it is, it is never shown by a browser as something of ours.
        const std::shared_ptr<net::ByteStream> body =
            answer->stream({200,
                            {{"Content-Type", "application/octet-stream"},
                             {"Content-Disposition", attachment(path)},
                             {"X-Content-Type-Options", "nosniff"},
                             {"Content-Security-Policy", "sandbox; default-src 'none'"},
                             {"Cirrus-Content-Length", std::to_string(file.value().bytes)},
                             {"Cache-Control", "no-store"}},
                            ""});
        std::string buffer(kPiece, '\0');
        for (;;) {
          const Result<std::size_t> got = os::read_some(file.value().fd.get(), buffer);
          if (!got.ok() || got.value() == 0) break;
          if (!body->write_blocking(buffer.substr(0, got.value()), stop)) break;
        }
        body->finish();
      });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

void Api::list_artifacts(const net::ServerRequest& request, const std::string& task,
                         const Answer& answer) {
  const Result<std::int64_t> limit = number_of(request.query, "limit", 1000, 1, 5000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  const auto after = blobs::ArtifactPlace::parse(text_of_query(request, "after"));
  if (!after.ok()) return answer->respond(problem(after.error()));
  with_task(
      task, answer,
      [this, answer, after = after.value(),
       most = static_cast<std::size_t>(limit.value())](const core::TaskView& found) {
        const bool queued = pool_.run([this, id = found.id, after, most, answer](const StopToken&) {
          const Result<blobs::ArtifactPage> page = stores_.artifacts.page(id, after, most);
          if (!page.ok()) return answer->respond(problem(page.error()));
          json body = page_of_artifacts(page.value());
          if (const auto note = blobs::expiry_note(stores_.paths.artifacts_of(id))) {
            body["expired"] = std::string(trim(*note));
          }
          answer->respond(json_response(200, dump(body)));
        });
        if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
      });
}

// GET /api/v1/tasks/{id}/artifacts[?limit=&after=] and .../artifacts/{name}/{path…}
void Api::route_artifacts(const net::ServerRequest& request, const Parts& parts,
                          const Answer& answer) {
  if (parts.size() == 5) return list_artifacts(request, parts[3], answer);
  if (parts.size() < 7) return answer->respond(problem(404, "no such route"));
  std::string path = parts[6];
  for (std::size_t i = 7; i < parts.size(); ++i) path += "/" + parts[i];
  with_task(parts[3], answer, [this, answer, name = parts[5], path](const core::TaskView& task) {
    send_file(task, name, path, answer);
  });
}

void Api::send_shell_record(model::TaskId task, int number, std::uint64_t offset,
                            const Answer& answer) {
  const bool queued = downloads_.run([this, task, number, offset, answer](const StopToken& stop) {
    Result<std::string> piece = stores_.shells.read(task, number, offset, kPiece);
    if (!piece.ok()) return answer->respond(problem(piece.error()));
    const std::shared_ptr<net::ByteStream> body = answer->stream(bytes_of_a_task());
    for (std::uint64_t at = offset; piece.ok() && !piece.value().empty();) {
      at += piece.value().size();
      if (!body->write_blocking(std::move(piece).value(), stop)) break;
      piece = stores_.shells.read(task, number, at, kPiece);
    }
    body->finish();
  });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

void Api::list_shell_records(model::TaskId task, const Answer& answer) {
  const bool queued = pool_.run([this, task, answer](const StopToken&) {
    const auto records = stores_.shells.list(task);
    if (!records.ok()) return answer->respond(problem(records.error()));
    json list = json::array();
    for (const blobs::ShellRecords::Record& record : records.value()) {
      list.push_back({{"number", record.number},
                      {"opened_by", record.opened_by},
                      {"opened_at", record.opened_at},
                      {"size", record.bytes}});
    }
    json body = {{"schema_version", 1}, {"shells", std::move(list)}};
    if (const auto note = blobs::expiry_note(stores_.paths.logs_of(task))) {
      body["expired"] = std::string(trim(*note));
    }
    answer->respond(json_response(200, dump(body)));
  });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

// GET /api/v1/tasks/{id}/shells and .../shells/{number}[?offset=]
void Api::route_shell_records(net::ServerRequest& request, const Parts& parts,
                              const Answer& answer) {
  if (parts.size() == 5) {
    return with_task(parts[3], answer, [this, answer](const core::TaskView& task) {
      list_shell_records(task.id, answer);
    });
  }
  int number = 0;
  const char* const end = parts[5].data() + parts[5].size();
  const auto read = std::from_chars(parts[5].data(), end, number);
  if (read.ec != std::errc() || read.ptr != end) {
    return answer->respond(problem(404, "recorded shells have numbers: 1 is a task's first"));
  }
  const Result<std::int64_t> offset = number_of(request.query, "offset", 0, 0, kMostNumber);
  if (!offset.ok()) return answer->respond(problem(offset.error()));
  with_task(parts[3], answer,
            [this, number, from = static_cast<std::uint64_t>(offset.value()), answer](
                const core::TaskView& task) { send_shell_record(task.id, number, from, answer); });
}

// GET /api/v1/caches/{owner}/{name}[?limit=&after=]; DELETE …?key=
void Api::route_caches(net::ServerRequest& request, const Parts& parts, const Answer& answer) {
  if (parts.size() != 5) return answer->respond(problem(404, "no such route"));
  const Result<model::RepositoryName> repository =
      model::RepositoryName::create(parts[3] + "/" + parts[4]);
  if (!repository.ok()) return answer->respond(problem(404, repository.error().message()));
  const std::string name = repository.value().full();
  const std::string key = request.query["key"];
  const bool removes = request.method == "DELETE";
  if (!removes && request.method != "GET") return answer->respond(problem(404, "no such route"));
  if (removes && key.empty()) return answer->respond(problem(400, "'key' says which cache"));
  const Result<std::int64_t> limit = number_of(request.query, "limit", 1000, 1, 5000);
  if (!limit.ok()) return answer->respond(problem(limit.error()));
  const Result<CachePlace> after = cache_place(text_of_query(request, "after"));
  if (!after.ok()) return answer->respond(problem(after.error()));
  const bool queued = pool_.run([this, name, key, removes, answer, after = after.value(),
                                 most = static_cast<std::size_t>(limit.value())](const StopToken&) {
    if (removes) {
      const Status removed = stores_.caches.remove(name, key);
      if (!removed.ok()) return answer->respond(problem(removed.error()));
      return answer->respond(json_response(200, R"({"schema_version":1})"));
    }
    const Result<std::vector<blobs::CacheEntry>> caches = stores_.caches.list(name);
    if (!caches.ok()) return answer->respond(problem(caches.error()));
    answer->respond(json_response(200, dump(page_of_caches(caches.value(), after, most))));
  });
  if (!queued) answer->respond(problem(503, "too many requests at once: try again"));
}

}  // namespace cirrus::controller::http
