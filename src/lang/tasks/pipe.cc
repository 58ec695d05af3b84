// SPDX-License-Identifier: MIT
#include "lang/tasks/pipe.h"

namespace cirrus::lang {
namespace {

constexpr float kCpu = 2;
constexpr std::uint32_t kMemory = 4096;

Located<void> parse_step(Scope& scope, const Node& step, Commands& commands) {
  scope.expect_map(step);
  const std::size_t before = commands.list().size();
  std::optional<std::string> image;
  for (const Node* child : counting_fields(step)) {
    if (child->name == "image") {
      image = CIRRUS_TRY(scope.expanded(*child));
    } else {
      CIRRUS_TRY(commands.parse(scope, *child));
    }
  }
  if (!image) return error_at(step, "a step needs an 'image'");
  if (commands.list().size() == before)
    return error_at(step, "a step needs at least one instruction");
  (*commands.list()[before].mutable_properties())["image"] = *image;
  return {};
}

}  // namespace

Instance make_pipe_instance() {
  auto message = std::make_unique<pb::PipeInstance>();
  message->set_cpu(kCpu);
  message->set_memory(kMemory);
  return Instance{"pipe", std::move(message), false, std::nullopt};
}

Located<void> parse_pipe_resources(Scope& scope, const Node& field, Instance& pipe) {
  scope.expect_map(field);
  auto& message = static_cast<pb::PipeInstance&>(*pipe.message);
  for (const Node* child : fields_of(field)) {
    if (child->name == "cpu") message.set_cpu(CIRRUS_TRY(scope.decimal32(*child)));
    if (child->name == "memory") message.set_memory(CIRRUS_TRY(scope.megabytes(*child)));
  }
  if (message.cpu() == 0) message.set_cpu(kCpu);
  if (message.memory() == 0) message.set_memory(kMemory);
  return {};
}

Located<void> parse_steps(Scope& scope, const Node& field, Commands& commands) {
  if (!field.is_list()) return wrong_kind(field, "a list");
  for (const Node* step : field.children) CIRRUS_TRY(parse_step(scope, *step, commands));
  return {};
}

Instance make_docker_builder() {
  return Instance{"docker_builder", std::make_unique<pb::DockerBuilder>(), false, std::nullopt};
}

Located<void> parse_docker_builder_field(Scope& scope, const Node& field, Instance& builder) {
  auto& message = static_cast<pb::DockerBuilder&>(*builder.message);
  if (field.name == "os_version") {
    message.set_os_version(CIRRUS_TRY(scope.expanded(field)));
    return {};
  }
  message.set_platform(CIRRUS_TRY(parse_platform(scope, field)));
  scope.set_variable("CIRRUS_OS", CIRRUS_TRY(scope.expanded(field)));
  return {};
}

}  // namespace cirrus::lang
