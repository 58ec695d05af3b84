// SPDX-License-Identifier: MIT
#include "isolation/container/engine_api.h"

#include <charconv>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "net/http_client.h"
#include "os/waker.h"

namespace cirrus::isolation {

namespace {
using nlohmann::json;

constexpr auto kQuick = std::chrono::seconds(30);
constexpr auto kSlow = std::chrono::minutes(5);  // starts and removals on a busy disk
constexpr std::chrono::milliseconds kNoLimit{0};
constexpr int kWantedMinor = 41;

/// `message` of an error answer; the answer itself if it has none.
std::string sentence_of(const std::string& body) {
  const json parsed = json::parse(body, nullptr, false);
  if (parsed.is_object() && parsed.contains("message") && parsed["message"].is_string()) {
    return parsed["message"].get<std::string>();
  }
  return std::string(trim(body));
}

Error refusal(long status, const std::string& body) {
  const std::string text = shorten(sentence_of(body), 1'000);
  const Code code = status == 404   ? Code::NotFound
                    : status == 400 ? Code::InvalidArgument
                    : status == 409 ? Code::Aborted
                                    : Code::FailedPrecondition;
  return error(code, "{}", text.empty() ? fmt::format("the engine answered {}", status) : text);
}

std::string text_at(const json& value, const char* key) {
  const auto found = value.find(key);
  return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t number_at(const json& value, const char* key) {
  const auto found = value.find(key);
  return found != value.end() && found->is_number() ? found->get<std::int64_t>() : 0;
}

Labels labels_at(const json& value, const char* key) {
  Labels labels;
  const auto found = value.find(key);
  if (found == value.end() || !found->is_object()) return labels;
  for (const auto& [name, text] : found->items()) {
    if (text.is_string()) labels[name] = text.get<std::string>();
  }
  return labels;
}

std::string base64url(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = (group << 8U) | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= count ? kDigits[(group >> (18U - 6U * static_cast<unsigned>(j))) & 63U] : '=';
    }
  }
  return text;
}

/// The reference's query parameters: a name without tag or digest would pull every tag.
std::string pull_query(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  const std::size_t at = name.find('@');
  const std::size_t colon = name.find(':', slash == std::string::npos ? 0 : slash);
  if (at != std::string::npos) return "fromImage=" + net::percent_encode(name);
  if (colon == std::string::npos) {
    return "fromImage=" + net::percent_encode(name) + "&tag=latest";
  }
  return "fromImage=" + net::percent_encode(name.substr(0, colon)) +
         "&tag=" + net::percent_encode(name.substr(colon + 1));
}

/// Lines of JSON as they arrive; the first error message in them is the result.
class MessageLines {
 public:
  explicit MessageLines(const std::function<void(std::string_view)>& on_line) : on_line_(on_line) {}
  bool feed(std::string_view bytes) {
    rest_ += bytes;
    for (std::size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
      take(rest_.substr(0, end));
      rest_.erase(0, end + 1);
    }
    return rest_.size() < (1U << 20U);
  }
  Status end() {
    if (!rest_.empty()) take(rest_);
    if (failure_.empty()) return {};
    return error(Code::FailedPrecondition, "{}", shorten(std::string(trim(failure_)), 1'000));
  }

 private:
  void take(const std::string& line) {
    const json message = json::parse(line, nullptr, false);
    if (!message.is_object()) return;
    if (failure_.empty()) failure_ = text_at(message, "error");
    on_line_(line);
  }
  const std::function<void(std::string_view)>& on_line_;
  std::string rest_;
  std::string failure_;
};

class EngineApi final : public ContainerEngine {
 public:
  explicit EngineApi(std::string socket) : socket_(std::move(socket)) {}

  Status open(const StopToken& stop) {
    const net::HttpResponse response =
        CIRRUS_TRY(client_.send(request("GET", "/version", "", std::chrono::seconds(5)), stop));
    if (response.status != 200) return refusal(response.status, response.body);
    const json version = json::parse(response.body, nullptr, false);
    if (!version.is_object()) {
      return error(Code::Unavailable, "what listens on '{}' is no container engine", socket_);
    }
    name_ = "Docker " + text_at(version, "Version");
    for (const json& part : version.value("Components", json::array())) {
      if (part.is_object() && text_at(part, "Name").find("Podman") != std::string::npos) {
        podman_ = true;
        name_ = "Podman " + text_at(part, "Version");
      }
    }
    int minor = kWantedMinor;
    const std::string oldest = text_at(version, "MinAPIVersion");
    if (oldest.starts_with("1.")) {
      int least = 0;
      std::from_chars(oldest.data() + 2, oldest.data() + oldest.size(), least);
      minor = std::max(minor, least);
    }
    prefix_ = fmt::format("/v1.{}", minor);
    return {};
  }

  Result<EngineInfo> info(const StopToken& stop) override {
    const json answer = CIRRUS_TRY(get("/info", stop));
    EngineInfo info;
    info.name = name_;
    info.podman = podman_;
    info.processors = static_cast<int>(number_at(answer, "NCPU"));
    info.memory_bytes = static_cast<std::uint64_t>(number_at(answer, "MemTotal"));
    info.kernel_version = text_at(answer, "KernelVersion");
    info.operating_system = text_at(answer, "OperatingSystem");
    return info;
  }

  Result<std::optional<ImageInfo>> find_image(const std::string& name,
                                              const StopToken& stop) override {
    Result<json> answer = get("/images/" + name + "/json", stop);
    if (!answer.ok() && answer.error().code() == Code::NotFound) return std::optional<ImageInfo>();
    const json image = CIRRUS_TRY(std::move(answer));
    ImageInfo found;
    found.id = text_at(image, "Id");
    if (image.contains("Config") && image["Config"].is_object()) {
      found.user = text_at(image["Config"], "User");
      found.labels = labels_at(image["Config"], "Labels");
    }
    return std::optional(found);
  }

  Status pull(const std::string& name, const std::string& login,
              const std::function<void(std::string_view)>& on_line,
              const StopToken& stop) override {
    net::HttpRequest call = request("POST", "/images/create?" + pull_query(name), "", kNoLimit);
    if (!login.empty()) call.headers.emplace_back("X-Registry-Auth", base64url(login));
    return stream(call, on_line, stop);
  }

  Status build(const BuildRequest& build, const std::function<void(std::string_view)>& on_line,
               const StopToken& stop) override {
    const std::string query =
        fmt::format("/build?t={}&dockerfile={}&buildargs={}&labels={}&rm=1&forcerm=1",
                    net::percent_encode(build.name), net::percent_encode(build.dockerfile),
                    net::percent_encode(json(build.arguments).dump()),
                    net::percent_encode(json(build.labels).dump()));
    net::HttpRequest call = request("POST", query, build.context, kNoLimit);
    call.headers = {{"Content-Type", "application/x-tar"}};
    return stream(call, on_line, stop);
  }

  Result<std::string> create(const std::string& name, const std::string& body,
                             const StopToken& stop) override {
    const json answer =
        CIRRUS_TRY(post("/containers/create?name=" + net::percent_encode(name), body, stop, kSlow));
    const std::string id = text_at(answer, "Id");
    if (id.empty()) return error(Code::Internal, "the engine made a container without an id");
    return id;
  }

  Result<os::Fd> attach_input(const std::string& id, const StopToken& stop) override {
    net::HttpResponse refused;
    Result<os::Fd> stream = net::take_over_stream(
        request("POST", "/containers/" + id + "/attach?stream=1&stdin=1", "", kQuick), stop,
        &refused);
    if (!stream.ok() && refused.status != 0) return refusal(refused.status, refused.body);
    return stream;
  }

  Status start(const std::string& id, const StopToken& stop) override {
    CIRRUS_TRY(post("/containers/" + id + "/start", "", stop, kSlow));
    return {};
  }

  Result<ContainerState> inspect(const std::string& id, const StopToken& stop) override {
    const json answer = CIRRUS_TRY(get("/containers/" + id + "/json", stop));
    ContainerState state;
    const auto found = answer.find("State");
    if (found == answer.end() || !found->is_object()) return state;
    state.running = found->value("Running", false);
    state.pid = number_at(*found, "Pid");
    state.exit_code = static_cast<int>(number_at(*found, "ExitCode"));
    state.out_of_memory = found->value("OOMKilled", false);
    state.error = text_at(*found, "Error");
    return state;
  }

  Result<CommandEnd> run_inside(const std::string& id, const std::vector<std::string>& command,
                                const StopToken& stop) override {
    const json body = {{"Cmd", command}, {"AttachStdout", true}, {"AttachStderr", true}};
    const json made = CIRRUS_TRY(post("/containers/" + id + "/exec", body.dump(), stop, kQuick));
    const std::string exec = text_at(made, "Id");
    net::HttpRequest call = request("POST", "/exec/" + exec + "/start",
                                    json{{"Detach", false}, {"Tty", false}}.dump(), kSlow);
    call.headers = {{"Content-Type", "application/json"}};
    CommandEnd end;
    std::string raw;
    const net::HttpResponse answer = CIRRUS_TRY(client_.stream(
        call,
        [&](std::string_view bytes) {
          if (raw.size() < (64U << 10U)) raw += bytes;
          return true;
        },
        stop));
    if (answer.status >= 400) return refusal(answer.status, answer.body);
    end.output = without_frames(raw);
    const json state = CIRRUS_TRY(get("/exec/" + exec + "/json", stop));
    end.exit_code = static_cast<int>(number_at(state, "ExitCode"));
    return end;
  }

  Status send_signal(const std::string& id, const std::string& signal) override {
    CIRRUS_TRY(post("/containers/" + id + "/kill?signal=" + net::percent_encode(signal), "",
                    StopToken(), kQuick));
    return {};
  }

  Result<std::string> last_output(const std::string& id) override {
    const net::HttpResponse answer = CIRRUS_TRY(client_.send(
        request("GET", "/containers/" + id + "/logs?stdout=1&stderr=1&tail=20", "", kQuick)));
    if (answer.status >= 400) return refusal(answer.status, answer.body);
    return without_frames(answer.body);
  }

  Status remove(const std::string& id) override {
    return remove_at("/containers/" + net::percent_encode(id) + "?force=1&v=1");
  }

  Status put_files(const std::string& id, const std::string& path, const std::string& tar,
                   const StopToken& stop) override {
    net::HttpRequest call = request(
        "PUT", "/containers/" + id + "/archive?path=" + net::percent_encode(path), tar, kSlow);
    call.headers = {{"Content-Type", "application/x-tar"}};
    const net::HttpResponse answer = CIRRUS_TRY(client_.send(call, stop));
    if (answer.status >= 400) return refusal(answer.status, answer.body);
    return {};
  }

  Status create_volume(const std::string& name, const Labels& labels,
                       const StopToken& stop) override {
    const json body = {{"Name", name}, {"Labels", labels}};
    CIRRUS_TRY(post("/volumes/create", body.dump(), stop, kQuick));
    return {};
  }

  Status remove_volume(const std::string& name) override {
    return remove_at("/volumes/" + net::percent_encode(name) + "?force=1");
  }

  Result<std::vector<Labelled>> containers_with(const std::string& label,
                                                const StopToken& stop) override {
    const json answer = CIRRUS_TRY(get("/containers/json?all=1&filters=" + filter(label), stop));
    return labelled(answer, "Id");
  }

  Result<std::vector<Labelled>> volumes_with(const std::string& label,
                                             const StopToken& stop) override {
    const json answer = CIRRUS_TRY(get("/volumes?filters=" + filter(label), stop));
    return labelled(answer.is_object() ? answer.value("Volumes", json::array()) : json::array(),
                    "Name");
  }

 private:
  static std::string filter(const std::string& label) {
    return net::percent_encode(json{{"label", {label}}}.dump());
  }

  static std::vector<Labelled> labelled(const json& list, const char* id_key) {
    std::vector<Labelled> result;
    if (!list.is_array()) return result;
    for (const json& item : list) {
      if (item.is_object()) result.push_back({text_at(item, id_key), labels_at(item, "Labels")});
    }
    return result;
  }

  /// Output of containers without a terminal comes in frames: a stream number, three zero bytes, a
  /// length. Source: Engine API, attach.
  static std::string without_frames(std::string_view raw) {
    constexpr std::size_t kHead = 8;
    std::string text;
    while (raw.size() >= kHead && static_cast<unsigned char>(raw[0]) <= 2 && raw[1] == 0) {
      std::size_t size = 0;
      for (std::size_t i = 4; i < kHead; ++i)
        size = size << 8U | static_cast<unsigned char>(raw[i]);
      raw.remove_prefix(kHead);
      text += raw.substr(0, size);
      raw.remove_prefix(std::min(size, raw.size()));
    }
    return text.empty() ? std::string(raw) : text;
  }

  net::HttpRequest request(const char* method, const std::string& path, std::string body,
                           std::chrono::milliseconds timeout) const {
    net::HttpRequest result;
    result.method = method;
    result.url = "http://engine" + prefix_ + path;
    result.unix_socket = socket_;
    result.body = std::move(body);
    result.timeout = timeout;
    return result;
  }

  Result<json> decode(Result<net::HttpResponse> answered) const {
    if (!answered.ok()) return in_words(answered.error());
    const net::HttpResponse& answer = answered.value();
    if (answer.status >= 300 && answer.status != 304) return refusal(answer.status, answer.body);
    if (trim(answer.body).empty()) return json::object();
    json parsed = json::parse(answer.body, nullptr, false);
    if (parsed.is_discarded()) return error(Code::Internal, "the engine's answer is no JSON");
    return parsed;
  }

  Result<json> get(const std::string& path, const StopToken& stop) {
    return decode(client_.send(request("GET", path, "", kQuick), stop));
  }

  Result<json> post(const std::string& path, const std::string& body, const StopToken& stop,
                    std::chrono::milliseconds timeout) {
    net::HttpRequest call = request("POST", path, body, timeout);
    if (!body.empty()) call.headers = {{"Content-Type", "application/json"}};
    return decode(client_.send(call, stop));
  }

  Status remove_at(const std::string& path) {
    const Result<json> answer = decode(client_.send(request("DELETE", path, "", kSlow)));
    if (answer.ok() || answer.error().code() == Code::NotFound) return {};
    return answer.error();
  }

  Status stream(const net::HttpRequest& call, const std::function<void(std::string_view)>& on_line,
                const StopToken& stop) {
    MessageLines lines(on_line);
    const Result<net::HttpResponse> answered = client_.stream(
        call, [&](std::string_view bytes) { return lines.feed(bytes); }, stop);
    if (!answered.ok()) return in_words(answered.error());
    if (answered.value().status >= 300) {
      return refusal(answered.value().status, answered.value().body);
    }
    return lines.end();
  }

  Error in_words(const Error& failure) const {
    if (failure.code() != Code::Unavailable) return failure;
    return error(Code::Unavailable, "the container engine on '{}' does not answer: {}", socket_,
                 failure.message());
  }

  const std::string socket_;  // constant after construction
  std::string name_;          // constant after open
  std::string prefix_;        // constant after open
  bool podman_ = false;       // constant after open
  const net::HttpClient client_;
};

}  // namespace

Result<std::unique_ptr<ContainerEngine>> connect_engine(const std::string& socket,
                                                        const StopToken& stop) {
  auto engine = std::make_unique<EngineApi>(socket);
  CIRRUS_TRY(engine->open(stop));
  return std::unique_ptr<ContainerEngine>(std::move(engine));
}

}  // namespace cirrus::isolation
