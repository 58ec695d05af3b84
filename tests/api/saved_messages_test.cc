// SPDX-License-Identifier: MIT
// Version skew: every message of the wire and of a worker's state, as an earlier release wrote it,
// is still read as it was meant. `data/messages-<version>.txt` holds one line per message type,
// every field set: its name, and its bytes in hex. Add a file for each release; never edit one.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "cirrus_agent.pb.h"
#include "cirrus_evaluator.pb.h"
#include "cirrus_gateway.pb.h"
#include "cirrus_instances.pb.h"
#include "cirrus_worker_state.pb.h"
#include "cirrus_workers.pb.h"
#include "os/files.h"

namespace cirrus {

namespace {
namespace pb = google::protobuf;

constexpr int kDepth = 3;

void fill(pb::Message& message, int depth);

void set_field(pb::Message& message, const pb::FieldDescriptor& field, int depth) {
  const pb::Reflection& access = *message.GetReflection();
  const int number = field.number();
  const bool many = field.is_repeated();
  using Type = pb::FieldDescriptor::CppType;
  switch (field.cpp_type()) {
#define CIRRUS_SET(type, kind, value)            \
  case Type::CPPTYPE_##type:                     \
    if (many) {                                  \
      access.Add##kind(&message, &field, value); \
    } else {                                     \
      access.Set##kind(&message, &field, value); \
    }                                            \
    return;
    CIRRUS_SET(INT32, Int32, number)
    CIRRUS_SET(INT64, Int64, number)
    CIRRUS_SET(UINT32, UInt32, static_cast<std::uint32_t>(number))
    CIRRUS_SET(UINT64, UInt64, static_cast<std::uint64_t>(number))
    CIRRUS_SET(DOUBLE, Double, number + 0.5)
    CIRRUS_SET(FLOAT, Float, static_cast<float>(number) + 0.5F)
    CIRRUS_SET(BOOL, Bool, true)
    CIRRUS_SET(ENUM, Enum, field.enum_type()->value(field.enum_type()->value_count() - 1))
    CIRRUS_SET(STRING, String, field.name())
#undef CIRRUS_SET
    case Type::CPPTYPE_MESSAGE:
      if (depth == 0) return;
      fill(many ? *access.AddMessage(&message, &field) : *access.MutableMessage(&message, &field),
           depth - 1);
      return;
  }
}

void fill(pb::Message& message, int depth) {
  const pb::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) set_field(message, *type.field(i), depth);
}

std::string bytes_of(const pb::Message& message) {
  std::string bytes;
  pb::io::StringOutputStream raw(&bytes);
  pb::io::CodedOutputStream coded(&raw);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

std::string hex_of(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::string from_hex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

void collect(const pb::Descriptor& type, std::vector<const pb::Descriptor*>& all) {
  if (type.options().map_entry()) return;
  all.push_back(&type);
  for (int i = 0; i < type.nested_type_count(); ++i) collect(*type.nested_type(i), all);
}

std::vector<const pb::Descriptor*> all_types() {
  namespace api = org::cirruslabs::ci::services::cirruscigrpc;
  // One message of each file, so that the linker keeps the file and its place is known.
  std::vector<const pb::Descriptor*> all;
  for (const pb::Descriptor* known :
       {api::RegisterRequest::descriptor(), api::CommandsResponse::descriptor(),
        api::Task::descriptor(), api::Isolation::descriptor(),
        cirrus::gateway::v1::Bootstrap::descriptor(),
        cirrus::worker::v1::TaskRecord::descriptor()}) {
    const pb::FileDescriptor& file = *known->file();
    for (int i = 0; i < file.message_type_count(); ++i) collect(*file.message_type(i), all);
  }
  return all;
}

std::unique_ptr<pb::Message> make(const pb::Descriptor& type) {
  return std::unique_ptr<pb::Message>(
      pb::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

const std::filesystem::path kData = CIRRUS_SOURCE_DIR "/tests/api/data";

bool has_unknown(const pb::Message& message) {
  return !message.GetReflection()->GetUnknownFields(message).empty();
}
}  // namespace

TEST(SavedMessages, OfEarlierReleasesAreReadAsTheyWereMeant) {
  if (std::getenv("CIRRUS_UPDATE_GOLDEN") != nullptr) {
    std::string text;
    for (const pb::Descriptor* type : all_types()) {
      const std::unique_ptr<pb::Message> message = make(*type);
      fill(*message, kDepth);
      text += type->full_name() + " " + hex_of(bytes_of(*message)) + "\n";
    }
    ASSERT_TRUE(os::write_file(kData / "messages-0.1.0.txt", text, 0644).ok());
    GTEST_SKIP() << "written anew";
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData)) {
    SCOPED_TRACE(entry.path().filename());
    ++files;
    const std::string text = os::read_file(entry.path()).value();
    int messages = 0;
    for (const std::string& line : split(text, '\n')) {
      if (line.empty()) continue;
      SCOPED_TRACE(line.substr(0, 120));
      const std::size_t space = line.find(' ');
      const pb::Descriptor* const type =
          pb::DescriptorPool::generated_pool()->FindMessageTypeByName(line.substr(0, space));
      ASSERT_NE(type, nullptr) << "a message type is gone";
      const std::unique_ptr<pb::Message> message = make(*type);
      const std::string bytes = from_hex(std::string_view(line).substr(space + 1));
      ASSERT_TRUE(message->ParseFromString(bytes));
      EXPECT_FALSE(has_unknown(*message)) << "a field is gone";
      EXPECT_EQ(hex_of(bytes_of(*message)), hex_of(bytes)) << "a field means something else";
      ++messages;
    }
    EXPECT_GT(messages, 60);
  }
  EXPECT_GE(files, 1);
}

}  // namespace cirrus
