"""People at terminals of agents that are reference CLI binaries.

SPDX-License-Identifier: MIT
Two programs stand in for the reference: a worker, and the agent that it starts. The controller and
the client are real.
"""
import os
import pathlib
import signal
import subprocess
import unittest

import piped_shell
from harness import CIRRUS, Case, eventually
from person import Person

PROGRAMS = pathlib.Path(CIRRUS).resolve().parent / "tests" / "compat"
CONFIG = """
task:
  name: t
  persistent_worker: {}
  env: {WHO: the-task, CIRRUS_TERMINAL_EXPIRATION_WINDOW: 8}
  script: echo begun; test -e go
"""


class ReferenceTerminals(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.directory = self.scratch / "work"
        ready = self.controller.ready
        token = pathlib.Path(ready["registration_token_file"]).read_text().strip()
        worker = subprocess.Popen(
            [PROGRAMS / "reference_worker", ready["rpc_endpoint"], token, "stranger",
             PROGRAMS / "reference_agent", self.directory],
            env=self.environment(), stdin=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        self.build_id = self.submit(CONFIG)
        self.wait_build(self.build_id, "failed")
        first = self.task(self.build_id, "t")
        told = self.cli("task", "rerun", first["id"], "--terminal", check=0).stdout
        self.assertIn("cirrus task shell ", told)
        self.id = told.split()[-1]

    def person(self, columns=80, rows=24):
        environment = self.environment(
            CIRRUS_API_URL=self.controller.ready["http_url"],
            CIRRUS_API_TOKEN_FILE=self.controller.ready["admin_token_file"])
        one = Person([CIRRUS, "task", "shell", self.id], environment, columns, rows)
        self.addCleanup(one.leave)
        return one

    def when_offered(self):
        """A word typed through a pipe, as soon as the agent offers its terminal."""
        def ask():
            done = self.cli("task", "shell", self.id, input="echo I am in $WHO\nexit\n")
            return done if done.returncode == 0 else None
        return eventually(ask, "the agent offers a terminal")

    def test_a_person_types_looks_and_leaves(self):
        shell = self.when_offered()
        self.assertIn("I am in the-task", shell.stdout)
        person = self.person(columns=101, rows=31)
        person.type("stty size; echo pid=$$ in $PWD\n")
        person.sees(rb"31 101\r\n")
        found = person.sees(rb"pid=(\d+) in (\S+)")
        self.assertEqual(found.group(2).decode(), str(self.directory))
        person.resize(55, 22)
        person.type("while [ \"$(stty size)\" != '22 55' ]; do sleep 0.05; done; echo smaller\n")
        person.sees(rb"smaller\r\n")
        person.type("exit\n")
        self.assertEqual(person.process.wait(60), 0)
        eventually(lambda: not os.path.exists(b"/proc/" + found.group(1)), "the shell is gone")
        # Nobody is there any more: the wait ends, and the task as its steps say.
        self.wait_build(self.build_id, "failed")
        steps = {step["name"]: step["status"] for step in self.task(self.build_id, "t")["steps"]}
        self.assertEqual(steps, {"main": "failed", "terminal": "completed"})
        audit = self.api("GET", "/api/v1/audit?limit=1000&action=task.shell")["audit"]
        self.assertGreaterEqual(len(audit), 2)
        self.assertEqual({entry["subject"] for entry in audit}, {self.id})

    def test_whoever_hangs_up_leaves_no_shell_behind(self):
        self.when_offered()
        person = self.person()
        person.type("echo pid=$$ end\n")
        pid = person.sees(rb"pid=(\d+) end").group(1)
        person.process.send_signal(signal.SIGHUP)
        self.assertEqual(person.process.wait(60), 0)
        eventually(lambda: not os.path.exists(b"/proc/" + pid), "the shell is gone")

    def test_what_it_shows_is_recorded_where_the_pool_asks(self):
        self.when_offered()
        self.cli("pool", "set", "default", "--record-shells", "yes", check=0)
        shown = self.when_offered().stdout
        notice = f"this shell is recorded: what it shows is kept with the logs of task {self.id}\n"
        self.assertTrue(shown.startswith(notice), shown)
        kept = self.cli("task", "logs", self.id, "--shell", "1", check=0).stdout
        self.assertEqual(notice + kept, shown)
        self.assertIn("I am in the-task", kept)
        self.assertIn("admin", self.cli("task", "shells", self.id, check=0).stdout)

    def test_what_is_piped_in_is_done_to_its_end(self):
        self.when_offered()
        piped_shell.check_ends(self, self.id)

    def test_a_shell_ends_though_standard_input_stays_open(self):
        self.when_offered()
        piped_shell.check_open_input(self, self.id)

    def test_a_shell_that_does_not_end_is_given_up(self):
        self.when_offered()
        piped_shell.check_gives_up(self, self.id)

    def test_a_restarted_controller_is_found_again(self):
        self.when_offered()
        self.controller.kill()
        self.restart_controller()
        self.assertIn("I am in the-task", self.when_offered().stdout)


if __name__ == "__main__":
    unittest.main()
