"""Shells in tasks of a pool that records what they show.

SPDX-License-Identifier: MIT
"""
import json
import subprocess
import unittest

from harness import CIRRUS, PATIENCE, Case, eventually
from person import Person

CONFIG = """persistent_worker:
  isolation:
    none: {}
task:
  name: t
  env: {PS1: "$ "}
  script: echo begun; while [ ! -e go ]; do sleep 0.05; done
"""


class RecordedShells(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.start_worker()
        self.build_id = self.submit(CONFIG)
        self.id = self.task(self.build_id, "t")["id"]
        eventually(lambda: b"begun\n" in self.log_or_empty(self.id), "the script runs")
        self.notice = (f"this shell is recorded: what it shows is kept with the logs of task "
                       f"{self.id}\r\n").encode()

    def person_environment(self):
        return self.environment(CIRRUS_API_URL=self.controller.ready["http_url"],
                                CIRRUS_API_TOKEN_FILE=self.controller.ready["admin_token_file"])

    def bytes_of(self, *arguments, typed=b""):
        """What a command prints, as it prints it."""
        done = subprocess.run([CIRRUS, *arguments], env=self.person_environment(), input=typed,
                              capture_output=True, timeout=PATIENCE * 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def record(self):
        self.cli("pool", "set", "default", "--record-shells", "yes", check=0)

    def records(self):
        return self.api("GET", f"/api/v1/tasks/{self.id}/shells")["shells"]

    def test_what_they_show_is_kept_byte_by_byte(self):
        self.record()
        self.assertIn("shells recorded", self.cli("pool", "show", "default", check=0).stdout)
        self.assertIn(" recorded ", self.cli("pool", "list", check=0).stdout)
        shown = self.bytes_of("task", "shell", self.id,
                              typed=b"printf '\\000\\377\\033[1m%s\\n' bytes\nexit\n")
        self.assertIn(b"\0\xff\x1b[1mbytes\r\n", shown)
        self.assertTrue(shown.startswith(self.notice), shown)
        kept = self.bytes_of("task", "logs", self.id, "--shell", "1")
        self.assertEqual(self.notice + kept, shown)
        [record] = self.records()
        self.assertEqual((record["number"], record["opened_by"], record["size"]),
                         (1, "admin", len(kept)))
        listed = self.cli("task", "shells", self.id, check=0).stdout
        self.assertIn(record["opened_at"], listed)
        # Of the task's steps it is none.
        self.assertNotIn("bytes", self.cli("task", "logs", self.id, check=0).stdout)

    def test_what_is_typed_without_an_echo_is_not_kept(self):
        self.record()
        person = Person([CIRRUS, "task", "shell", self.id], self.person_environment(), 80, 24)
        self.addCleanup(person.leave)
        person.type("stty -echo; echo ready-$((40+2)); read -r secret; stty echo; "
                    "echo got ${#secret} letters\n")
        person.sees(rb"ready-42\r\n")
        person.type("hunter2\n")
        person.sees(rb"got 7 letters\r\n")
        person.type("exit\n")
        self.assertEqual(person.process.wait(PATIENCE), 0)
        kept = self.bytes_of("task", "logs", self.id, "--shell", "1")
        self.assertIn(b"got 7 letters\r\n", kept)
        self.assertNotIn(b"hunter2", kept)
        self.assertIn(self.notice, person.seen)

    def test_nothing_is_kept_where_the_pool_does_not_ask(self):
        self.assertIn("shells not recorded", self.cli("pool", "show", "default", check=0).stdout)
        shown = self.bytes_of("task", "shell", self.id, typed=b"echo here\nexit\n")
        self.assertIn(b"here\r\n", shown)
        self.assertNotIn(b"recorded", shown)
        self.assertEqual(self.records(), [])
        missing = self.cli("task", "logs", self.id, "--shell", "1")
        self.assertEqual(missing.returncode, 1, missing.stderr)
        self.assertIn("no shell 1 of task", missing.stderr)

    def test_they_are_kept_over_a_kill_of_the_controller_and_after_the_tasks_end(self):
        self.record()
        person = Person([CIRRUS, "task", "shell", self.id], self.person_environment(), 80, 24)
        self.addCleanup(person.leave)
        person.type("echo word-$((40+2))\n")
        person.sees(rb"word-42\r\n")
        self.controller.kill()
        self.restart_controller()
        person.process.wait(PATIENCE)
        kept = self.bytes_of("task", "logs", self.id, "--shell", "1")
        self.assertIn(b"word-42\r\n", kept)

        def again():
            done = self.cli("task", "shell", self.id, input="touch go\nexit\n")
            return done.returncode == 0
        eventually(again, "the worker is back and opens another")
        self.wait_build(self.build_id, "completed")
        self.assertEqual([one["number"] for one in self.records()], [1, 2])
        self.assertEqual(self.bytes_of("task", "logs", self.id, "--shell", "1"), kept)
        # It counts among the task's logs and goes with them.
        folder = self.scratch / "controller" / "logs" / self.id
        self.assertEqual(json.loads(self.cli("task", "shells", self.id, "--output", "json",
                                             check=0).stdout)["shells"], self.records())
        self.assertTrue((folder / "%shell-1").exists())


if __name__ == "__main__":
    unittest.main()
