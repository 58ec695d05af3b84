// SPDX-License-Identifier: MIT
// Caches and artifacts on both legs of their way: agent to worker, and worker to a server that
// behaves as the protocol says, in each of the forms it allows.
#include <sys/stat.h>

#include <mutex>

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "cirrus_agent.grpc.pb.h"
#include "google/bytestream/bytestream.grpc.pb.h"
#include "net/http_server.h"
#include "os/files.h"
#include "os/temp_dir.h"
#include "os/unix_socket.h"
#include "rpc/grpc/blob_client.h"
#include "rpc/grpc/gateway_channel.h"
#include "rpc/grpc/gateway_server.h"
#include "rpc/grpc/upstream_blobs.h"
#include "rpc/grpc/upstream_client.h"
#include "rpc/testing/fake_blob_service.h"

namespace cirrus::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

Monotonic soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(20);
}

std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t state = 1;
  for (char& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<char>(state >> 24U);
  }
  return bytes;
}

Result<std::string> read_all(BlobSource& source) {
  std::string all;
  for (;;) {
    const std::string bytes = CIRRUS_TRY(source.read());
    if (bytes.empty()) return all;
    EXPECT_LE(bytes.size(), 1U << 20U);
    all += bytes;
  }
}

Status write_cache(BlobService& service, const std::string& key, const std::string& bytes) {
  const std::unique_ptr<BlobSink> sink = CIRRUS_TRY(service.write_cache(key, StopToken()));
  for (std::size_t at = 0; at < bytes.size(); at += 300'000) {
    CIRRUS_TRY(sink->write(std::string_view(bytes).substr(at, 300'000)));
  }
  return sink->finish();
}

Status write_artifacts(BlobService& service, const std::string& name,
                       const std::vector<std::pair<std::string, std::string>>& files) {
  ArtifactSet set{name, "text/plain", "junit", {}};
  for (const auto& [path, content] : files) set.files.push_back({path, content.size()});
  const std::unique_ptr<ArtifactSink> sink = CIRRUS_TRY(service.write_artifacts(set, StopToken()));
  for (const auto& [path, content] : files) {
    CIRRUS_TRY(sink->begin_file());
    if (!content.empty()) CIRRUS_TRY(sink->write(content));
  }
  return sink->finish();
}

/// An agent's client, a gateway's server and a store in memory.
class AgentLeg : public ::testing::Test, private GatewayService {
 protected:
  AgentLeg() : directory_(std::move(os::TempDir::create("blobs-test")).value()) {
    server_ = GatewayServer::start(*this).value();
    listener_ = os::listen_unix(socket(), 0600).value();
    acceptor_ = Thread([this](const StopToken& stop) {
      (void)os::set_nonblocking(listener_.get(), true);
      while (wait_for(stop, std::chrono::milliseconds(1))) {
        Result<os::Fd> connection = os::accept_connection(listener_.get());
        if (connection.ok()) server_->adopt(std::move(connection).value());
      }
    });
  }
  ~AgentLeg() override {
    acceptor_.request_stop();
    acceptor_.join();
    server_.reset();
  }
  std::unique_ptr<BlobService> client(const std::string& secret = "agent half") {
    return make_blob_client(make_gateway_channel(socket().string()), "7", Secret(secret));
  }
  testing::FakeBlobService store_;
  StopSource lender_;

 private:
  std::filesystem::path socket() const { return directory_.path() / "s"; }
  Result<std::shared_ptr<AgentSession>> attach(const gw::AgentMessage::Hello&,
                                               std::shared_ptr<AgentConnection>) override {
    return error(Code::Unimplemented, "not here");
  }
  Result<BlobLease> lend_blobs(const gw::BlobCaller& caller) override {
    if (caller.task_id() != "7" || caller.agent_secret() != "agent half") {
      return error(Code::Unauthenticated, "wrong secret");
    }
    return BlobLease{nullptr, &store_, lender_.get_token()};
  }
  Result<gw::VaultReply> call_vault(const gw::VaultRequest&) override {
    return error(Code::Unimplemented, "no Vault here");
  }
  ShellHub shells_;
  ShellHub& shells() override { return shells_; }
  Status admit_listener(const std::string&, const std::string&) override {
    return error(Code::Unimplemented, "no shells here");
  }
  Status serve_tunnel(const gw::TunnelMessage::Open&, ByteChannel&) override {
    return error(Code::Unimplemented, "no tunnels here");
  }

  os::TempDir directory_;
  std::unique_ptr<GatewayServer> server_;
  os::Fd listener_;
  Thread acceptor_;
};

TEST_F(AgentLeg, CarriesCachesBothWays) {
  const std::unique_ptr<BlobService> blobs = client();
  const std::string bytes = noise(5'000'000);
  ASSERT_TRUE(write_cache(*blobs, "k?#% /x", bytes).ok());
  const Result<std::optional<CacheFound>> found =
      blobs->find_cache("none", {"a", "k?"}, StopToken(), soon());
  ASSERT_TRUE(found.ok() && found.value());
  EXPECT_EQ(found.value()->key, "k?#% /x");
  EXPECT_EQ(found.value()->bytes, bytes.size());
  EXPECT_EQ(found.value()->created_by_task, "41");
  EXPECT_FALSE(blobs->find_cache("none", {}, StopToken(), soon()).value());
  const std::unique_ptr<BlobSource> source = blobs->read_cache("k?#% /x", StopToken()).value();
  EXPECT_TRUE(read_all(*source).value() == bytes);
  ASSERT_TRUE(blobs->delete_cache("k?#% /x", StopToken(), soon()).ok());
  EXPECT_EQ(read_all(*blobs->read_cache("k?#% /x", StopToken()).value()).error().code(),
            Code::NotFound);
}

TEST_F(AgentLeg, CarriesArtifactsOfAnyNumber) {
  std::vector<std::pair<std::string, std::string>> files;
  for (int i = 0; i < 12'000; ++i) files.emplace_back("d/" + std::to_string(i), std::to_string(i));
  files.emplace_back("large", noise(3'000'000));
  files.emplace_back("empty", "");
  ASSERT_TRUE(write_artifacts(*client(), "all", files).ok());
  const auto stored = store_.state().with([](auto& state) { return state.artifacts["all"]; });
  EXPECT_EQ(stored.size(), files.size());
  EXPECT_TRUE(stored.at("large") == files[12'000].second);
  EXPECT_EQ(stored.at("d/11999"), "11999");
  ASSERT_TRUE(write_artifacts(*client(), "none", {}).ok());
  EXPECT_EQ(store_.state().with([](auto& state) { return state.sets.back().name; }), "none");
}

TEST_F(AgentLeg, WhatIsNotFinishedIsNotStored) {
  {
    const std::unique_ptr<BlobService> blobs = client();
    const std::unique_ptr<BlobSink> sink = blobs->write_cache("half", StopToken()).value();
    ASSERT_TRUE(sink->write(noise(100'000)).ok());
  }
  EXPECT_FALSE(client()->find_cache("half", {}, StopToken(), soon()).value());
}

TEST_F(AgentLeg, T04_AWrongSecretIsRefusedInEveryCall) {
  const std::unique_ptr<BlobService> blobs = client("another half");
  EXPECT_EQ(blobs->find_cache("k", {}, StopToken(), soon()).error().code(), Code::Unauthenticated);
  EXPECT_EQ(read_all(*blobs->read_cache("k", StopToken()).value()).error().code(),
            Code::Unauthenticated);
  EXPECT_EQ(write_cache(*blobs, "k", "x").error().code(), Code::Unauthenticated);
  EXPECT_EQ(blobs->delete_cache("k", StopToken(), soon()).error().code(), Code::Unauthenticated);
  EXPECT_EQ(write_artifacts(*blobs, "a", {{"x", "x"}}).error().code(), Code::Unauthenticated);
}

TEST_F(AgentLeg, TheStoresReasonReachesTheAgent) {
  store_.state().with(
      [](auto& state) { state.failures = {error(Code::ResourceExhausted, "the store is full")}; });
  const Status stored = write_cache(*client(), "k", noise(2'000'000));
  ASSERT_FALSE(stored.ok());
  EXPECT_EQ(stored.error().code(), Code::ResourceExhausted);
  EXPECT_THAT(stored.error().to_string(), HasSubstr("the store is full"));
}

TEST_F(AgentLeg, ALenderThatWantsItsStoreBackEndsTransfers) {
  const std::unique_ptr<BlobService> blobs = client();
  const std::unique_ptr<BlobSink> sink = blobs->write_cache("k", StopToken()).value();
  ASSERT_TRUE(sink->write("x").ok());
  lender_.request_stop();
  Status status;
  while (status.ok()) status = sink->write(noise(100'000));
  EXPECT_FALSE(client()->find_cache("k", {}, StopToken(), soon()).value());
}

/// A server that speaks the reference's protocol and nothing of ours.
class Reference final : public pb::CirrusCIService::Service,
                        public google::bytestream::ByteStream::Service {
 public:
  enum class Caches { ByteStream, Http };
  Caches caches = Caches::ByteStream;
  bool artifact_urls = false;
  std::string http;  ///< its plain address
  std::string grpc;  ///< its own, as a `grpc://` one
  std::mutex mutex;
  // Guarded by mutex.
  std::map<std::string, std::string> stored;
  std::map<std::string, std::string> artifacts;
  std::vector<std::string> trace;

  grpc::Status CacheInfo(grpc::ServerContext*, const pb::CacheInfoRequest* request,
                         pb::CacheInfoResponse* response) override {
    const std::lock_guard lock(mutex);
    const auto found = stored.find(request->cache_key());
    if (found == stored.end()) return {grpc::StatusCode::NOT_FOUND, ""};
    response->mutable_info()->set_key(found->first);
    response->mutable_info()->set_old_created_by_task_id(12);
    return grpc::Status::OK;
  }
  grpc::Status GenerateCacheDownloadURLs(grpc::ServerContext* context, const pb::CacheKey* request,
                                         pb::GenerateURLsResponse* response) override {
    if (context->client_metadata().count("org.cirruslabs.task-id") != 1) {
      return {grpc::StatusCode::UNAUTHENTICATED, "who is it"};
    }
    response->add_urls("gopher://old");
    response->add_urls(caches == Caches::Http ? http + "/cache/" + request->cache_key() : grpc);
    return grpc::Status::OK;
  }
  grpc::Status GenerateCacheUploadURL(grpc::ServerContext*, const pb::CacheKey* request,
                                      pb::GenerateURLResponse* response) override {
    response->set_url(caches == Caches::Http ? http + "/cache/" + request->cache_key() : grpc);
    if (caches == Caches::Http) (*response->mutable_extra_headers())["X-Signed"] = "yes";
    return grpc::Status::OK;
  }
  grpc::Status Read(grpc::ServerContext*, const google::bytestream::ReadRequest* request,
                    grpc::ServerWriter<google::bytestream::ReadResponse>* writer) override {
    const std::lock_guard lock(mutex);
    google::bytestream::ReadResponse response;
    const std::string& bytes = stored[request->resource_name()];
    for (std::size_t at = 0; at < bytes.size(); at += 1U << 20U) {
      response.set_data(bytes.substr(at, 1U << 20U));
      writer->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status Write(grpc::ServerContext*,
                     grpc::ServerReader<google::bytestream::WriteRequest>* reader,
                     google::bytestream::WriteResponse* response) override {
    google::bytestream::WriteRequest request;
    std::string bytes;
    while (reader->Read(&request)) {
      EXPECT_EQ(request.write_offset(), static_cast<std::int64_t>(bytes.size()));
      EXPECT_LE(request.data().size(), 64U * 1024U);
      bytes += request.data();
      if (!request.finish_write()) continue;
      EXPECT_TRUE(request.data().empty());
      response->set_committed_size(static_cast<std::int64_t>(bytes.size()));
      const std::lock_guard lock(mutex);
      stored[request.resource_name()] = bytes;
      return grpc::Status::OK;
    }
    return grpc::Status::CANCELLED;
  }
  grpc::Status GenerateArtifactUploadURLs(
      grpc::ServerContext*, const pb::GenerateArtifactUploadURLsRequest* request,
      pb::GenerateArtifactUploadURLsResponse* response) override {
    if (!artifact_urls) return {grpc::StatusCode::UNIMPLEMENTED, ""};
    EXPECT_LE(request->files_size(), 100);
    for (const auto& file : request->files()) {
      response->add_urls()->set_url(http + "/artifact/" + file.path());
      (*response->mutable_urls(response->urls_size() - 1)->mutable_headers())["X-Signed"] = "yes";
    }
    return grpc::Status::OK;
  }
  grpc::Status CommitUploadedArtifacts(grpc::ServerContext*,
                                       const pb::CommitUploadedArtifactsRequest* request,
                                       pb::CommitUploadedArtifactsResponse*) override {
    if (!artifact_urls) return {grpc::StatusCode::UNIMPLEMENTED, ""};
    const std::lock_guard lock(mutex);
    trace.push_back(fmt::format("commit {} {} {} {}", request->name(), request->type(),
                                request->format(), request->files_size()));
    return grpc::Status::OK;
  }
  grpc::Status UploadArtifacts(grpc::ServerContext*, grpc::ServerReader<pb::ArtifactEntry>* reader,
                               pb::UploadArtifactsResponse*) override {
    pb::ArtifactEntry entry;
    const std::lock_guard lock(mutex);
    while (reader->Read(&entry)) {
      if (entry.has_artifacts_upload()) {
        trace.push_back("stream " + entry.artifacts_upload().name());
      } else {
        EXPECT_LE(entry.chunk().data().size(), 1U << 20U);
        artifacts[entry.chunk().artifact_path()] += entry.chunk().data();
      }
    }
    return grpc::Status::OK;
  }
};

class ServerLeg : public ::testing::Test {
 protected:
  ServerLeg() : directory_(std::move(os::TempDir::create("blobs-test")).value()) {
    net::HttpServerOptions options;
    options.address = "127.0.0.1:0";
    options.spool_directory = directory_.path();
    http_ = net::HttpServer::start(
                std::move(options),
                [](const net::ServerRequest&, std::function<void(net::Admission)> decided) {
                  net::Admission admission;
                  admission.body_limit = 64U << 20U;
                  decided(std::move(admission));
                },
                [this](net::ServerRequest request, std::shared_ptr<net::Responder> responder) {
                  responder->respond(answer(request));
                })
                .value();
    reference_.http = "http://127.0.0.1:" + std::to_string(http_->port());
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<pb::CirrusCIService::Service*>(&reference_));
    builder.RegisterService(static_cast<google::bytestream::ByteStream::Service*>(&reference_));
    server_ = builder.BuildAndStart();
    reference_.grpc = "grpc://127.0.0.1:" + std::to_string(port);
    service_ =
        make_task_service(Endpoint::parse("http://127.0.0.1:" + std::to_string(port)).value(),
                          {"12", Secret("client"), Secret("server")})
            .value();
  }
  ~ServerLeg() override {
    service_.reset();
    server_->Shutdown();
    http_->stop();
  }

  net::ServerResponse answer(const net::ServerRequest& request) {
    const std::lock_guard lock(reference_.mutex);
    const std::string path = net::percent_decode(request.path).value();
    if (failures_ > 0) {
      --failures_;
      return {503, {}, ""};
    }
    const bool is_cache = path.starts_with("/cache/");
    auto& store = is_cache ? reference_.stored : reference_.artifacts;
    const std::string name = path.substr(path.find('/', 1) + 1);
    if (request.method == "PUT") {
      EXPECT_EQ(request.header("x-signed"), "yes");
      EXPECT_EQ(request.header("content-type"), "application/octet-stream");
      EXPECT_EQ(request.header("content-length"), std::to_string(request.body.size()));
      store[name] = request.body;
      return {201, {}, ""};
    }
    if (!store.contains(name)) return {404, {}, ""};
    return {200, {}, store[name]};
  }

  Reference reference_;
  int failures_ = 0;  // guarded by reference_.mutex
  std::unique_ptr<TaskService> service_;

 private:
  os::TempDir directory_;
  std::unique_ptr<net::HttpServer> http_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(ServerLeg, CachesByByteStreamAndByHttp) {
  const std::string bytes = noise(3'000'001);
  for (const auto kind : {Reference::Caches::ByteStream, Reference::Caches::Http}) {
    SCOPED_TRACE(static_cast<int>(kind));
    reference_.caches = kind;
    reference_.stored.clear();
    EXPECT_FALSE(service_->find_cache("k", {}, StopToken(), soon()).value());
    EXPECT_EQ(read_all(*service_->read_cache("k", StopToken()).value()).error().code(),
              Code::NotFound);
    ASSERT_TRUE(write_cache(*service_, "k", bytes).ok());
    const std::optional<CacheFound> found =
        service_->find_cache("k", {}, StopToken(), soon()).value();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->created_by_task, "12");
    EXPECT_TRUE(read_all(*service_->read_cache("k", StopToken()).value()).value() == bytes);
  }
}

TEST_F(ServerLeg, AnHttpStoreThatIsAwayForAMomentIsTriedAgain) {
  reference_.caches = Reference::Caches::Http;
  reference_.artifact_urls = true;
  failures_ = 1;
  ASSERT_TRUE(write_cache(*service_, "k", "bytes").ok());
  failures_ = 2;
  ASSERT_TRUE(write_artifacts(*service_, "a", {{"x", "1"}, {"y", "2"}}).ok());
  EXPECT_THAT(reference_.artifacts, ElementsAre(Pair("x", "1"), Pair("y", "2")));
}

TEST_F(ServerLeg, ADownloadThatIsNotReadToItsEndIsGivenUp) {
  reference_.caches = Reference::Caches::Http;
  reference_.stored["k"] = noise(20'000'000);
  const std::unique_ptr<BlobSource> source = service_->read_cache("k", StopToken()).value();
  EXPECT_FALSE(source->read().value().empty());
}

// Source: conformance list, row 20.
TEST_F(ServerLeg, ArtifactsByAddressAndInAStream) {
  std::vector<std::pair<std::string, std::string>> files;
  for (int i = 0; i < 230; ++i) files.emplace_back("f" + std::to_string(i), std::to_string(i));
  files.emplace_back("empty", "");
  files.emplace_back("large", noise(5'000'000));
  const std::map<std::string, std::string> expected(files.begin(), files.end());
  for (const bool urls : {true, false}) {
    SCOPED_TRACE(urls);
    reference_.artifact_urls = urls;
    reference_.artifacts.clear();
    reference_.trace.clear();
    ASSERT_TRUE(write_artifacts(*service_, "out", files).ok());
    EXPECT_TRUE(reference_.artifacts == expected);
    ASSERT_TRUE(write_artifacts(*service_, "none", {}).ok());
    if (urls) {
      EXPECT_THAT(reference_.trace,
                  ElementsAre("commit out text/plain junit 232", "commit none text/plain junit 0"));
    } else {
      EXPECT_THAT(reference_.trace, ElementsAre("stream out", "stream none"));
    }
  }
}

TEST_F(ServerLeg, AFileOfAnotherSizeThanAnnouncedIsRefused) {
  reference_.artifact_urls = true;
  for (const std::uint64_t announced : {1ULL, 9ULL, 2'000'000ULL}) {
    ArtifactSet set{"a", "", "", {{"x", announced}}};
    const std::unique_ptr<ArtifactSink> sink = service_->write_artifacts(set, StopToken()).value();
    ASSERT_TRUE(sink->begin_file().ok());
    const Status written = sink->write("12345");
    EXPECT_FALSE(written.ok() && sink->finish().ok());
  }
  EXPECT_THAT(reference_.trace, ElementsAre());
}

TEST(BlobAddress, KnowsTheSchemesOfTheProtocol) {
  EXPECT_EQ(BlobAddress::parse("https://s3/x?y").value().http, "https://s3/x?y");
  EXPECT_EQ(BlobAddress::parse("grpc://host").value().byte_stream.target, "host:80");
  EXPECT_EQ(BlobAddress::parse("grpcs://host").value().byte_stream.target, "host:443");
  EXPECT_TRUE(BlobAddress::parse("grpcs://host:1").value().byte_stream.tls);
  EXPECT_EQ(BlobAddress::parse("unix:/s").value().byte_stream.target, "unix:/s");
  EXPECT_EQ(BlobAddress::parse("ftp://x").error().code(), Code::InvalidArgument);
  EXPECT_EQ(BlobAddress::parse("").error().code(), Code::InvalidArgument);
}

}  // namespace
}  // namespace cirrus::rpc
