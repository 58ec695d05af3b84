// SPDX-License-Identifier: MIT
#include "rpc/testing/fake_gateway.h"

#include <algorithm>
#include <chrono>

namespace cirrus::rpc::testing {
namespace {
constexpr std::chrono::seconds kPatience{10};
}  // namespace

// Guarded by the gateway's mutex, except for `gateway` itself.
class FakeGateway::Stream final : public GatewayStream {
 public:
  explicit Stream(FakeGateway& owner) : gateway(owner) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() override { cancel(); }

  bool write(const AgentMessage& message) override { return gateway.accept(*this, message); }
  bool read(GatewayMessage& message) override {
    std::unique_lock lock(gateway.mutex_);
    gateway.changed_.wait(lock, [this] {
      const bool has_order = greeted && !told_to_stop && gateway.cancel_;
      return broken || has_order || (!answers.empty() && !gateway.script_.hold_acknowledgements) ||
             (!answers.empty() && answers.front().has_welcome());
    });
    if (broken) return false;
    if (greeted && !told_to_stop && gateway.cancel_) {
      told_to_stop = true;
      message.mutable_cancel()->set_reason(*gateway.cancel_);
      return true;
    }
    message = answers.front();
    answers.pop_front();
    if (message.has_welcome()) greeted = true;
    return true;
  }
  void cancel() override {
    const std::lock_guard lock(gateway.mutex_);
    broken = true;
    gateway.changed_.notify_all();
  }

  FakeGateway& gateway;
  std::deque<GatewayMessage> answers;
  int received = 0;
  bool greeted = false;
  bool told_to_stop = false;
  bool broken = false;
};

FakeGateway::~FakeGateway() = default;

Result<std::unique_ptr<GatewayStream>> FakeGateway::connect() {
  const std::lock_guard lock(mutex_);
  if (script_.refusals > 0) {
    --script_.refusals;
    return error(Code::Unavailable, "nobody listens");
  }
  ++streams_;
  return std::unique_ptr<GatewayStream>(std::make_unique<Stream>(*this));
}

bool FakeGateway::accept(Stream& stream, const AgentMessage& message) {
  const std::lock_guard lock(mutex_);
  if (stream.broken) return false;
  if (script_.break_after && script_.breaks > 0 && stream.received >= *script_.break_after) {
    --script_.breaks;
    stream.broken = true;
    changed_.notify_all();
    return false;
  }
  if (stream.received++ == 0) {
    if (!message.has_hello() || message.hello().agent_secret() != script_.agent_secret) {
      violations_.emplace_back("the first message is no hello with the right secret");
    }
    GatewayMessage welcome;
    welcome.mutable_welcome()->set_gateway_secret(script_.gateway_secret);
    welcome.mutable_welcome()->set_acknowledged_sequence(events_.size());
    for (const auto& [step, bytes] : logs_) {
      auto* position = welcome.mutable_welcome()->add_stored();
      position->set_step(step);
      position->set_offset(bytes.size());
    }
    answer_locked(stream, std::move(welcome));
  } else if (!stream.greeted) {
    violations_.emplace_back("something was sent before the welcome was read");
  } else if (message.has_log()) {
    store_log_locked(stream, message.log());
  } else if (message.has_event()) {
    store_event_locked(stream, message.event());
  }
  changed_.notify_all();
  return true;
}

void FakeGateway::store_log_locked(Stream& stream, const AgentMessage::Log& log) {
  std::string& bytes = logs_[log.step()];
  if (log.offset() > bytes.size()) violations_.emplace_back("a gap in the log of " + log.step());
  if (log.data().size() > 256 * 1024) violations_.emplace_back("a chunk is too long");
  const std::size_t known = std::min(bytes.size() - log.offset(), log.data().size());
  if (bytes.compare(log.offset(), known, log.data(), 0, known) != 0) {
    violations_.emplace_back("log bytes changed in a resend of " + log.step());
  }
  bytes.append(log.data(), known);
  GatewayMessage answer;
  answer.mutable_log_stored()->mutable_position()->set_step(log.step());
  answer.mutable_log_stored()->mutable_position()->set_offset(bytes.size());
  answer_locked(stream, std::move(answer));
}

void FakeGateway::store_event_locked(Stream& stream, const AgentMessage::Event& event) {
  if (event.sequence() > events_.size() + 1) violations_.emplace_back("a gap in the events");
  // A text field that is no UTF-8 makes every peer refuse the whole message, again and again.
  if (!AgentMessage::Event().ParseFromString(event.SerializeAsString())) {
    violations_.emplace_back("an event that nobody can read");
  }
  for (const auto& position : event.after()) {
    if (logs_[position.step()].size() < position.offset()) {
      violations_.emplace_back("an event overtook the log of " + position.step());
    }
  }
  if (event.sequence() == events_.size() + 1) events_.push_back(event);
  GatewayMessage answer;
  answer.mutable_event_stored()->set_sequence(events_.size());
  answer_locked(stream, std::move(answer));
}

void FakeGateway::answer_locked(Stream& stream, GatewayMessage message) {
  stream.answers.push_back(std::move(message));
}

std::string FakeGateway::log(const std::string& step) const {
  const std::lock_guard lock(mutex_);
  const auto found = logs_.find(step);
  return found == logs_.end() ? std::string() : found->second;
}

std::vector<gateway::v1::AgentMessage::Event> FakeGateway::events() const {
  const std::lock_guard lock(mutex_);
  return events_;
}

std::vector<std::string> FakeGateway::statuses() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, std::string>> last;
  for (const AgentMessage::Event& event : events_) {
    for (const auto& update : event.updates().updates()) {
      const auto found = std::find_if(last.begin(), last.end(), [&update](const auto& entry) {
        return entry.first == update.name();
      });
      const std::string status =
          org::cirruslabs::ci::services::cirruscigrpc::Status_Name(update.status());
      if (found == last.end()) {
        last.emplace_back(update.name(), status);
      } else {
        found->second = status;
      }
    }
  }
  std::vector<std::string> texts;
  for (const auto& [name, status] : last) texts.push_back(name + "=" + status);
  return texts;
}

bool FakeGateway::finished() const {
  const std::lock_guard lock(mutex_);
  return !events_.empty() && events_.back().has_finished();
}

std::vector<std::string> FakeGateway::violations() const {
  const std::lock_guard lock(mutex_);
  return violations_;
}

int FakeGateway::streams() const {
  const std::lock_guard lock(mutex_);
  return streams_;
}

void FakeGateway::cancel(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  cancel_ = reason;
  changed_.notify_all();
}

void FakeGateway::release() {
  const std::lock_guard lock(mutex_);
  script_.hold_acknowledgements = false;
  changed_.notify_all();
}

bool FakeGateway::wait_for_log(const std::string& step, const std::string& text) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience,
                           [&] { return logs_[step].find(text) != std::string::npos; });
}

bool FakeGateway::wait_until_finished() {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience,
                           [this] { return !events_.empty() && events_.back().has_finished(); });
}

}  // namespace cirrus::rpc::testing
