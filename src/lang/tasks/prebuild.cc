// SPDX-License-Identifier: MIT
#include "lang/tasks/prebuild.h"

#include <deque>
#include <map>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "base/digest.h"
#include "base/strings.h"
#include "lang/tasks/digest.h"
#include "lang/tasks/dockerfile.h"

namespace cirrus::lang {
namespace {

constexpr std::size_t kMaxContextBytes = std::size_t{64}
                                         << 20;   ///< Ours: copied files per Dockerfile.
constexpr std::size_t kMaxContextFiles = 20'000;  ///< Ours.

/// Without `.`, empty and `..` parts; `..` never leaves the root.
std::string normalised(std::string_view path) {
  std::vector<std::string> parts;
  for (const std::string& part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return join(parts, "/");
}

std::string variable(const Draft& draft, const std::string& name) {
  const auto found = draft.environment.find(name);
  return found == draft.environment.end() ? "" : found->second;
}

class Hasher {
 public:
  Hasher(Session& session, const Draft& draft)
      : session_(session), draft_(draft), use_(*draft.instance->dockerfile) {}

  Located<std::string> run() {
    const Result<std::optional<std::string>> dockerfile =
        session_.files.read(normalised(use_.path));
    if (!dockerfile.ok() || !dockerfile.value()) {
      return error_at(use_.mark,
                      fmt::format("cannot read Dockerfile '{}'{}", shorten(use_.path, 100),
                                  dockerfile.ok() ? "" : ": " + dockerfile.error().to_string()));
    }
    std::vector<std::string> arguments;
    for (const auto& [key, value] : use_.arguments) arguments.push_back(key + value);
    std::sort(arguments.begin(), arguments.end());
    const std::string architecture = variable(draft_, "CIRRUS_ARCH");
    std::string bytes =
        *dockerfile.value() + join(arguments, ", ") + (architecture == "amd64" ? "" : architecture);
    const Result<std::vector<std::string>> sources =
        copied_paths(*dockerfile.value(), use_.arguments);
    if (!sources.ok()) {
      warn(fmt::format("Dockerfile '{}' cannot be analysed: {}", shorten(use_.path, 100),
                       sources.error().message()));
      return md5_hex(bytes);
    }
    const std::size_t before = bytes.size();
    bool any = false;
    for (const std::string& source : sources.value()) any = add(source, bytes) || any;
    if (bytes.size() > before + kMaxContextBytes) {
      warn(fmt::format("the files copied by Dockerfile '{}' are too large to be hashed whole",
                       shorten(use_.path, 100)));
    }
    return any ? sha256_hex(bytes) : md5_hex(bytes);
  }

 private:
  void warn(std::string message) {
    Node place;
    place.mark = use_.mark;
    session_.warn(place, std::move(message));
  }

  /// Appends the contents of a file, or of all files of a directory, breadth first.
  bool add(const std::string& source, std::string& bytes) {
    const std::size_t limit = bytes.size() + kMaxContextBytes;
    std::deque<std::string> open = {
        normalised(variable(draft_, "CIRRUS_DOCKER_CONTEXT") + "/" + source)};
    bool any = false;
    for (std::size_t looked = 0;
         !open.empty() && looked < kMaxContextFiles && bytes.size() <= limit; ++looked) {
      const std::string path = std::move(open.front());
      open.pop_front();
      const Result<std::optional<std::string>> content = session_.files.read(path);
      if (content.ok() && content.value()) {
        bytes += *content.value();
        any = true;
        continue;
      }
      const auto names = session_.files.list(path);
      if (!names.ok() || !names.value()) continue;
      for (const std::string& name : *names.value())
        open.push_back(path.empty() ? name : path + "/" + name);
    }
    if (!any) {
      warn(fmt::format("Dockerfile '{}' copies '{}', which does not exist", shorten(use_.path, 100),
                       shorten(source, 100)));
    }
    return any;
  }

  Session& session_;
  const Draft& draft_;
  const DockerfileUse& use_;
};

pb::Command script(std::string name, std::string line) {
  pb::Command command;
  command.set_name(std::move(name));
  command.mutable_script_instruction()->add_scripts(std::move(line));
  return command;
}

/// The task that builds the image `first` needs.
Draft service_task(const Draft& first, const std::string& hash, std::int64_t id) {
  const DockerfileUse& use = *first.instance->dockerfile;
  const std::string image = fmt::format("gcr.io/cirrus-ci-community/{}:latest", hash);
  Draft draft;
  draft.kind = TaskKind::Service;
  draft.id = id;
  draft.name = "Prebuild " + use.path;
  std::string build = fmt::format("docker build --tag {} --file {}", image, use.path);
  for (const auto& [key, value] : use.arguments) {
    draft.name += fmt::format(" {}={}", key, value);
    build += fmt::format(" --build-arg {}=\"{}\"", key, value);
  }
  build += use.platform == pb::WINDOWS ? " ." : " ${CIRRUS_DOCKER_CONTEXT:-$CIRRUS_WORKING_DIR}";
  pb::Command clone;
  clone.set_name("clone");
  clone.mutable_clone_instruction();
  draft.commands = {clone, script("build", build),
                    script("push", "gcloud docker -- push " + image)};
  draft.environment = first.environment;
  draft.properties = {{"allow_failures", "false"},
                      {"experimental", "false"},
                      {"skip_notifications", "true"},
                      {"timeout_in", first.properties.at("timeout_in")},
                      {"trigger_type", "AUTOMATIC"}};
  auto message = std::make_unique<pb::PrebuiltImageInstance>();
  message->set_repository("cirrus-ci-community/" + hash);
  message->set_reference("latest");
  message->set_platform(use.platform);
  message->set_dockerfile(use.path);
  for (const auto& [key, value] : use.arguments) (*message->mutable_arguments())[key] = value;
  draft.instance = Instance{"prebuilt_image", std::move(message), false, std::nullopt};
  return draft;
}

void set_image(google::protobuf::Message& holder, const std::string& image) {
  const google::protobuf::FieldDescriptor* field = holder.GetDescriptor()->FindFieldByName("image");
  holder.GetReflection()->SetString(&holder, field, image);
}

}  // namespace

Located<void> apply_dockerfiles(Session& session, std::vector<Draft>& drafts,
                                std::int64_t next_id) {
  std::map<std::string, std::int64_t> builders;  // hash to service task
  std::vector<Draft> services;
  for (Draft& draft : drafts) {
    if (!draft.enabled || !draft.instance || !draft.instance->dockerfile) continue;
    const std::string hash = CIRRUS_TRY(Hasher(session, draft).run());
    draft.properties["dockerfile_hash"] = hash;
    google::protobuf::Message* holder = draft.instance->dockerfile->holder;
    if (holder == nullptr || !session.options.prebuild_tasks) continue;
    const auto [builder, added] = builders.try_emplace(hash, next_id);
    if (added) services.push_back(service_task(draft, hash, next_id++));
    draft.required.push_back(builder->second);
    set_image(*holder, fmt::format("gcr.io/cirrus-ci-community/{}:latest", hash));
  }
  std::move(services.begin(), services.end(), std::back_inserter(drafts));
  return {};
}

}  // namespace cirrus::lang
