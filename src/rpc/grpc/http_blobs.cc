// SPDX-License-Identifier: MIT
#include "rpc/grpc/http_blobs.h"

#include <fcntl.h>
#include <unistd.h>

#include <deque>
#include <list>
#include <optional>

#include "net/http_client.h"
#include "os/fd.h"
#include "os/temp_dir.h"
#include "rpc/grpc/byte_pipe.h"

namespace cirrus::rpc {
namespace {

// Ours: a transfer may take as long as it moves.
constexpr std::chrono::seconds kStall{60};
// Ours: a store that is being restarted answers again within this.
constexpr std::chrono::milliseconds kPauses[] = {std::chrono::milliseconds(200),
                                                 std::chrono::milliseconds(2000)};
// Ours: files of at most so many bytes are kept until they are stored, so many at a time.
constexpr std::uint64_t kSmallFile = 1U << 20U;
constexpr std::size_t kAtOnce = 8;

net::HttpRequest put_request(std::string url, const HttpHeaders& headers) {
  net::HttpRequest request;
  request.method = "PUT";
  request.url = std::move(url);
  HttpHeaders all{{"Content-Type", "application/octet-stream"}};
  for (const auto& [name, value] : headers) all[name] = value;
  request.headers.assign(all.begin(), all.end());
  request.timeout = std::chrono::milliseconds(0);
  request.stall = kStall;
  return request;
}

// Source: protocol §10: only these two count.
Status put_status(const Result<net::HttpResponse>& response) {
  if (!response.ok()) return response.error();
  const long status = response.value().status;
  if (status == 200 || status == 201) return {};
  const Code code = status == 429 || status >= 500 ? Code::Unavailable : Code::FailedPrecondition;
  return error(code, "the store answered an upload with status {}", status);
}

/// Tries until it works, a refusal, or there were enough tries.
Status persist(const StopToken& stop, const std::function<Status()>& attempt) {
  Status status = attempt();
  for (const auto pause : kPauses) {
    if (status.ok() || status.error().code() == Code::FailedPrecondition) return status;
    if (!wait_for(stop, pause)) return status;
    status = attempt();
  }
  return status;
}

class HttpSource final : public BlobSource {
 public:
  HttpSource(std::string url, const StopToken& stop)
      : on_stop_(stop, std::function<void()>([this] { thread_stop_.request_stop(); })),
        thread_([this, url = std::move(url)] { fetch(url); }) {}
  ~HttpSource() override {
    thread_stop_.request_stop();
    pipe_.reader_leaves();
  }
  Result<std::string> read() override { return pipe_.read(); }

 private:
  void fetch(const std::string& url) {
    net::HttpRequest request;
    request.url = url;
    request.timeout = std::chrono::milliseconds(0);
    request.stall = kStall;
    const Result<net::HttpResponse> response = net::HttpClient().stream(
        request, [this](std::string_view bytes) { return pipe_.write(bytes); },
        thread_stop_.get_token());
    if (!response.ok()) return pipe_.close(response.error());
    if (response.value().status == 200) return pipe_.close({});
    pipe_.close(
        error(Code::NotFound, "the store answered with status {}", response.value().status));
  }

  BytePipe pipe_;
  StopSource thread_stop_;
  StopCallback<std::function<void()>> on_stop_;
  Thread thread_;  // last: uses everything above
};

class HttpSink final : public BlobSink {
 public:
  HttpSink(os::Fd file, std::string url, HttpHeaders headers, StopToken stop)
      : file_(std::move(file)),
        url_(std::move(url)),
        headers_(std::move(headers)),
        stop_(std::move(stop)) {}
  Status write(std::string_view bytes) override {
    CIRRUS_TRY(os::write_all(file_.get(), bytes));
    size_ += bytes.size();
    return {};
  }
  Status finish() override {
    return persist(stop_, [this] {
      net::HttpRequest request = put_request(url_, headers_);
      std::uint64_t at = 0;
      request.streamed_body = {size_, [this, &at](char* buffer, std::size_t room) -> std::size_t {
                                 const ssize_t got =
                                     ::pread(file_.get(), buffer, room, static_cast<off_t>(at));
                                 if (got <= 0) return 0;
                                 at += static_cast<std::uint64_t>(got);
                                 return static_cast<std::size_t>(got);
                               }};
      return put_status(net::HttpClient().send(request, stop_));
    });
  }

 private:
  const os::Fd file_;
  const std::string url_;
  const HttpHeaders headers_;
  const StopToken stop_;
  std::uint64_t size_ = 0;
};

class HttpArtifacts final : public ArtifactSink {
 public:
  HttpArtifacts(ArtifactSet set, std::vector<UploadAddress> addresses,
                std::function<Status()> commit, const StopToken& stop)
      : set_(std::move(set)),
        addresses_(std::move(addresses)),
        commit_(std::move(commit)),
        on_stop_(stop, std::function<void()>([this] { stop_.request_stop(); })) {}
  ~HttpArtifacts() override {
    stop_.request_stop();
    if (large_) large_->pipe.close(error(Code::Cancelled, "the upload was given up"));
    queue_.update([](Queue& queue) { queue.no_more = true; });
  }

  Status begin_file() override {
    CIRRUS_TRY(end_file());
    if (next_ >= set_.files.size()) {
      return error(Code::FailedPrecondition, "there are more files than were announced");
    }
    const ArtifactFile& file = set_.files[next_];
    const UploadAddress& address = addresses_[next_];
    ++next_;
    open_ = true;
    left_ = file.bytes;
    small_.clear();
    if (file.bytes > kSmallFile) large_.emplace(address, file.bytes, stop_.get_token());
    return {};
  }
  Status write(std::string_view bytes) override {
    if (!open_ || bytes.size() > left_) {
      return error(Code::FailedPrecondition, "a file has more bytes than were announced");
    }
    left_ -= bytes.size();
    if (!large_) {
      small_ += bytes;
    } else if (!large_->pipe.write(bytes)) {
      return large_->wait();
    }
    return {};
  }
  Status finish() override {
    CIRRUS_TRY(end_file());
    if (next_ != set_.files.size()) {
      return error(Code::FailedPrecondition, "there are fewer files than were announced");
    }
    CIRRUS_TRY(queue_.wait(
        StopToken(),
        [](const Queue& queue) { return queue.failure || (queue.jobs.empty() && !queue.running); },
        [](Queue& queue, bool) -> Status {
          if (queue.failure) return *queue.failure;
          return {};
        }));
    return commit_();
  }

 private:
  struct Job {
    UploadAddress address;
    std::string bytes;
  };
  struct Queue {
    std::deque<Job> jobs;
    std::size_t running = 0;
    bool no_more = false;
    std::optional<Error> failure;
  };
  /// One file on its way.
  struct Large {
    Large(const UploadAddress& address, std::uint64_t bytes, const StopToken& stop)
        : thread([this, address, bytes, stop] {
            net::HttpRequest request = put_request(address.url, address.headers);
            request.streamed_body = {bytes, [this](char* buffer, std::size_t room) {
                                       return pipe.read_into(buffer, room);
                                     }};
            Status status = put_status(net::HttpClient().send(request, stop));
            pipe.reader_leaves();
            done.update([&](std::optional<Status>& value) { value = std::move(status); });
          }) {}
    ~Large() { pipe.close(error(Code::Cancelled, "the upload was given up")); }
    Status wait() {
      return done.wait(
          StopToken(), [](const std::optional<Status>& value) { return value.has_value(); },
          [](std::optional<Status>& value, bool) { return *value; });
    }
    BytePipe pipe;
    Guarded<std::optional<Status>> done;
    Thread thread;  // last: uses everything above
  };

  Status end_file() {
    if (!open_) return {};
    if (left_ != 0)
      return error(Code::FailedPrecondition, "a file became shorter while it was sent");
    open_ = false;
    if (large_) {
      large_->pipe.close({});
      const Status stored = large_->wait();
      large_.reset();
      return stored;
    }
    if (workers_.size() < kAtOnce) workers_.emplace_back([this] { work(); });
    return queue_.wait(
        StopToken(),
        [](const Queue& queue) { return queue.failure || queue.jobs.size() < kAtOnce; },
        [this](Queue& queue, bool) -> Status {
          if (queue.failure) return *queue.failure;
          queue.jobs.push_back({addresses_[next_ - 1], std::move(small_)});
          queue_.notify_all();
          return {};
        });
  }

  void work() {
    for (;;) {
      std::optional<Job> job = queue_.wait(
          StopToken(), [](const Queue& queue) { return queue.no_more || !queue.jobs.empty(); },
          [](Queue& queue, bool) -> std::optional<Job> {
            if (queue.no_more) return std::nullopt;
            Job taken = std::move(queue.jobs.front());
            queue.jobs.pop_front();
            ++queue.running;
            return taken;
          });
      if (!job) return;
      queue_.notify_all();
      const Status stored = persist(stop_.get_token(), [&] {
        net::HttpRequest request = put_request(job->address.url, job->address.headers);
        request.body = job->bytes;
        return put_status(net::HttpClient().send(request, stop_.get_token()));
      });
      queue_.update([&](Queue& queue) {
        --queue.running;
        if (!stored.ok() && !queue.failure) queue.failure = stored.error();
      });
    }
  }

  const ArtifactSet set_;
  const std::vector<UploadAddress> addresses_;
  const std::function<Status()> commit_;
  StopSource stop_;
  StopCallback<std::function<void()>> on_stop_;
  // The caller's thread only.
  std::size_t next_ = 0;
  std::uint64_t left_ = 0;
  bool open_ = false;
  std::string small_;
  std::optional<Large> large_;
  Guarded<Queue> queue_;
  std::list<Thread> workers_;  // last: uses everything above
};

}  // namespace

std::unique_ptr<BlobSource> http_source(std::string url, const StopToken& stop) {
  return std::make_unique<HttpSource>(std::move(url), stop);
}

Result<std::unique_ptr<BlobSink>> http_sink(std::string url, HttpHeaders headers,
                                            const StopToken& stop) {
  os::TempDir directory = CIRRUS_TRY(os::TempDir::create("cirrus-upload"));
  // Without a name from here on: it goes away with its descriptor.
  os::Fd file = CIRRUS_TRY(os::open_file(directory.path() / "body", O_RDWR | O_CREAT | O_EXCL));
  return std::unique_ptr<BlobSink>(
      std::make_unique<HttpSink>(std::move(file), std::move(url), std::move(headers), stop));
}

std::unique_ptr<ArtifactSink> http_artifacts(ArtifactSet set, std::vector<UploadAddress> addresses,
                                             std::function<Status()> commit,
                                             const StopToken& stop) {
  return std::make_unique<HttpArtifacts>(std::move(set), std::move(addresses), std::move(commit),
                                         stop);
}

}  // namespace cirrus::rpc
