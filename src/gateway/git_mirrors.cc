// SPDX-License-Identifier: MIT
#include "gateway/git_mirrors.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/log.h"
#include "base/strings.h"
#include "gateway/task_paths.h"
#include "os/files.h"
#include "os/host.h"
#include "os/process.h"
#include "os/temp_dir.h"
#include "os/waker.h"

namespace cirrus::gateway {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kShort{30};
constexpr std::size_t kBuffer = 64 * 1024;
constexpr std::size_t kLastWords = 4096;

/// Nothing of the worker's own: no settings, no keys, no hooks.
os::Environment git_environment(const fs::path& mirror) {
  os::Environment environment = model::clean_git_environment(os::current_environment());
  environment["HOME"] = mirror.string();
  environment["GIT_DIR"] = mirror.string();
  return environment;
}

/// git's last line that says something: `fatal: …` without the word.
std::string reason_in(std::string_view words) {
  std::string reason;
  for (const std::string& line : split(words, '\n')) {
    const std::string_view last = trim(std::string_view(line).substr(line.rfind('\r') + 1));
    if (last.starts_with("fatal: ") || last.starts_with("error: ")) {
      reason = std::string(last.substr(last.find(' ') + 1));
    } else if (!last.empty() && reason.empty()) {
      reason = std::string(last);
    }
  }
  return shorten(reason.empty() ? "git said nothing" : reason, 500);
}

/// One run of git whose words are handed on as they come.
class Run {
 public:
  Run(const fs::path& mirror, std::vector<std::string> arguments) : mirror_(mirror) {
    options_.argv = std::move(arguments);
    options_.argv.insert(options_.argv.begin(), "git");
    options_.environment = git_environment(mirror);
    options_.working_directory = mirror;
  }
  os::Environment& environment() { return *options_.environment; }

  Status to_end(const StopToken& stop, Monotonic deadline,
                const std::function<void(std::string_view)>& words) {
    os::Pipe output = CIRRUS_TRY(os::make_pipe());
    options_.descriptors = {{1, output.write_end.get()}, {2, output.write_end.get()}};
    os::Process process = CIRRUS_TRY(os::Process::spawn(options_));
    output.write_end.reset();
    std::string last_words;
    std::array<char, kBuffer> buffer{};
    for (;;) {
      const Result<bool> readable = os::wait_readable(output.read_end.get(), stop, deadline);
      if (!readable.ok()) return readable.error();
      if (!readable.value()) {
        return error(stop.stop_requested() ? Code::Cancelled : Code::DeadlineExceeded,
                     "git {} did not end in time", options_.argv[1]);
      }
      const std::size_t got = CIRRUS_TRY(os::read_some(output.read_end.get(), buffer));
      if (got == 0) break;
      const std::string_view piece(buffer.data(), got);
      words(piece);
      last_words += piece;
      if (last_words.size() > 2 * kLastWords) {
        last_words.erase(0, last_words.size() - kLastWords);
      }
    }
    const os::ExitStatus status = CIRRUS_TRY(process.wait(stop, deadline));
    if (status.success()) return {};
    return error(Code::FailedPrecondition, "{}", reason_in(last_words));
  }

 private:
  const fs::path mirror_;
  os::SpawnOptions options_;
};

void touch(const fs::path& mirror) {
  (void)os::write_file(mirror.string() + ".used", "");
}

/// Locks of a fetch that was killed; only under the mirror's own lock.
void remove_stale_locks(const fs::path& mirror) {
  std::error_code failure;
  for (fs::recursive_directory_iterator at(mirror, failure), end; !failure && at != end;
       at.increment(failure)) {
    std::error_code ignored;
    if (at.depth() > 0 && at->path().filename() == "objects") at.disable_recursion_pending();
    if (at->path().extension() == ".lock") fs::remove(at->path(), ignored);
  }
}

/// Both ways between a client and a process, until the process ends.
Status pump(os::Process& process, os::Fd input, os::Fd output, rpc::ByteChannel& client,
            const StopToken& stop) {
  const StopCallback cancel_on_stop(stop, [&client] { client.cancel(); });
  Thread upwards([&client, input = std::move(input)]() mutable {
    for (;;) {
      const Result<std::string> bytes = client.read();
      if (!bytes.ok() || bytes.value().empty()) break;
      if (!os::write_all(input.get(), bytes.value()).ok()) break;
    }
    input.reset();
  });
  std::vector<char> buffer(4 * kBuffer);
  Status sent;
  for (;;) {
    const Result<std::size_t> got = os::read_some(output.get(), buffer);
    if (!got.ok() || got.value() == 0) break;
    sent = client.write({buffer.data(), got.value()});
    if (!sent.ok()) break;
  }
  if (!sent.ok()) process.send_signal_to_group(SIGKILL);
  const Result<os::ExitStatus> ended =
      process.wait(stop, std::chrono::steady_clock::now() + kShort);
  // A client that has all it wants closes its half; one that does not must not keep us.
  if (!ended.ok() || !ended.value().success()) client.cancel();
  upwards.join();
  if (!sent.ok()) return sent;
  if (!ended.ok()) return ended.error();
  if (ended.value().success()) return {};
  return error(Code::FailedPrecondition, "git upload-pack: {}", ended.value().describe());
}

}  // namespace

bool GitMirrors::possible() {
  return !os::find_program("git").empty();
}

bool GitMirrors::takes(const std::string& url) {
  return (url.starts_with("http://") || url.starts_with("https://")) &&
         url.find_first_of(" \n\r\t") == std::string::npos;
}

fs::path GitMirrors::place(const model::CloneRequest& request, bool shallow) const {
  return options_.directory /
         (file_name_of_step(request.url.clean) + (shallow ? ".shallow" : ".full"));
}

fs::path GitMirrors::choose(const model::CloneRequest& request) const {
  const fs::path whole = place(request, false);
  std::error_code ignored;
  // A whole one serves everybody, and is never made shallow.
  return request.depth == 0 || fs::exists(whole / "HEAD", ignored) ? whole : place(request, true);
}

std::shared_ptr<std::mutex> GitMirrors::lock_of(const fs::path& mirror) {
  return locks_.with([&](auto& locks) {
    std::shared_ptr<std::mutex>& lock = locks[mirror.string()];
    if (!lock) lock = std::make_shared<std::mutex>();
    return lock;
  });
}

Status GitMirrors::prepare(const fs::path& mirror, const model::CloneRequest& request,
                           const StopToken& stop) {
  CIRRUS_TRY(os::make_directories(mirror, 0700));
  std::error_code ignored;
  if (fs::exists(mirror / "HEAD", ignored)) {
    remove_stale_locks(mirror);
    return {};
  }
  CIRRUS_TRY(Run(mirror, {"init", "--quiet", "--bare", mirror.string()})
                 .to_end(stop, std::chrono::steady_clock::now() + kShort, [](auto) {}));
  // For people who look at it; what is fetched is named in each call.
  return Run(mirror, {"config", "remote.origin.url", request.url.clean})
      .to_end(stop, std::chrono::steady_clock::now() + kShort, [](auto) {});
}

Status GitMirrors::fetch(const model::CloneRequest& request, const StopToken& stop,
                         const std::function<void(std::string_view)>& words) {
  if (!takes(request.url.clean)) {
    return error(Code::InvalidArgument, "only http and https addresses are mirrored");
  }
  const fs::path mirror = choose(request);
  const std::shared_ptr<std::mutex> lock = lock_of(mirror);
  const std::lock_guard held(*lock);
  std::error_code ignored;
  const bool is_new = !fs::exists(mirror / "HEAD", ignored);
  CIRRUS_TRY(prepare(mirror, request, stop));
  touch(mirror);
  const Monotonic deadline = std::chrono::steady_clock::now() + options_.fetch_time;
  const auto run = [&](const std::vector<std::string>& arguments) {
    Run git(mirror, arguments);
    std::vector<std::pair<std::string, std::string>> settings =
        model::credential_settings(request.url);
    settings.insert(settings.end(), {{"gc.autoDetach", "false"},
                                     {"http.followRedirects", "initial"},
                                     {"protocol.version", "2"}});
    for (const auto& [url, file] : options_.authorities) {
      settings.emplace_back("http." + url + ".sslCAInfo", file);
    }
    model::add_git_settings(git.environment(), settings);
    return git.to_end(stop, deadline, words);
  };
  model::CloneRequest wanted = request;
  if (mirror == place(request, false)) wanted.depth = 0;
  Status fetched = wanted.change.empty() ? run(model::fetch_ref_arguments(wanted))
                                         : run(model::fetch_commit_arguments(wanted));
  if (!fetched.ok() && !wanted.change.empty() && !stop.stop_requested()) {
    // The server may give out branches and tags only; the branch may have moved on since.
    wanted.depth = 0;
    fetched = run(model::fetch_ref_arguments(wanted));
    if (fetched.ok()) {
      fetched = Run(mirror, {"cat-file", "-e", wanted.change + "^{commit}"})
                    .to_end(stop, deadline, [](auto) {});
      if (!fetched.ok()) {
        fetched = error(Code::FailedPrecondition, "{} does not lead to commit {}", wanted.ref,
                        wanted.change);
      }
    }
  }
  if (is_new && !fetched.ok()) {
    fs::remove_all(mirror, ignored);
    fs::remove(mirror.string() + ".used", ignored);
  }
  if (is_new && fetched.ok()) remove_unused();
  return fetched;
}

Status GitMirrors::serve(const model::CloneRequest& request, const std::string& protocol,
                         rpc::ByteChannel& client, const StopToken& stop) {
  const fs::path mirror = choose(request);
  std::error_code ignored;
  if (!fs::exists(mirror / "HEAD", ignored)) {
    return error(Code::NotFound, "there is no mirror of {}", request.url.clean);
  }
  os::Pipe input = CIRRUS_TRY(os::make_pipe());
  os::Pipe output = CIRRUS_TRY(os::make_pipe());
  os::SpawnOptions options;
  options.argv = {"git", "upload-pack", "--strict", mirror.string()};
  options.environment = git_environment(mirror);
  // A commit that no ref leads to any more is served too: the task was told to build it.
  model::add_git_settings(*options.environment, {{"uploadpack.allowAnySHA1InWant", "true"}});
  if (!protocol.empty()) (*options.environment)["GIT_PROTOCOL"] = protocol;
  options.working_directory = mirror;
  options.descriptors = {{0, input.read_end.get()}, {1, output.write_end.get()}};
  os::Process process = CIRRUS_TRY(os::Process::spawn(options));
  input.read_end.reset();
  output.write_end.reset();
  return pump(process, std::move(input.write_end), std::move(output.read_end), client, stop);
}

Status GitMirrors::send_tree(const model::CloneRequest& request, rpc::ByteChannel& client,
                             const StopToken& stop) {
  const fs::path mirror = choose(request);
  const os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("clone", options_.directory));
  const fs::path tree = scratch.path() / "tree";
  CIRRUS_TRY(os::make_directories(tree / ".git", 0755));
  const Monotonic deadline = std::chrono::steady_clock::now() + options_.fetch_time;
  std::string words;
  const auto run = [&](std::vector<std::string> arguments, const char* protocols) {
    Run git(tree, std::move(arguments));
    os::Environment& environment = git.environment();
    environment["GIT_DIR"] = (tree / ".git").string();
    environment["GIT_WORK_TREE"] = tree.string();
    environment["HOME"] = scratch.path().string();
    environment["GIT_ALLOW_PROTOCOL"] = protocols;
    std::vector<std::pair<std::string, std::string>> settings =
        model::credential_settings(request.url);
    settings.insert(settings.end(),
                    {{"core.hooksPath", "/dev/null"}, {"uploadpack.allowAnySHA1InWant", "true"}});
    model::add_git_settings(environment, settings);
    return git.to_end(stop, deadline, [&words](std::string_view more) { words += more; });
  };
  // A path, not a URL: those are percent-decoded, and the mirror's name is percent-encoded.
  const std::string from = mirror.string();
  CIRRUS_TRY(run({"init", "--quiet", "--template=", "-b", "main"}, ""));
  CIRRUS_TRY(run({"config", "remote.origin.url", request.url.clean}, ""));
  CIRRUS_TRY(run({"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"}, ""));
  if (!request.branch.empty()) {
    CIRRUS_TRY(run({"config", "branch." + request.branch + ".remote", "origin"}, ""));
    CIRRUS_TRY(run({"config", "branch." + request.branch + ".merge", request.ref}, ""));
  }
  CIRRUS_TRY(run(request.change.empty() ? model::fetch_ref_arguments(request, from)
                                        : model::fetch_commit_arguments(request, from),
                 "file"));
  CIRRUS_TRY(run(model::checkout_arguments(request), ""));
  if (request.submodules) {
    CIRRUS_TRY(run({"submodule", "update", "--init", "--recursive", "--force"}, "http:https")
                   .note("fetching submodules"));
  }
  os::Pipe output = CIRRUS_TRY(os::make_pipe());
  os::SpawnOptions options;
  options.argv = {"tar", "-C", tree.string(), "--format=gnu", "-cf", "-", "."};
  options.environment = model::clean_git_environment(os::current_environment());
  options.descriptors = {{1, output.write_end.get()}};
  os::Process tar = CIRRUS_TRY(os::Process::spawn(options));
  output.write_end.reset();
  std::vector<char> buffer(4 * kBuffer);
  for (;;) {
    const std::size_t got = CIRRUS_TRY(os::read_some(output.read_end.get(), buffer));
    if (got == 0) break;
    CIRRUS_TRY(client.write({buffer.data(), got}));
  }
  const os::ExitStatus status = CIRRUS_TRY(tar.wait(stop, deadline));
  if (status.success()) return {};
  return error(Code::Internal, "packing the clone: tar ended with {}", status.describe());
}

void GitMirrors::remove_unused() {
  std::error_code failure;
  std::vector<fs::path> unused;
  const auto oldest = fs::file_time_type::clock::now() - options_.keep;
  for (const fs::directory_entry& entry : fs::directory_iterator(options_.directory, failure)) {
    // Clones in the making are nobody's mirror.
    if (!entry.is_directory(failure) || entry.path().extension().empty()) continue;
    const fs::path mark = entry.path().string() + ".used";
    const auto used = fs::last_write_time(mark, failure);
    if (failure || used < oldest) unused.push_back(entry.path());
  }
  for (const fs::path& mirror : unused) {
    const std::shared_ptr<std::mutex> lock = lock_of(mirror);
    const std::unique_lock held(*lock, std::try_to_lock);
    if (!held.owns_lock()) continue;
    log_info("an unused mirror is removed", {{"mirror", mirror.string()}});
    fs::remove_all(mirror, failure);
    fs::remove(mirror.string() + ".used", failure);
  }
}

}  // namespace cirrus::gateway
