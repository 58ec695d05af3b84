// SPDX-License-Identifier: MIT
#include "controller/http/git_host.h"

#include <fcntl.h>

#include <charconv>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "controller/http/problem.h"
#include "os/fd.h"
#include "os/files.h"
#include "os/process.h"

namespace cirrus::controller::http {

namespace {
constexpr std::chrono::minutes kTransferLimit{30};
constexpr std::chrono::seconds kLookLimit{20};
constexpr std::size_t kFileLimit = 4U << 20U;
constexpr std::size_t kChangesLimit = 16U << 20U;

/// Settings that clients cannot change. Given by environment, so that no file of a repository has
/// to be trusted or written.
os::Environment git_environment() {
  const std::pair<const char*, const char*> settings[] = {
      {"http.receivepack", "true"},
      {"http.uploadpack", "true"},
      {"receive.fsckObjects", "true"},
      {"receive.denyDeletes", "false"},
      {"receive.maxInputSize", "4294967296"},
      {"receive.autogc", "false"},
      {"uploadpack.allowAnySHA1InWant", "true"},
      {"gc.auto", "0"},
      {"core.hooksPath", "/dev/null"},
      {"safe.directory", "*"},
  };
  os::Environment environment;
  const os::Environment ours = os::current_environment();
  const auto path = ours.find("PATH");
  environment["PATH"] = path == ours.end() ? "/usr/local/bin:/usr/bin:/bin" : path->second;
  environment["HOME"] = "/nonexistent";
  environment["LC_ALL"] = "C";
  environment["GIT_CONFIG_NOSYSTEM"] = "1";
  environment["GIT_CONFIG_GLOBAL"] = "/dev/null";
  environment["GIT_TERMINAL_PROMPT"] = "0";
  int count = 0;
  for (const auto& [key, value] : settings) {
    environment[fmt::format("GIT_CONFIG_KEY_{}", count)] = key;
    environment[fmt::format("GIT_CONFIG_VALUE_{}", count)] = value;
    ++count;
  }
  environment["GIT_CONFIG_COUNT"] = std::to_string(count);
  return environment;
}

Result<os::CommandOutput> run_git(std::vector<std::string> arguments, const StopToken& stop,
                                  std::size_t limit = 1U << 20U) {
  os::SpawnOptions options;
  options.argv = std::move(arguments);
  options.argv.insert(options.argv.begin(), "git");
  options.environment = git_environment();
  options.working_directory = "/";
  return os::run_command(std::move(options), "", stop, system_clock().now() + kLookLimit, limit);
}

class CommitTree final : public lang::SourceTree {
 public:
  CommitTree(std::filesystem::path repository, std::string commit, StopToken stop)
      : repository_(std::move(repository)), commit_(std::move(commit)), stop_(std::move(stop)) {}

  Result<std::optional<std::string>> read(std::string_view path) const override {
    if (path.empty() || path.find('\0') != std::string_view::npos)
      return std::optional<std::string>();
    os::CommandOutput shown = CIRRUS_TRY(run_git({"--git-dir", repository_.string(), "cat-file",
                                                  "blob", fmt::format("{}:{}", commit_, path)},
                                                 stop_, kFileLimit + 1));
    if (!shown.status.success()) return std::optional<std::string>();
    if (shown.output.size() > kFileLimit) {
      return error(Code::ResourceExhausted, "'{}' is larger than {} bytes", path, kFileLimit);
    }
    return std::optional(std::move(shown.output));
  }

  Result<std::optional<std::vector<std::string>>> list(std::string_view path) const override {
    os::CommandOutput shown =
        CIRRUS_TRY(run_git({"--git-dir", repository_.string(), "ls-tree", "-z", "--name-only",
                            fmt::format("{}:{}", commit_, path)},
                           stop_, kFileLimit));
    if (!shown.status.success()) return std::optional<std::vector<std::string>>();
    std::vector<std::string> names = split(shown.output, '\0');
    if (!names.empty() && names.back().empty()) names.pop_back();
    return std::optional(std::move(names));
  }

 private:
  const std::filesystem::path repository_;
  const std::string commit_;
  const StopToken stop_;
};
}  // namespace

Status GitHost::ensure_repository(const model::RepositoryName& repository,
                                  const StopToken& stop) const {
  const std::filesystem::path path = paths_.repository(repository);
  std::error_code ignored;
  if (std::filesystem::exists(path / "HEAD", ignored)) return {};
  CIRRUS_TRY(os::make_directories(path.parent_path()));
  const os::CommandOutput made = CIRRUS_TRY(run_git(
      {"init", "--quiet", "--bare", "--template=", "--initial-branch=main", path.string()}, stop));
  if (!made.status.success()) {
    return error(Code::Internal, "git init failed: {:.300}", made.errors);
  }
  return {};
}

Result<GitHost::Configuration> GitHost::read_configuration(const model::RepositoryName& repository,
                                                           const std::string& commit,
                                                           const StopToken& stop) const {
  const std::filesystem::path path = paths_.repository(repository);
  std::error_code ignored;
  if (!std::filesystem::exists(path / "HEAD", ignored)) {
    return error(Code::NotFound, "nothing was pushed to repository '{}' yet", repository.full());
  }
  const os::CommandOutput known = CIRRUS_TRY(
      run_git({"--git-dir", path.string(), "cat-file", "-e", commit + "^{commit}"}, stop));
  if (!known.status.success()) {
    return error(Code::NotFound, "repository '{}' has no commit {}", repository.full(), commit);
  }
  const CommitTree files(path, commit, stop);
  for (const char* name : {".cirrus.yml", ".cirrus.yaml"}) {
    std::optional<std::string> text = CIRRUS_TRY(files.read(name));
    if (text) return Configuration{name, *std::move(text)};
  }
  return error(Code::NotFound, "commit {} has no .cirrus.yml", commit);
}

Result<std::vector<std::string>> GitHost::changed_files(const model::RepositoryName& repository,
                                                        const std::string& commit,
                                                        const std::string& base, bool since_parting,
                                                        const StopToken& stop) const {
  const std::string path = paths_.repository(repository).string();
  const std::string between = base + (since_parting ? "..." : "..") + commit;
  const std::vector<std::vector<std::string>> attempts = {
      {"diff", "--name-only", "--no-renames", "-z", between, "--"},
      {"diff", "--name-only", "--no-renames", "-z", commit + "^1.." + commit, "--"},
      {"ls-tree", "-r", "--name-only", "-z", commit}};  // the first commit of all
  for (auto attempt = attempts.begin() + (base.empty() ? 1 : 0); attempt != attempts.end();
       ++attempt) {
    std::vector<std::string> arguments = {"--git-dir", path};
    arguments.insert(arguments.end(), attempt->begin(), attempt->end());
    const os::CommandOutput shown =
        CIRRUS_TRY(run_git(std::move(arguments), stop, kChangesLimit + 1));
    if (!shown.status.success()) continue;
    if (shown.output.size() > kChangesLimit) {
      return error(Code::ResourceExhausted,
                   "the names of the changed files take more than {} bytes", kChangesLimit);
    }
    std::vector<std::string> names = split(shown.output, '\0');
    if (!names.empty() && names.back().empty()) names.pop_back();
    return names;
  }
  return std::vector<std::string>();
}

std::unique_ptr<lang::SourceTree> GitHost::tree(const model::RepositoryName& repository,
                                                const std::string& commit, StopToken stop) const {
  return std::make_unique<CommitTree>(paths_.repository(repository), commit, std::move(stop));
}

void GitHost::serve(net::ServerRequest request, const model::RepositoryName& repository,
                    const std::string& operation, std::shared_ptr<net::Responder> responder) {
  auto shared = std::make_shared<net::ServerRequest>(std::move(request));
  const bool queued = pool_.run([this, shared, repository, operation,
                                 responder](const StopToken& stop) {
    const bool push = operation == "git-receive-pack" ||
                      (operation == "info/refs" && shared->query["service"] == "git-receive-pack");
    if (push) {
      const Status made = ensure_repository(repository, stop);
      if (!made.ok()) return responder->respond(problem(made.error()));
    }
    std::error_code ignored;
    if (!std::filesystem::exists(paths_.repository(repository) / "HEAD", ignored)) {
      return responder->respond(problem(404, fmt::format("no repository '{}'", repository.full())));
    }
    run_backend(*shared, repository, operation, *responder, stop);
  });
  if (!queued) responder->respond(problem(503, "too many requests to git at once: try again"));
}

void GitHost::run_backend(const net::ServerRequest& request,
                          const model::RepositoryName& repository, const std::string& operation,
                          net::Responder& responder, const StopToken& stop) {
  os::SpawnOptions options;
  options.argv = {"git", "http-backend"};
  os::Environment environment = git_environment();
  environment["GIT_PROJECT_ROOT"] = paths_.repositories().string();
  environment["GIT_HTTP_EXPORT_ALL"] = "1";
  environment["REQUEST_METHOD"] = request.method;
  environment["PATH_INFO"] = fmt::format("/{}.git/{}", repository.full(), operation);
  const auto service = request.query.find("service");
  if (service != request.query.end()) environment["QUERY_STRING"] = "service=" + service->second;
  environment["CONTENT_TYPE"] = std::string(request.header("content-type"));
  environment["REMOTE_USER"] = "cirrus";
  if (request.header("content-encoding") == "gzip") environment["HTTP_CONTENT_ENCODING"] = "gzip";
  const std::string_view protocol = request.header("git-protocol");
  if (!protocol.empty() && protocol.size() < 100)
    environment["GIT_PROTOCOL"] = std::string(protocol);

  os::Fd input;
  if (request.spooled) {
    Result<os::Fd> opened = os::open_file(*request.spooled, O_RDONLY);
    if (!opened.ok()) return responder.respond(problem(opened.error()));
    input = std::move(opened).value();
    std::error_code ignored;
    environment["CONTENT_LENGTH"] =
        std::to_string(std::filesystem::file_size(*request.spooled, ignored));
    options.descriptors[0] = input.get();
  }
  Result<os::Pipe> pipe = os::make_pipe();
  if (!pipe.ok()) return responder.respond(problem(pipe.error()));
  options.descriptors[1] = pipe.value().write_end.get();
  options.environment = std::move(environment);
  options.working_directory = "/";
  Result<os::Process> process = os::Process::spawn(options);
  if (!process.ok()) return responder.respond(problem(process.error()));
  pipe.value().write_end.reset();
  // The pipe ends when git does; a stop ends git. So reading needs no deadline of its own.
  const StopCallback<std::function<void()>> ended(
      stop, [&process] { process.value().send_signal_to_group(15); });

  // A CGI head, then the body.
  std::string head;
  std::vector<char> buffer(64 * 1024);
  std::size_t body_at = std::string::npos;
  while (body_at == std::string::npos && head.size() < 64 * 1024) {
    const Result<std::size_t> got = os::read_some(pipe.value().read_end.get(), buffer);
    if (!got.ok() || got.value() == 0) break;
    head.append(buffer.data(), got.value());
    body_at = head.find("\r\n\r\n");
  }
  if (body_at == std::string::npos) {
    log_warning("git http-backend gave no answer", {{"repository", repository.full()}});
    return responder.respond(problem(500, "git did not answer"));
  }
  net::ServerResponse response;
  for (const std::string& line : split(head.substr(0, body_at), '\n')) {
    const std::string_view text = trim(line);
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string name(text.substr(0, colon));
    const std::string value(trim(text.substr(colon + 1)));
    if (to_lower(name) == "status") {
      std::from_chars(value.data(), value.data() + value.size(), response.status);
    } else {
      response.headers.emplace_back(name, value);
    }
  }
  const std::shared_ptr<net::ByteStream> body = responder.stream(std::move(response));
  bool listening = body->write_blocking(head.substr(body_at + 4), stop);
  const Monotonic deadline = system_clock().now() + kTransferLimit;
  while (listening && system_clock().now() < deadline) {
    const Result<std::size_t> got = os::read_some(pipe.value().read_end.get(), buffer);
    if (!got.ok() || got.value() == 0) break;
    listening = body->write_blocking(std::string(buffer.data(), got.value()), stop);
  }
  body->finish();
}

}  // namespace cirrus::controller::http
