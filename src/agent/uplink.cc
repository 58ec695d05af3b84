// SPDX-License-Identifier: MIT
#include "agent/uplink.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/log.h"

namespace cirrus::agent {

using gateway::v1::AgentMessage;
using gateway::v1::GatewayMessage;

Uplink::Uplink(Options options, rpc::GatewayLink& link, Outbox& outbox, OnCancel on_cancel)
    : options_(std::move(options)),
      link_(link),
      outbox_(outbox),
      on_cancel_(std::move(on_cancel)),
      attached_(false) {}

Uplink::~Uplink() = default;

void Uplink::start() {
  thread_ = Thread([this](const StopToken& stop) { run(stop); });
}

bool Uplink::attached() const {
  return attached_.with([](const bool& value) { return value; });
}

void Uplink::run(const StopToken& stop) {
  std::chrono::nanoseconds delay = options_.first_delay;
  while (!stop.stop_requested()) {
    const bool was_attached = serve(stop);
    attached_.with([](bool& value) { value = false; });
    if (was_attached) delay = options_.first_delay;
    if (!wait_for(stop, delay)) return;
    delay = std::min<std::chrono::nanoseconds>(delay * 2, options_.longest_delay);
  }
}

bool Uplink::serve(const StopToken& stop) {
  Result<std::unique_ptr<rpc::GatewayStream>> connected = link_.connect();
  if (!connected.ok()) return false;
  const std::unique_ptr<rpc::GatewayStream> stream = std::move(connected).value();
  const StopCallback cancel_on_stop(stop, [&stream] { stream->cancel(); });
  if (!greet(*stream)) return false;
  attached_.with([](bool& value) { value = true; });

  StopSource broken;
  const StopCallback break_on_stop(stop, [&broken] { broken.request_stop(); });
  Thread reader([this, &stream, &broken] { read_all(*stream, broken); });
  AgentMessage message;
  while (outbox_.next(broken.get_token(), message)) {
    if (!stream->write(message)) break;
  }
  // Also ends the reader, which waits for messages for ever; it is joined before the stream goes.
  stream->cancel();
  return true;
}

bool Uplink::greet(rpc::GatewayStream& stream) {
  AgentMessage message;
  AgentMessage::Hello* hello = message.mutable_hello();
  hello->set_task_id(options_.task_id);
  hello->set_agent_secret(options_.agent_secret.reveal());
  hello->set_agent_version(options_.agent_version);
  GatewayMessage answer;
  if (!stream.write(message) || !stream.read(answer)) return false;
  if (!answer.has_welcome() ||
      !options_.gateway_secret.matches(answer.welcome().gateway_secret())) {
    log_warning("the peer on the gateway's socket did not prove that it is the gateway");
    return false;
  }
  outbox_.resume(answer.welcome());
  return true;
}

void Uplink::read_all(rpc::GatewayStream& stream, StopSource& broken) {
  GatewayMessage message;
  while (stream.read(message)) {
    switch (message.message_case()) {
      case GatewayMessage::kLogStored:
        outbox_.acknowledge_log(message.log_stored().position().step(),
                                message.log_stored().position().offset());
        break;
      case GatewayMessage::kEventStored:
        outbox_.acknowledge_events(message.event_stored().sequence());
        break;
      case GatewayMessage::kCancel: on_cancel_(message.cancel().reason()); break;
      case GatewayMessage::kWelcome:
      case GatewayMessage::MESSAGE_NOT_SET: break;  // a newer gateway's words: not for us
    }
  }
  broken.request_stop();
}

}  // namespace cirrus::agent
