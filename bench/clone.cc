// SPDX-License-Identifier: MIT
// clone: milliseconds of a task's clone step, the repository being on this machine's loopback:
// clone_first (the worker has no mirror yet), clone_again (it has, and the commit is new to it);
// clone_direct (mirrors switched off); clone_git: fetch and checkout of the same commit by hand, in
// the same run. Whole histories, of a repository with a few thousand files.
#include <cstring>

#include "base/encoding.h"
#include "stack.h"

namespace cirrus::bench {
namespace {

constexpr char kFile[] =
    "task:\n  name: t\n  persistent_worker:\n    isolation:\n      none: {}\n  script: 'true'\n";

/// A repository with some history.
Status make_repository(const std::string& root, std::size_t files, int commits) {
  CIRRUS_TRY(time_shell(
      "mkdir -p " + root + "/r; cd " + root + "/r; git init -q -b main; printf '%s' '" +
      std::string(kFile).replace(std::string(kFile).find("'true'"), 6, "\"true\"") +
      "' > .cirrus.yml; i=0; while [ $i -lt " + std::to_string(files) +
      " ]; do mkdir -p d$((i%50)); head -c 6000 /dev/urandom | base64 > d$((i%50))/$i; "
      "i=$((i+1)); done; git add -A; git -c user.name=a -c user.email=a@b commit -qm first"));
  for (int i = 0; i < commits; ++i) {
    CIRRUS_TRY(time_shell(
        "cd " + root + "/r; date >> d1/1; head -c 30000 /dev/urandom | base64 > new" +
        std::to_string(i) + "; git add -A; git -c user.name=a -c user.email=a@b commit -qm c" +
        std::to_string(i)));
  }
  return {};
}

/// Submits the repository as it is with one more change; how long its clone took, in milliseconds.
Result<double> clone_once(const Stack& stack, const std::string& root) {
  CIRRUS_TRY(time_shell("cd " + root + "/r; date +%N >> changing"));
  const std::string program = "\"$(dirname $(dirname $(readlink /proc/$PPID/exe)))\"/cirrus";
  CIRRUS_TRY(time_shell("CIRRUS_API_URL=" + stack.url() + " CIRRUS_API_TOKEN=" + stack.token() +
                        " " + program + " build submit " + root +
                        "/r --repo bench/clone --output json > " + root + "/submitted.json"));
  const nlohmann::json builds = CIRRUS_TRY(stack.get("/api/v1/builds?limit=1"));
  const std::string id = builds["builds"][0].value("id", "");
  CIRRUS_TRY(
      stack.events("/api/v1/builds/" + id + "/events",
                   [](const net::EventParser::Event& event) { return event.name != "end"; }));
  nlohmann::json build = CIRRUS_TRY(stack.get("/api/v1/builds/" + id));
  if (build.contains("build")) build = nlohmann::json(build["build"]);
  const nlohmann::json& task = build["tasks"][0];
  if (task.value("status", "") != "completed") {
    return error(Code::Internal, "the clone failed: {}", task.value("reason", ""));
  }
  return step_seconds(task, "clone") * 1e3;
}

int run(bool full) {
  const std::size_t files = full ? 20'000 : 3'000;
  const Result<Stack> direct = Stack::start("slot=1", "git-mirror: false\n");
  if (!direct.ok()) return give_up(direct.error());
  const Result<Stack> stack = Stack::start("slot=1");
  if (!stack.ok()) return give_up(stack.error());
  const std::string root = stack.value().scratch().string();
  if (const Status made = make_repository(root, files, 20); !made.ok())
    return give_up(made.error());
  const Result<double> first = clone_once(stack.value(), root);
  if (!first.ok()) return give_up(first.error());
  std::vector<double> again;
  std::vector<double> without;
  std::vector<double> by_hand;
  for (int round = 0; round < 5; ++round) {
    const Result<double> one = clone_once(stack.value(), root);
    if (!one.ok()) return give_up(one.error());
    again.push_back(one.value());
    const Result<double> other = clone_once(direct.value(), root);
    if (!other.ok()) return give_up(other.error());
    without.push_back(other.value());
    const std::string credential = base64_encode("x:" + direct.value().token());
    // The same commit, which no branch of the controller's names.
    const Result<double> git =
        time_shell("rm -rf " + root + "/g; git init -q " + root + "/g; cd " + root +
                   "/g; git -c http.extraHeader='Authorization: Basic " + credential +
                   "' fetch -q " + direct.value().url() +
                   "/git/bench/clone.git refs/cirrus/submit/$(sed -n 's/.*\"commit\": "
                   "*\"\\([0-9a-f]*\\)\".*/\\1/p' " +
                   root + "/submitted.json | head -1); git checkout -q FETCH_HEAD");
    if (!git.ok()) return give_up(git.error());
    by_hand.push_back(git.value() * 1e3);
  }
  print_figure("clone_first", first.value(), "ms", 1);
  print_figure("clone_again", quantile(again, 0.5), "ms", again.size());
  print_figure("clone_direct", quantile(without, 0.5), "ms", without.size());
  print_figure("clone_git", quantile(by_hand, 0.5), "ms", by_hand.size());
  return 0;
}

}  // namespace
}  // namespace cirrus::bench

int main(int argc, char** argv) {
  return cirrus::bench::run(argc > 1 && std::strcmp(argv[1], "--full") == 0);
}
