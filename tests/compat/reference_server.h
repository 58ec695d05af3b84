// SPDX-License-Identifier: MIT
// A server that speaks the reference's protocol and nothing else: no features in its metadata, no
// held polls, no offsets. What it answers is scripted by data; what it hears it writes down.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "cirrus_agent.pb.h"
#include "cirrus_workers.pb.h"

namespace cirrus::tests {

namespace pb = org::cirruslabs::ci::services::cirruscigrpc;

class ReferenceServer {
 public:
  struct State {
    /// One line per call: `Register`, `Poll 42`, `TaskStarted 42`, `InitialCommands 42`,
    /// `Updates 42 main=EXECUTING`, `StreamLogs 42 main`, `SaveLogs 42 main`, `Finished 42`,
    /// `TaskFailed 42: text`, `TaskStopped 42`; ` ! CODE` follows where it was answered by an
    /// error.
    std::vector<std::string> trace;
    /// What is wrong with what was heard, such as missing metadata. Must stay empty.
    std::vector<std::string> complaints;
    /// Codes (as numbers of grpc::StatusCode) of the next calls by method name.
    std::map<std::string, std::deque<int>> failures;
    std::deque<pb::PollResponse> replies;
    std::map<std::string, pb::CommandsResponse> commands;  ///< by task
    std::set<std::string> sessions;                        ///< those that are known
    std::vector<pb::PollRequest> polls;
    std::map<std::string, std::string> streamed;  ///< `42 main` -> what StreamLogs brought
    std::map<std::string, std::string> saved;     ///< the same of SaveLogs
    std::map<std::string, pb::ReportAgentFinishedRequest> finished;  ///< by task
    std::uint32_t interval = 1;
    bool stateless = false;  ///< answers Register with an empty session
    int registrations = 0;
  };

  /// Listens on `port` of 127.0.0.1; 0 picks a free one.
  explicit ReferenceServer(int port = 0);
  ~ReferenceServer();
  ReferenceServer(const ReferenceServer&) = delete;
  ReferenceServer& operator=(const ReferenceServer&) = delete;

  int port() const { return port_; }
  /// Ends the process' listening and its connections, keeps the state and listens again.
  void restart();

  Guarded<State> book;  ///< what it heard and what it is to answer

 private:
  class Workers;
  class Agents;
  void listen();

  int port_ = 0;
  std::unique_ptr<Workers> workers_;
  std::unique_ptr<Agents> agents_;
  struct Running;
  std::unique_ptr<Running> running_;
};

}  // namespace cirrus::tests
