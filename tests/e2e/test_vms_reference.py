"""Guests for which there is no agent of ours: a reference CLI binary is their agent.

SPDX-License-Identifier: MIT
The program that stands in for it behaves on its command line and on the wire as the reference does.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from harness import CIRRUS, eventually
from vm_case import VmCase

REFERENCE_AGENT = pathlib.Path(CIRRUS).resolve().parent / "tests" / "compat" / "reference_agent"


class ReferenceAgents(VmCase):
    def setUp(self):
        super().setUp()
        self.variables["CIRRUS_VM_UNAME"] = "Darwin arm64"

    def start_with_agent(self, **options):
        worker = self.start_worker(**options)
        shutil.copy(REFERENCE_AGENT, self.scratch / "w1" / "agents" / "cirrus-darwin-arm64")
        return worker

    def begun(self, task):
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        [vm] = self.vms()
        return int((self.scratch / "vms" / vm / "pid").read_text())

    def test_a_task_runs_and_the_upstream_credential_stays_outside(self):
        self.start_with_agent()
        task = self.finish(self.config(
            "  script:\n    - whoami; echo $FROM_PROFILE; pwd; echo $CIRRUS_VM_ID\n"
            "    - tr '\\0' ' ' < /proc/$PPID/cmdline\n"
            "  always:\n    last_script: echo the end\n"))
        log = self.log(task["id"]).decode()
        self.assertIn("reference CLI binary 'cirrus-darwin-arm64'", log)
        self.assertIn("admin\nyes\n/tmp/cirrus-ci-build\ncirrus-", log)
        self.assertRegex(log, r"agent -api-endpoint http://127\.0\.0\.1:\d+ ")
        self.assertEqual(self.log(task["id"], "last"), b"the end\n")
        self.assertEqual([step["status"] for step in task["steps"]], ["completed"] * 2)
        self.no_vm_is_left()

    def test_caches_and_artifacts_pass_through_the_gateway(self):
        self.start_with_agent()
        config = self.config(
            "  deps_cache:\n    folder: deps\n    fingerprint_key: k\n"
            "    populate_script: mkdir deps; echo one > deps/x\n"
            "  script: head -c 3000000 /dev/zero > big; echo two > small; cat deps/x\n"
            "  out_artifacts:\n    path: '[bs]*'\n")
        first = self.finish(config)
        self.assertIn(b"Cache miss for k", self.log(first["id"], "deps"))
        self.assertIn(b"Uploaded 3000004 bytes", self.log(first["id"], "out"))
        second = self.finish(config)
        self.assertIn(b"Cache hit for k", self.log(second["id"], "deps"))
        self.assertTrue(self.log(second["id"]).endswith(b"one\n"))
        target = self.scratch / "artifacts"
        self.cli("artifact", "get", second["id"], "out", "--into", str(target), check=0)
        [big] = target.rglob("big")
        self.assertEqual(big.stat().st_size, 3000000)
        [small] = target.rglob("small")
        self.assertEqual(small.read_text(), "two\n")

    def test_a_failing_script_fails_the_task(self):
        self.start_with_agent()
        task = self.finish(self.config("  script: echo so; exit 3\n  more_script: echo never\n"),
                           "failed")
        self.assertEqual([step["status"] for step in task["steps"]], ["failed", "skipped"])
        self.assertTrue(self.log(task["id"]).endswith(b"so\n"))

    def test_a_cancelled_task_ends_by_a_signal_and_takes_its_vm_along(self):
        # On a machine that is busy a login takes longer than the usual grace.
        file = self.scratch / "worker.yml"
        file.write_text("cancel-grace: 60s\n")
        self.start_with_agent(extra=("--file", str(file)))
        build = self.submit(self.config("  script: echo begun; sleep 1000\n"
                                        "  always:\n    last_script: echo the end\n"))
        task = self.task(build, "t")
        self.begun(task)
        self.api("POST", f"/api/v1/tasks/{task['id']}/cancel")
        self.wait_build(build)
        self.no_vm_is_left()
        self.assertEqual(self.log(task["id"], "last"), b"the end\n")

    def test_a_person_types_into_a_terminal_of_a_guest(self):
        self.start_with_agent()
        build = self.submit(self.config("  env: {CIRRUS_TERMINAL_EXPIRATION_WINDOW: 5}\n"
                                        "  script: exit 1\n"))
        self.wait_build(build, "failed")
        failed = self.task(build, "t")["id"]
        task = self.cli("task", "rerun", failed, "--terminal", check=0).stdout.split()[-1]
        eventually(lambda: b"Waiting for 5s" in self.log_or_empty(task, "terminal"),
                   "the agent waits for somebody")
        # Who hangs up at once may see nothing: a terminal knows no end of its input.
        with subprocess.Popen(["sh", "-c", "echo 'echo I am $(whoami)'; echo exit; sleep 4"],
                              stdout=subprocess.PIPE) as person:
            shell = self.cli("task", "shell", task, check=0, stdin=person.stdout)
        self.assertIn("I am admin", shell.stdout)
        self.wait_build(build, "failed")
        self.assertEqual([step["status"] for step in self.task(build, "t")["steps"]],
                         ["failed", "completed"])
        self.no_vm_is_left()

    def test_a_broken_connection_loses_nothing(self):
        self.start_with_agent()
        build = self.submit(self.config(
            "  script:\n    - echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo done\n"
            "    - seq 1000\n"))
        task = self.task(build, "t")
        run = self.begun(task)
        for pid in self.connections_of(run):
            os.kill(pid, signal.SIGKILL)
        self.touch_in_guest(run, "/tmp/go")
        self.wait_build(build, "completed")
        log = self.log(task["id"])
        self.assertIn(b"begun\n", log)
        self.assertTrue(log.endswith(b"done\n" + b"".join(b"%d\n" % n for n in range(1, 1001))))

    def test_a_killed_worker_finds_its_agent_again(self):
        worker = self.start_with_agent()
        build = self.submit(self.config(
            "  script: echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo done\n"))
        task = self.task(build, "t")
        run = self.begun(task)
        worker.kill()
        self.touch_in_guest(run, "/tmp/go")
        worker.start()
        self.wait_build(build, "completed")
        self.assertTrue(self.log(task["id"]).endswith(b"begun\ndone\n"))
        self.no_vm_is_left()

    def test_a_killed_worker_finds_its_agents_terminal_again(self):
        file = self.scratch / "worker.yml"
        file.write_text("cancel-grace: 60s\n")
        worker = self.start_with_agent(extra=("--file", str(file)))
        build = self.submit(self.config("  script: exit 1\n"))
        self.wait_build(build, "failed")
        failed = self.task(build, "t")["id"]
        task = self.cli("task", "rerun", failed, "--terminal", check=0).stdout.split()[-1]

        def looks_around():
            shell = self.cli("task", "shell", task, input="echo I am $(whoami)\nexit\n")
            return "I am admin" in shell.stdout
        eventually(looks_around, "a person gets in")
        worker.kill()
        worker.start()
        eventually(looks_around, "a person gets in again")
        self.api("POST", f"/api/v1/tasks/{task}/cancel")
        self.wait_build(build)
        self.no_vm_is_left()

    def test_an_agent_that_dies_fails_its_task(self):
        self.start_with_agent()
        build = self.submit(self.config("  script: echo begun; sleep 1000\n"))
        task = self.task(build, "t")
        run = self.begun(task)
        for pid in self.descendants(run):
            if b"cirrus-agent\0agent" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        ended = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn("the agent ended", ended["reason"])
        self.no_vm_is_left()

    def test_where_it_was_looked_for_is_said(self):
        self.start_worker()
        task = self.finish(self.config("  script: echo never\n"), "failed")
        for path in ("w1/agents/cirrus-agent-darwin-arm64", "w1/agents/cirrus-darwin-arm64",
                     "cirrus/agent/cirrus-<version>-darwin-arm64"):
            self.assertIn(path, task["reason"])
        self.no_vm_is_left()

    def test_a_guest_that_forwards_no_ports_is_said(self):
        self.variables["CIRRUS_VM_SSHD"] = "AllowTcpForwarding no"
        self.start_with_agent()
        task = self.finish(self.config("  script: echo never\n"), "failed")
        self.assertIn("AllowTcpForwarding", task["reason"])
        self.no_vm_is_left()

    def test_one_stands_by(self):
        file = self.standby_file()
        agents = self.scratch / "w1" / "agents"
        agents.mkdir(parents=True)
        shutil.copy(REFERENCE_AGENT, agents / "cirrus-darwin-arm64")
        worker = self.start_worker(extra=("--file", str(file)))
        eventually(lambda: "standby instance ready" in worker.log(), "a VM stands by")
        [waiting] = self.vms()
        task = self.finish(self.config("  script: echo $CIRRUS_VM_ID\n"))
        self.assertTrue(self.log(task["id"]).endswith(waiting.encode() + b"\n"))


if __name__ == "__main__":
    unittest.main()
