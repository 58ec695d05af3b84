// SPDX-License-Identifier: MIT
// A real controller and a real worker, started as users start them, for measurements.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "net/http_client.h"
#include "os/process.h"
#include "os/temp_dir.h"

namespace cirrus::bench {

/// Both processes end with it.
class Stack {
 public:
  /// `resources` of the one worker, such as `slot=16`, and its settings file's text. The programs
  /// are found beside ours.
  static Result<Stack> start(const std::string& resources, const std::string& settings = {});

  /// A build of inline configuration. Returns the answer's `build`.
  Result<nlohmann::json> submit(const std::string& config) const;
  /// Submits one task, waits for its end and returns it as the API shows it. Errors: Internal if it
  /// did not complete, with its reason.
  Result<nlohmann::json> run_task(const std::string& config) const;
  /// Milliseconds from submitting a task whose script is `echo first` to that line being durable in
  /// the controller and seen by a reader there. Waits for the task's end.
  Result<double> millis_to_first_line(const std::string& config) const;
  /// Where the controller is, and what opens it.
  const std::string& url() const { return url_; }
  const std::string& token() const { return token_; }
  const std::filesystem::path& scratch() const { return scratch_.path(); }
  pid_t worker_pid() const { return worker_->pid(); }
  pid_t controller_pid() const { return controller_.pid(); }
  int http_port() const { return std::stoi(url_.substr(url_.rfind(':') + 1)); }
  Result<nlohmann::json> get(const std::string& path) const;
  /// Server-sent events until `on_event` returns false.
  Status events(const std::string& path,
                const std::function<bool(const net::EventParser::Event&)>& on_event) const;

 private:
  Stack(os::TempDir scratch, os::Process controller)
      : scratch_(std::move(scratch)), controller_(std::move(controller)) {}
  net::HttpRequest request(const std::string& method, const std::string& path) const;

  os::TempDir scratch_;
  os::Process controller_;
  std::optional<os::Process> worker_;
  std::string url_;
  std::string token_;
  net::HttpClient http_;
};

/// How long a step of a task took, in seconds; 0 if there is none of that name.
double step_seconds(const nlohmann::json& task, const std::string& step);

/// Runs a shell text and says how long it took, in seconds. Errors: Internal if it fails.
Result<double> time_shell(const std::string& text);

/// One figure, as a JSON line on standard output.
void print_figure(const std::string& name, double value, const std::string& unit, std::size_t n);

/// The value below which `fraction` of the (unsorted, non-empty) samples lie.
double quantile(std::vector<double> samples, double fraction);

/// Prints the reason on standard error; the exit status of a measurement that could not be made.
int give_up(const Error& failure);

}  // namespace cirrus::bench
