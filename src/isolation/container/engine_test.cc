// SPDX-License-Identifier: MIT
// The Engine API against real engines, each started for this test alone. Where none can run, the
// tests are skipped and say why.
#include <fcntl.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "isolation/container/engine_api.h"
#include "isolation/container/engine_search.h"
#include "os/files.h"
#include "os/memory_events.h"
#include "os/process.h"
#include "os/temp_dir.h"
#include "os/unix_socket.h"
#include "os/waker.h"

namespace cirrus::isolation {
namespace {
using nlohmann::json;

/// An engine of one kind, shared by the tests of this process.
struct TestEngine {
  os::TempDir directory;
  os::Process process;
  std::unique_ptr<ContainerEngine> engine;
};

Result<TestEngine> start_engine(const std::string& kind) {
  os::TempDir directory = CIRRUS_TRY(os::TempDir::create("cirrus-engine-test"));
  os::SpawnOptions options;
  options.argv = {CIRRUS_SOURCE_DIR "/tests/engines/run_engine", kind, directory.path().string()};
  const os::Fd output =
      CIRRUS_TRY(os::open_file(directory.path() / "output", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  options.descriptors = {{1, output.get()}, {2, output.get()}};
  options.kill_grace = std::chrono::seconds(20);
  os::Process process = CIRRUS_TRY(os::Process::spawn(options));
  const Monotonic deadline = system_clock().now() + std::chrono::seconds(60);
  while (!std::filesystem::exists(directory.path() / "ready")) {
    const std::optional<os::ExitStatus> ended = process.try_wait();
    if (ended || system_clock().now() > deadline) {
      return error(ended && ended->code == 77 ? Code::Unavailable : Code::Internal, "{}",
                   trim(os::read_file(directory.path() / "output").value()));
    }
    wait_for(StopToken(), std::chrono::milliseconds(50));
  }
  std::unique_ptr<ContainerEngine> engine =
      CIRRUS_TRY(connect_engine((directory.path() / "engine.sock").string(), {}));
  return TestEngine{std::move(directory), std::move(process), std::move(engine)};
}

class EngineTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    Result<TestEngine> started = start_engine(GetParam());
    if (!started.ok() && started.error().code() == Code::Unavailable) {
      GTEST_SKIP() << "no " << GetParam() << " here: " << started.error().message();
    }
    ASSERT_TRUE(started.ok()) << started.error().to_string();
    test_.emplace(std::move(started).value());
  }
  void TearDown() override {
    if (test_) test_->process.terminate(std::chrono::seconds(20));
  }
  ContainerEngine& engine() { return *test_->engine; }
  std::string make(json body) {
    body["Labels"] = {{"cirrus.test", "mine"}};
    if (!body.contains("Image")) body["Image"] = "cirrus.test/busybox:1";
    const Result<std::string> id = engine().create("", body.dump(), {});
    EXPECT_TRUE(id.ok()) << id.error().to_string();
    return id.ok() ? id.value() : "";
  }
  ContainerState ended(const std::string& id) {
    const Monotonic deadline = system_clock().now() + std::chrono::seconds(30);
    for (;;) {
      const Result<ContainerState> state = engine().inspect(id, {});
      if (!state.ok() || !state.value().running || system_clock().now() > deadline) {
        EXPECT_TRUE(state.ok() && !state.value().running);
        return state.ok() ? state.value() : ContainerState{};
      }
      wait_for(StopToken(), std::chrono::milliseconds(50));
    }
  }

  CommandEnd inside(const std::string& id, const std::vector<std::string>& command) {
    const Result<CommandEnd> end = engine().run_inside(id, command, {});
    EXPECT_TRUE(end.ok()) << end.error().to_string();
    return end.ok() ? end.value() : CommandEnd{};
  }

  std::optional<TestEngine> test_;
};

TEST_P(EngineTest, RunsAContainerThatIsFedOnItsStandardInput) {
  const EngineInfo info = engine().info({}).value();
  EXPECT_EQ(info.podman, std::string_view(GetParam()) == "podman");
  EXPECT_GT(info.processors, 0);
  EXPECT_GT(info.memory_bytes, 0U);

  const std::string id = make({{"Cmd", {"sh", "-c", "read line; echo got $line; exit 7"}},
                               {"OpenStdin", true},
                               {"StdinOnce", true},
                               {"AttachStdin", true}});
  os::Fd input = engine().attach_input(id, {}).value();
  ASSERT_TRUE(engine().start(id, {}).ok());
  EXPECT_GT(engine().inspect(id, {}).value().pid, 0);
  ASSERT_TRUE(os::write_all(input.get(), "hello\n").ok());
  input.reset();
  EXPECT_EQ(ended(id).exit_code, 7);
  EXPECT_NE(engine().last_output(id).value().find("got hello"), std::string::npos);
  EXPECT_EQ(engine().containers_with("cirrus.test=mine", {}).value().size(), 1U);
  EXPECT_TRUE(engine().containers_with("cirrus.test=other", {}).value().empty());
  EXPECT_TRUE(engine().remove(id).ok());
  EXPECT_TRUE(engine().remove(id).ok()) << "gone is success";
  EXPECT_TRUE(engine().containers_with("cirrus.test=mine", {}).value().empty());
}

TEST_P(EngineTest, KnowsImagesAndSaysWhatItCannotPull) {
  EXPECT_EQ(engine().find_image("cirrus.test/user:1", {}).value()->user, "user");
  EXPECT_FALSE(engine().find_image("cirrus.test/absent:1", {}).value());
  int lines = 0;
  const Status pulled =
      engine().pull("127.0.0.1:1/absent:1", "", [&](std::string_view) { ++lines; }, {});
  ASSERT_FALSE(pulled.ok());
  EXPECT_NE(pulled.error().message().find("127.0.0.1:1"), std::string::npos)
      << pulled.error().message();
  EXPECT_EQ(engine().create("", R"({"Image":"cirrus.test/absent:1"})", {}).error().code(),
            Code::NotFound);
}

TEST_P(EngineTest, ReadOnlyVolumesAreReadOnlyAndCommandsRunInside) {
  const os::TempDir shared = os::TempDir::create("cirrus-engine-volume").value();
  ASSERT_TRUE(engine().create_volume("cirrus-test-v", {{"cirrus.test", "mine"}}, {}).ok());
  EXPECT_EQ(engine().volumes_with("cirrus.test=mine", {}).value().size(), 1U);
  const std::string id =
      make({{"Cmd", {"sleep", "1000"}},
            {"HostConfig",
             {{"Mounts",
               {{{"Type", "bind"},
                 {"Source", shared.path().string()},
                 {"Target", "/ro"},
                 {"ReadOnly", true}},
                {{"Type", "volume"}, {"Source", "cirrus-test-v"}, {"Target", "/v"}}}}}}});
  ASSERT_TRUE(engine().start(id, {}).ok());
  const CommandEnd refused = inside(id, {"touch", "/ro/x"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.output.find("Read-only"), std::string::npos) << refused.output;
  EXPECT_EQ(inside(id, {"touch", "/v/x"}).exit_code, 0);
  ASSERT_TRUE(engine().send_signal(id, "SIGKILL").ok());
  EXPECT_EQ(ended(id).exit_code, 137);
  EXPECT_TRUE(engine().remove(id).ok());
  EXPECT_TRUE(engine().remove_volume("cirrus-test-v").ok());
  EXPECT_TRUE(engine().volumes_with("cirrus.test=mine", {}).value().empty());
}

TEST_P(EngineTest, TheKernelsCountersNameAMemoryHog) {
  const std::string id = make({{"Cmd", {"sleep", "1000"}},
                               {"HostConfig", {{"Memory", 64 << 20}, {"MemorySwap", 64 << 20}}}});
  ASSERT_TRUE(engine().start(id, {}).ok());
  const auto pid = static_cast<pid_t>(engine().inspect(id, {}).value().pid);
  const std::optional<os::MemoryEvents> events = os::MemoryEvents::of(pid);
  ASSERT_TRUE(events);
  EXPECT_EQ(events->limit(), std::uint64_t{64} << 20U);
  EXPECT_EQ(events->kills(), 0U);
  EXPECT_NE(inside(id, {"dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1"}).exit_code, 0);
  EXPECT_GE(events->kills().value_or(0), 1U);
  EXPECT_TRUE(engine().remove(id).ok());
}

INSTANTIATE_TEST_SUITE_P(Real, EngineTest, testing::Values("docker", "podman"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(EngineSearch, NamesEverythingItTried) {
  EngineChoice choice;
  choice.environment = {{"PATH", "/nonexistent"},
                        {"CONTAINER_HOST", "unix:///no/podman.sock"},
                        {"DOCKER_HOST", "unix:///no/docker.sock"}};
  choice.run_directory = "/nonexistent/run";
  const Result<EngineSearch::Found> found = EngineSearch(choice).get({});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code(), Code::Unavailable);
  for (const char* part : {"/no/docker.sock", "/no/podman.sock", "docker.io"}) {
    EXPECT_NE(found.error().message().find(part), std::string::npos) << found.error().message();
  }
}

TEST(EngineSearch, RefusesAnEngineWhoseKernelIsNotOurs) {
  const os::TempDir directory = os::TempDir::create("cirrus-engine-search").value();
  const std::string socket = (directory.path() / "s").string();
  const os::Fd listener = os::listen_unix(socket, 0600).value();
  Thread server([&listener](const StopToken& stop) {
    while (os::wait_readable(listener.get(), stop, std::nullopt).value_or(false)) {
      const os::Fd connection = os::accept_connection(listener.get()).value();
      std::string head;
      char byte = 0;
      while (!head.ends_with("\r\n\r\n") &&
             os::read_some(connection.get(), {&byte, 1}).value_or(0) == 1) {
        head += byte;
      }
      const std::string body = head.find("/info") == std::string::npos
                                   ? R"({"Version":"99","MinAPIVersion":"1.12"})"
                                   : R"({"KernelVersion":"6.1-vm","OperatingSystem":"Some VM"})";
      (void)os::write_all(connection.get(), fmt::format("HTTP/1.1 200 OK\r\nConnection: close\r\n"
                                                        "Content-Length: {}\r\n\r\n{}",
                                                        body.size(), body));
    }
  });
  EngineChoice choice;
  choice.socket = socket;
  EngineSearch search(std::move(choice));
  const auto found = search.get(StopToken());
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code(), Code::FailedPrecondition);
  EXPECT_NE(found.error().message().find("Some VM, kernel 6.1-vm"), std::string::npos)
      << found.error().message();
  server.request_stop();
}

TEST(EngineSearch, RefusesEnginesOfOtherHosts) {
  EngineChoice choice;
  choice.environment = {{"DOCKER_HOST", "tcp://10.0.0.1:2375"}};
  const Result<EngineSearch::Found> found = EngineSearch(choice).get({});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code(), Code::FailedPrecondition);
  EXPECT_NE(found.error().message().find("tcp://10.0.0.1:2375"), std::string::npos);
}

}  // namespace
}  // namespace cirrus::isolation
