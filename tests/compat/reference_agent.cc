// SPDX-License-Identifier: MIT
// A program that stands in for the reference CLI binary as agent: its command line, its calls in
// their order, its masking of nothing, its two uploads of every log, its caches by address and its
// artifacts by the call that is left when addresses are not to be had, its terminals. Source:
// protocol §7 to §11, agent specification §1, §2, §8, §13 to §16, §20.
//
// What it does not do: it knows script, cache and artifacts steps and the wait at a terminal;
// scripts have no time limit.
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "cirrus_agent.grpc.pb.h"
#include "google/bytestream/bytestream.grpc.pb.h"
#include "reference_terminal.h"

namespace {

namespace api = org::cirruslabs::ci::services::cirruscigrpc;
namespace bytestream = google::bytestream;

std::atomic<bool> interrupted = false;

struct Flags {
  std::string endpoint;
  std::string task_id;
  std::string client_token;
  std::string server_token;
};

/// `agent -name value …`; single and double dashes, `-name=value` too.
bool parse(int argc, char** argv, Flags& flags) {
  if (argc < 2 || std::string(argv[1]) != "agent") return false;
  for (int i = 2; i < argc; ++i) {
    std::string name = argv[i];
    name.erase(0, name.starts_with("--") ? 2 : 1);
    std::string value;
    if (const std::size_t equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.erase(equals);
    } else if (++i < argc) {
      value = argv[i];
    }
    if (name == "api-endpoint")
      flags.endpoint = value;
    else if (name == "task-id")
      flags.task_id = value;
    else if (name == "client-token")
      flags.client_token = value;
    else if (name == "server-token")
      flags.server_token = value;
    else
      return false;
  }
  return flags.endpoint.starts_with("http://");
}

std::string host_of(const std::string& address) {
  return address.substr(address.find("://") + 3);
}

class Agent {
 public:
  explicit Agent(Flags flags)
      : flags_(std::move(flags)),
        stub_(api::CirrusCIService::NewStub(
            grpc::CreateChannel(host_of(flags_.endpoint), grpc::InsecureChannelCredentials()))) {}

  int run() {
    unary(&api::CirrusCIService::Stub::Heartbeat, api::HeartbeatRequest(), heartbeat_);
    api::CommandsResponse commands;
    api::InitialCommandsRequest hello;
    while (!unary(&api::CirrusCIService::Stub::InitialCommands, hello, commands)) {
      hello.set_retry(true);
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    if (commands.servertoken() != flags_.server_token) {
      api::ReportAgentProblemRequest problem;
      problem.set_message("server token mismatch");
      unary(&api::CirrusCIService::Stub::ReportAgentError, problem, none_);
      return 0;
    }
    for (const auto& [name, value] : commands.environment()) {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
    ::setenv("CIRRUS_WORKING_DIR", "/tmp/cirrus-ci-build", 0);
    const std::string directory = std::getenv("CIRRUS_WORKING_DIR");
    (void)::mkdir(directory.c_str(), 0755);
    if (::chdir(directory.c_str()) != 0) return 1;
    offer_terminal(commands);
    bool failed = false;
    for (const api::Command& command : commands.commands()) {
      const bool always = command.execution_behaviour() == api::Command::ALWAYS;
      if ((failed || interrupted) && !always) {
        add(command.name(), api::SKIPPED);
        continue;
      }
      always_ = always;
      add(command.name(), api::EXECUTING);
      flush();
      const bool good = run_step(command);
      add(command.name(), good ? api::COMPLETED : api::FAILED);
      failed = failed || !good;
    }
    flush();
    terminal_.reset();
    if (interrupted) {
      api::ReportAgentSignalRequest signal;
      signal.set_signal("terminated");
      unary(&api::CirrusCIService::Stub::ReportAgentSignal, signal, none_);
    }
    api::ReportAgentFinishedRequest finished;
    for (const api::CommandResult& result : history_) *finished.add_command_results() = result;
    api::ReportAgentFinishedResponse ended;
    for (int tries = 0; tries < 2; ++tries) {
      if (unary(&api::CirrusCIService::Stub::ReportAgentFinished, finished, ended)) break;
      std::this_thread::sleep_for(std::chrono::seconds(10));
    }
    api::ReportAgentLogsRequest logs;
    logs.set_logs("a reference agent was here\n");
    unary(&api::CirrusCIService::Stub::ReportAgentLogs, logs, none_);
    return 0;
  }

 private:
  void identify(grpc::ClientContext& context) const {
    context.AddMetadata("org.cirruslabs.task-id", flags_.task_id);
    context.AddMetadata("org.cirruslabs.client-secret", flags_.client_token);
    context.AddMetadata("org.cirruslabs.api-endpoint", flags_.endpoint);
  }
  /// Three tries, about 50 ms apart.
  template <typename Request, typename Response>
  bool unary(grpc::Status (api::CirrusCIService::Stub::*method)(grpc::ClientContext*,
                                                                const Request&, Response*),
             const Request& request, Response& response, grpc::StatusCode* code = nullptr) {
    for (int tries = 0; tries < 3; ++tries) {
      grpc::ClientContext context;
      identify(context);
      const grpc::Status status = ((*stub_).*method)(&context, request, &response);
      if (code != nullptr) *code = status.error_code();
      if (status.ok()) return true;
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

  void add(const std::string& name, api::Status status) {
    api::CommandResult result;
    result.set_name(name);
    result.set_status(status);
    result.set_duration_in_nanos(1'000'000);
    history_.push_back(result);
    pending_.push_back(std::move(result));
  }
  /// A batch that is not taken goes with the next.
  void flush() {
    api::ReportCommandUpdatesRequest request;
    for (const api::CommandResult& result : pending_) *request.add_updates() = result;
    api::ReportCommandUpdatesResponse response;
    if (unary(&api::CirrusCIService::Stub::ReportCommandUpdates, request, response)) {
      pending_.clear();
    }
  }

  /// A live log: opened again when it breaks; what failed to go is not sent again.
  class Log {
   public:
    Log(Agent& agent, std::string step) : agent_(agent), step_(std::move(step)) { open(); }
    void write(const std::string& bytes) {
      whole_ += bytes;
      api::LogEntry entry;
      entry.mutable_chunk()->set_data(bytes);
      if (writer_->Write(entry)) return;
      (void)writer_->Finish();
      open();
    }
    /// The end of the stream, then the whole log once more.
    void finish() {
      writer_->WritesDone();
      (void)writer_->Finish();
      for (int tries = 0; tries < 3; ++tries) {
        grpc::ClientContext context;
        agent_.identify(context);
        context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
        api::UploadLogsResponse response;
        const auto writer = agent_.stub_->SaveLogs(&context, &response);
        bool going = writer->Write(key(true));
        for (std::size_t at = 0; going && at < whole_.size(); at += kPiece) {
          api::LogEntry entry;
          entry.mutable_chunk()->set_data(whole_.substr(at, kPiece));
          going = writer->Write(entry);
        }
        writer->WritesDone();
        if (writer->Finish().ok()) return;
        std::this_thread::sleep_for(kPauses[tries]);
      }
    }

   private:
    static constexpr std::size_t kPiece = 1U << 20U;
    // Source: protocol §12, opening of log streams.
    static constexpr std::chrono::seconds kPauses[] = {
        std::chrono::seconds(5), std::chrono::seconds(10), {}};
    api::LogEntry key(bool raw) const {
      api::LogEntry entry;
      entry.mutable_key()->set_command_name(step_);
      entry.mutable_key()->set_raw(raw);
      return entry;
    }
    void open() {
      for (int tries = 0; tries < 3; ++tries) {
        context_ = std::make_unique<grpc::ClientContext>();
        agent_.identify(*context_);
        context_->set_compression_algorithm(GRPC_COMPRESS_GZIP);
        writer_ = agent_.stub_->StreamLogs(context_.get(), &response_);
        if (writer_->Write(key(false))) return;
        (void)writer_->Finish();
        std::this_thread::sleep_for(kPauses[tries]);
      }
    }

    Agent& agent_;
    const std::string step_;
    std::string whole_;
    std::unique_ptr<grpc::ClientContext> context_;
    api::UploadLogsResponse response_;
    std::unique_ptr<grpc::ClientWriter<api::LogEntry>> writer_;
  };

  bool run_step(const api::Command& command) {
    Log log(*this, command.name());
    bool good = true;
    if (command.has_script_instruction()) {
      std::string script;
      for (const std::string& line : command.script_instruction().scripts()) script += line + "\n";
      good = run_script(script, log);
    } else if (command.has_cache_instruction()) {
      good = run_cache(command, log);
    } else if (command.has_upload_cache_instruction()) {
      good = upload_cache(command.upload_cache_instruction().cache_name(), log);
    } else if (command.has_artifacts_instruction()) {
      good = upload_artifacts(command, log);
    } else if (command.has_wait_for_terminal_instruction()) {
      good = wait_for_terminal(log);
    } else {
      log.write("unsupported instruction\n");
      good = false;
    }
    log.finish();
    return good;
  }

  /// At the start of the task, not when the step is reached.
  void offer_terminal(const api::CommandsResponse& commands) {
    for (const api::Command& command : commands.commands()) {
      if (!command.has_wait_for_terminal_instruction() || terminal_) continue;
      terminal_ = std::make_unique<cirrus::reference::Terminal>(
          command.wait_for_terminal_instruction().terminal_server_address(),
          cirrus::reference::Terminal::Reports{
              [this](const std::string& locator, const std::string& secret) {
                api::ReportTerminalAttachedRequest request;
                request.set_locator(locator);
                request.set_trusted_secret(secret);
                api::ReportTerminalAttachedResponse response;
                return unary(&api::CirrusCIService::Stub::ReportTerminalAttached, request,
                             response);
              },
              [this] { return report_lifecycle(false); }});
    }
  }
  bool report_lifecycle(bool expiring) {
    api::ReportTerminalLifecycleRequest request;
    if (expiring) {
      request.mutable_expiring();
    } else {
      request.mutable_started();
    }
    api::ReportTerminalLifecycleResponse response;
    return unary(&api::CirrusCIService::Stub::ReportTerminalLifecycle, request, response);
  }
  /// Until nobody has typed for a whole window.
  bool wait_for_terminal(Log& log) {
    const char* const given = std::getenv("CIRRUS_TERMINAL_EXPIRATION_WINDOW");
    const int window = given == nullptr ? 900 : std::atoi(given);
    while (!terminal_->was_connected() && !interrupted) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    while (!interrupted) {
      log.write("Waiting for " + std::to_string(window) + "s of inactivity\n");
      report_lifecycle(true);
      const int before = terminal_->activity();
      for (int i = 0; i < window * 10 && !interrupted; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
      if (terminal_->activity() == before) return true;
    }
    return false;
  }

  bool run_script(const std::string& script, Log& log) {
    int ends[2] = {};
    if (::pipe(ends) != 0) return false;
    const pid_t child = ::fork();
    if (child == 0) {
      (void)::setsid();
      (void)::signal(SIGINT, SIG_DFL);
      (void)::dup2(ends[1], 1);
      (void)::dup2(ends[1], 2);
      (void)::close(ends[0]);
      (void)::close(ends[1]);
      ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
      ::_exit(127);
    }
    (void)::close(ends[1]);
    std::atomic<bool> over = false;
    std::thread killer([this, &over, child] {
      while (!over) {
        if (interrupted && !always_) (void)::kill(-child, SIGKILL);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    });
    char buffer[32 * 1024];
    for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
      log.write(std::string(buffer, static_cast<std::size_t>(got)));
    }
    (void)::close(ends[0]);
    int status = 0;
    (void)::waitpid(child, &status, 0);
    over = true;
    killer.join();
    return status == 0;
  }

  std::unique_ptr<bytestream::ByteStream::Stub> bytes_at(const std::string& url) {
    return bytestream::ByteStream::NewStub(
        grpc::CreateChannel(host_of(url), grpc::InsecureChannelCredentials()));
  }

  /// One folder, as a tar inside gzip.
  bool run_cache(const api::Command& command, Log& log) {
    const api::CacheInstruction& cache = command.cache_instruction();
    const std::string key = cache.fingerprint_key();
    folders_[command.name()] = {key, cache.folders_size() > 0 ? cache.folders(0) : cache.folder()};
    const std::string folder = folders_[command.name()].second;
    api::CacheKey request;
    request.set_cache_key(key);
    api::GenerateURLsResponse urls;
    std::string archive;
    if (unary(&api::CirrusCIService::Stub::GenerateCacheDownloadURLs, request, urls) &&
        urls.urls_size() > 0) {
      grpc::ClientContext context;
      identify(context);
      bytestream::ReadRequest read;
      read.set_resource_name(key);
      const auto stub = bytes_at(urls.urls(0));
      const auto reader = stub->Read(&context, read);
      bytestream::ReadResponse piece;
      while (reader->Read(&piece)) archive += piece.data();
      if (!reader->Finish().ok()) archive.clear();
    }
    if (!archive.empty()) {
      std::ofstream("/tmp/cache.tar.gz", std::ios::binary) << archive;
      log.write("Cache hit for " + key + "!\n");
      return run_script("mkdir -p " + folder + " && tar -xzf /tmp/cache.tar.gz -C " + folder, log);
    }
    log.write("Cache miss for " + key + "!\n");
    missed_.push_back(command.name());
    std::string populate;
    for (const std::string& line : cache.populate_scripts()) populate += line + "\n";
    return populate.empty() || run_script(populate, log);
  }

  bool upload_cache(const std::string& name, Log& log) {
    const auto [key, folder] = folders_[name];
    if (std::find(missed_.begin(), missed_.end(), name) == missed_.end()) return true;
    api::CacheInfoRequest question;
    question.set_cache_key(key);
    api::CacheInfoResponse info;
    if (unary(&api::CirrusCIService::Stub::CacheInfo, question, info) && info.has_info())
      return true;
    if (!run_script("tar -czf /tmp/cache.tar.gz -C " + folder + " .", log)) return false;
    std::stringstream archive;
    archive << std::ifstream("/tmp/cache.tar.gz", std::ios::binary).rdbuf();
    const std::string bytes = archive.str();
    api::CacheKey request;
    request.set_cache_key(key);
    api::GenerateURLResponse address;
    if (!unary(&api::CirrusCIService::Stub::GenerateCacheUploadURL, request, address)) return true;
    grpc::ClientContext context;
    identify(context);
    bytestream::WriteResponse response;
    const auto stub = bytes_at(address.url());
    const auto writer = stub->Write(&context, &response);
    constexpr std::size_t kPiece = 64U << 10U;
    for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
      bytestream::WriteRequest message;
      message.set_resource_name(key);
      message.set_write_offset(static_cast<std::int64_t>(at));
      message.set_data(bytes.substr(at, kPiece));
      if (!writer->Write(message)) break;
    }
    bytestream::WriteRequest last;
    last.set_resource_name(key);
    last.set_write_offset(static_cast<std::int64_t>(bytes.size()));
    last.set_finish_write(true);
    writer->Write(last);
    writer->WritesDone();
    log.write(writer->Finish().ok() ? "Uploaded cache " + key + "\n" : "Failed to upload\n");
    return true;
  }

  bool upload_artifacts(const api::Command& command, Log& log) {
    std::vector<std::string> paths;
    for (const std::string& pattern : command.artifacts_instruction().paths()) {
      glob_t found{};
      (void)::glob(pattern.c_str(), 0, nullptr, &found);
      for (std::size_t i = 0; i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
      ::globfree(&found);
    }
    api::GenerateArtifactUploadURLsRequest wish;
    wish.set_name(command.name());
    for (const std::string& path : paths) wish.add_files()->set_path(path);
    api::GenerateArtifactUploadURLsResponse urls;
    grpc::StatusCode code = grpc::StatusCode::OK;
    unary(&api::CirrusCIService::Stub::GenerateArtifactUploadURLs, wish, urls, &code);
    if (code != grpc::StatusCode::UNIMPLEMENTED) {
      log.write("this agent knows no other way\n");
      return false;
    }
    grpc::ClientContext context;
    identify(context);
    api::UploadArtifactsResponse response;
    const auto writer = stub_->UploadArtifacts(&context, &response);
    api::ArtifactEntry entry;
    entry.mutable_artifacts_upload()->set_name(command.name());
    writer->Write(entry);
    std::vector<char> buffer(1U << 20U);
    for (const std::string& path : paths) {
      std::ifstream file(path, std::ios::binary);
      while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())),
             file.gcount() > 0) {
        entry.mutable_chunk()->set_artifact_path(path);
        entry.mutable_chunk()->set_data(buffer.data(), static_cast<std::size_t>(file.gcount()));
        if (!writer->Write(entry)) break;
      }
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    log.write(status.ok() ? "Uploaded " + std::to_string(response.bytes_saved()) + " bytes\n"
                          : "Failed to upload artifacts: " + status.error_message() + "\n");
    return status.ok();
  }

  const Flags flags_;
  const std::unique_ptr<api::CirrusCIService::Stub> stub_;
  std::atomic<bool> always_ = false;  // the running step is one that a signal does not end
  std::vector<api::CommandResult> history_;
  std::vector<api::CommandResult> pending_;
  std::map<std::string, std::pair<std::string, std::string>> folders_;  // step: key, folder
  std::vector<std::string> missed_;
  api::HeartbeatResponse heartbeat_;
  google::protobuf::Empty none_;
  std::unique_ptr<cirrus::reference::Terminal> terminal_;
};

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  if (!parse(argc, argv, flags)) {
    std::cerr << "usage: cirrus agent -api-endpoint http://… -task-id … -client-token … "
                 "-server-token …\n";
    return 2;
  }
  (void)::signal(SIGTERM, [](int) { interrupted = true; });
  (void)::signal(SIGINT, [](int) { interrupted = true; });
  return Agent(std::move(flags)).run();
}
