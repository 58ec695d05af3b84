// SPDX-License-Identifier: MIT
// The evaluation service, message by message.
#include "lang/service.h"

#include <gtest/gtest.h>

#include "cirrus_instances.pb.h"
#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using google::protobuf::DescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorProto;

pb::EvaluateConfigRequest asking(const std::string& yaml) {
  pb::EvaluateConfigRequest request;
  request.set_yaml_config(yaml);
  return request;
}

const std::string kBox = "container: {image: a}\n";

/// `message NAME { string flavour = 1; NAME inner = 2; }` in a file of its own.
FileDescriptorProto file_with(const std::string& name) {
  FileDescriptorProto file;
  file.set_name("given.proto");
  file.set_syntax("proto3");
  file.set_package("given");
  DescriptorProto& message = *file.add_message_type();
  message.set_name(name);
  const auto add = [&](const char* field_name, FieldDescriptorProto::Type type) -> auto& {
    FieldDescriptorProto& field = *message.add_field();
    field.set_name(field_name);
    field.set_number(message.field_size());
    field.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
    field.set_type(type);
    return field;
  };
  add("flavour", FieldDescriptorProto::TYPE_STRING);
  add("inner", FieldDescriptorProto::TYPE_MESSAGE).set_type_name(".given." + name);
  return file;
}

TEST(EvaluateRequest, AnswersWithTasksIssuesAndTheCountBeforeFiltering) {
  pb::EvaluateConfigRequest request = asking(kBox +
                                             "task_x: {}\na_task: {script: make}\n"
                                             "b_task: {only_if: $CIRRUS_BRANCH == 'x'}\n"
                                             "c_task: {skip: \"!changesInclude('*.md')\"}\n");
  (*request.mutable_environment())["CIRRUS_BRANCH"] = "main";
  request.add_affectedfiles("README.md");
  const Result<pb::EvaluateConfigResponse> response = evaluate_request(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  ASSERT_EQ(response.value().tasks_size(), 2);
  EXPECT_EQ(response.value().tasks(0).name(), "a");
  EXPECT_EQ(response.value().tasks(1).name(), "c");
  EXPECT_EQ(response.value().tasks(1).status(), pb::CREATED);
  EXPECT_EQ(response.value().tasks_count_before_filtering(), 3);
  EXPECT_EQ(response.value().processed_config(), request.yaml_config());
  ASSERT_EQ(response.value().issues_size(), 1);
  EXPECT_EQ(response.value().issues(0).level(), pb::Issue::WARNING);
  EXPECT_EQ(response.value().issues(0).line(), 2u);
}

TEST(EvaluateRequest, AnErrorWithAPlaceIsAnIssueAndOthersFailTheCall) {
  const Result<pb::EvaluateConfigResponse> located =
      evaluate_request(asking(kBox + "task: {timeout_in: soon}\n"));
  ASSERT_TRUE(located.ok());
  EXPECT_EQ(located.value().tasks_size(), 0);
  ASSERT_EQ(located.value().issues_size(), 1);
  const pb::Issue& issue = located.value().issues(0);
  EXPECT_EQ(issue.level(), pb::Issue::ERROR);
  EXPECT_EQ(issue.path(), ".cirrus.yml");
  EXPECT_EQ(issue.line(), 2u);
  EXPECT_EQ(issue.column(), 8u);

  const struct {
    const char* name;
    std::string yaml;
    const char* part;
  } cases[] = {
      {"not YAML", "task: [", ".cirrus.yml:"},
      {"tasks that do not fit together", kBox + "task: {depends_on: [nobody]}\n", "nobody"},
      {"a bad condition", kBox + "task: {skip: $A ==}\n", "skip"},
      {"a bad number", "task: {container: {image: a, cpu: many}}\n", "many"},
      {"too large", std::string((1u << 20u) + 1, '#'), "larger than 1048576 bytes"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Result<pb::EvaluateConfigResponse> response = evaluate_request(asking(c.yaml));
    ASSERT_FALSE(response.ok());
    EXPECT_EQ(response.error().code(), Code::InvalidArgument);
    EXPECT_NE(response.error().message().find(c.part), std::string::npos)
        << response.error().message();
  }
}

TEST(EvaluateRequest, OurOwnFieldsMeanNothingThere) {
  const std::string yaml =
      kBox + "task:\n  priority: 7\n  depend_on: a\n  x_cache: {folder: f, save_on: nonsense}\n";
  const Result<pb::EvaluateConfigResponse> response = evaluate_request(asking(yaml));
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  ASSERT_EQ(response.value().tasks_size(), 1);
  const pb::Task& task = response.value().tasks(0);
  EXPECT_EQ(testing::property(task, "priority"), "(unset)");
  for (const pb::Command& command : task.commands()) EXPECT_TRUE(command.properties().empty());
  EXPECT_EQ(response.value().issues_size(), 0) << "the reference is silent about misspelt fields";
  EXPECT_TRUE(testing::evaluated(yaml, controller_options()).error);
}

TEST(EvaluateRequest, HashesDockerfilesFromTheFilesSentAlong) {
  pb::EvaluateConfigRequest request = asking("task: {container: {dockerfile: ci/Dockerfile}}\n");
  (*request.mutable_fs()->mutable_memory()->mutable_filescontents())["ci/Dockerfile"] = "FROM a\n";
  const Result<pb::EvaluateConfigResponse> response = evaluate_request(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  ASSERT_EQ(response.value().tasks_size(), 2) << "the task and the one that builds its image";
  EXPECT_EQ(response.value().tasks(1).name(), "Prebuild ci/Dockerfile");

  request.mutable_fs()->mutable_github()->set_owner("somebody");
  const Result<pb::EvaluateConfigResponse> remote = evaluate_request(request);
  ASSERT_TRUE(remote.ok()) << remote.error().to_string();
  ASSERT_EQ(remote.value().issues_size(), 1);
  EXPECT_NE(remote.value().issues(0).message().find("send the files with the request"),
            std::string::npos)
      << remote.value().issues(0).message();
}

TEST(EvaluateRequest, ScriptsThatGenerateConfigurationAreOneIssue) {
  pb::EvaluateConfigRequest request = asking(kBox + "task: {script: x}\n");
  request.set_starlark_config("def main(): return []");
  const Result<pb::EvaluateConfigResponse> response = evaluate_request(request);
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response.value().tasks_size(), 1);
  ASSERT_EQ(response.value().issues_size(), 1);
  EXPECT_EQ(response.value().issues(0).path(), ".cirrus.star");
  EXPECT_EQ(response.value().issues(0).line(), 1u);

  request.clear_starlark_config();
  (*request.mutable_fs()->mutable_memory()->mutable_filescontents())[".cirrus.star"] = "x";
  EXPECT_EQ(evaluate_request(request).value().issues_size(), 0) << "only what was given to run";
}

TEST(EvaluateRequest, TakesFurtherInstanceKindsAndProperties) {
  pb::EvaluateConfigRequest request = asking(
      "task: {oven: {flavour: $F, inner: {flavour: deep}}, env: {F: sweet},\n"
      "       hot: $F == 'sweet', toppings: [a, b], note: x-$F}\n");
  auto& info = *request.mutable_additional_instances_info();
  (*info.mutable_instances())["oven"] = "given.Oven";
  *info.mutable_descriptor_set()->add_file() = file_with("Oven");
  const auto property = [&](const char* name, FieldDescriptorProto::Type type) {
    FieldDescriptorProto& field = *request.add_additional_task_properties();
    field.set_name(name);
    field.set_type(type);
  };
  property("hot", FieldDescriptorProto::TYPE_BOOL);
  property("toppings", FieldDescriptorProto::TYPE_GROUP);
  property("note", FieldDescriptorProto::TYPE_STRING);
  const Result<pb::EvaluateConfigResponse> response = evaluate_request(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  ASSERT_EQ(response.value().tasks_size(), 1);
  const pb::Task& task = response.value().tasks(0);
  EXPECT_EQ(task.instance().type_url(), "type.googleapis.com/given.Oven");
  EXPECT_EQ(task.instance().value(), std::string("\x0a\x05sweet\x12\x06\x0a\x04"
                                                 "deep"));
  EXPECT_EQ(testing::property(task, "hot"), "true");
  EXPECT_EQ(testing::property(task, "toppings"), "a\nb");
  EXPECT_EQ(testing::property(task, "note"), "x-sweet");
}

TEST(EvaluateRequest, GivenTypesMayRepeatOursAndUseThem) {
  pb::EvaluateConfigRequest request = asking("task: {box: {image: b}}\n");
  auto& info = *request.mutable_additional_instances_info();
  const std::string type = pb::ContainerInstance::descriptor()->full_name();
  (*info.mutable_instances())["box"] = type;
  pb::ContainerInstance::descriptor()->file()->CopyTo(info.mutable_descriptor_set()->add_file());
  const Result<pb::EvaluateConfigResponse> response = evaluate_request(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  ASSERT_EQ(response.value().tasks_size(), 1);
  EXPECT_EQ(testing::instance_of<pb::ContainerInstance>(response.value().tasks(0)).image(), "b");
}

TEST(EvaluateRequest, RefusesTypesThatAreBrokenUnknownOrTooMany) {
  pb::EvaluateConfigRequest request = asking("task: {oven: {flavour: a}}\n");
  auto& info = *request.mutable_additional_instances_info();
  (*info.mutable_instances())["oven"] = "given.Oven";
  const auto failure = [&] {
    const Result<pb::EvaluateConfigResponse> response = evaluate_request(request);
    EXPECT_FALSE(response.ok());
    EXPECT_EQ(response.error().code(), Code::InvalidArgument);
    return response.ok() ? "" : response.error().message();
  };
  EXPECT_NE(failure().find("'given.Oven' is not"), std::string::npos) << failure();

  FileDescriptorProto& file = *info.mutable_descriptor_set()->add_file();
  file = file_with("Oven");
  file.mutable_message_type(0)->mutable_field(1)->set_type_name(".given.Missing");
  EXPECT_NE(failure().find("given.Missing"), std::string::npos) << failure();
  file = file_with("Oven");
  file.add_dependency("given.proto");
  EXPECT_NE(failure().find("broken"), std::string::npos) << failure();

  file = file_with("Oven");
  for (int i = 0; i < 201; ++i) (*info.mutable_instances())[fmt::format("k{}", i)] = "given.Oven";
  EXPECT_NE(failure().find("more than 200"), std::string::npos) << failure();
  info.clear_instances();
  for (int i = 0; i < 201; ++i) request.add_additional_task_properties()->set_name("p");
  EXPECT_NE(failure().find("more than 200"), std::string::npos) << failure();
  request.clear_additional_task_properties();
  file.mutable_message_type(0)->set_name(std::string(5'000'000, 'x'));
  EXPECT_NE(failure().find("descriptor set"), std::string::npos) << failure();
}

TEST(EvaluateRequest, RefusesRequestsOverTheLimit) {
  pb::EvaluateConfigRequest request = asking("task: {}");
  (*request.mutable_fs()->mutable_memory()->mutable_filescontents())["f"] =
      std::string(kMaxEvaluationRequest, 'x');
  const Result<pb::EvaluateConfigResponse> response = evaluate_request(request);
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().code(), Code::ResourceExhausted);
}

TEST(SchemaRequest, KnowsGivenKindsAndWhichFilesItIsFor) {
  pb::JSONSchemaRequest request;
  auto& info = *request.mutable_additional_instances_info();
  (*info.mutable_instances())["oven"] = "given.Oven";
  *info.mutable_descriptor_set()->add_file() = file_with("Oven");
  const Result<pb::JSONSchemaResponse> response = schema_request(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  const std::string& schema = response.value().schema();
  EXPECT_NE(schema.find(R"("fileMatch":[".cirrus.yml",".cirrus.yaml"])"), std::string::npos);
  EXPECT_NE(schema.find(R"("oven":{"properties":{"flavour")"), std::string::npos);
  EXPECT_EQ(schema.find("save_on"), std::string::npos) << "ours";
}

TEST(SchemaRequest, TypesThatReferToThemselvesManyTimesStaySmall) {
  pb::JSONSchemaRequest request;
  auto& info = *request.mutable_additional_instances_info();
  (*info.mutable_instances())["oven"] = "given.Oven";
  FileDescriptorProto file = file_with("Oven");
  DescriptorProto& message = *file.mutable_message_type(0);
  for (int i = 0; i < 1'000; ++i) {
    FieldDescriptorProto& field = *message.add_field();
    field = message.field(1);
    field.set_name(fmt::format("f{}", i));
    field.set_number(i + 3);
  }
  *info.mutable_descriptor_set()->add_file() = file;
  const Result<pb::JSONSchemaResponse> response = schema_request(request);
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  EXPECT_LT(response.value().schema().size(), 4u << 20u);
}

}  // namespace
}  // namespace cirrus::lang
