// SPDX-License-Identifier: MIT
// A worker's connection for shells, each of which prints some words when something is typed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/guarded.h"
#include "base/stop.h"
#include "controller_case.h"
#include "rpc/grpc/shell_client.h"
#include "rpc/shell_frames.h"

namespace cirrus::controller {

class ShellWorker {
 public:
  /// `worker` is registered under the name `w1`.
  ShellWorker(const std::string& rpc_endpoint, const std::string& registration_token,
              const ScriptedWorker& worker, std::vector<std::string> words = {"hello"})
      : words_(std::move(words)),
        link_(cirrus::rpc::make_shell_client(
            [channel = channel_to(rpc_endpoint)] { return channel; },
            [metadata = cirrus::rpc::CallMetadata{{"registration-token", registration_token},
                                                  {"session-token", worker.session_token},
                                                  {"worker-name", "w1"}}] { return metadata; })) {}
  /// Joins the shells, which end when whoever opened them leaves.
  ~ShellWorker() {
    listening_.request_stop();
    listening_.join();
  }
  ShellWorker(const ShellWorker&) = delete;
  ShellWorker& operator=(const ShellWorker&) = delete;

 private:
  void print_words(const std::string& session) {
    auto person = link_->carry(session);
    if (!person.ok()) return;
    (void)person.value()->read();  // what is typed, or that they have left
    for (const std::string& word : words_) {
      if (!person.value()->write(word).ok()) break;
    }
    person.value()->finish_writing();
    while (person.value()->read().value_or("") != "") {
    }
  }

  const std::vector<std::string> words_;
  const std::unique_ptr<cirrus::rpc::ShellLink> link_;
  std::vector<Thread> shells_;  // of the listening thread, and of the destructor after it
  Thread listening_{[this](const StopToken& stop) {
    (void)link_->listen(stop, [this](const cirrus::rpc::ShellOrder& shell) {
      shells_.emplace_back([this, session = shell.session()] { print_words(session); });
    });
  }};
};

}  // namespace cirrus::controller
