"""T17: kill -9 of the controller at every durable write, and a full disk.

SPDX-License-Identifier: MIT
The story is a build of two tasks that depend on each other, with logs. Each time every script must
have run exactly once and every byte of its log be there.
"""
import json
import os
import subprocess
import unittest
import urllib.error

from harness import Case, eventually, kills_at
from story import Story

CONFIG = """persistent_worker:
  isolation:
    none: {}
first_task:
  count_script: echo first >> %(ledger)s; echo one; echo two
second_task:
  depends_on: first
  count_script: echo second >> %(ledger)s; echo three
"""
# Scripts are echoed before they run.
LOGS = {"first": "echo first >> %(ledger)s; echo one; echo two\none\ntwo\n",
        "second": "echo second >> %(ledger)s; echo three\nthree\n"}


class TwoTasks(Story):
    def tell(self, points=""):
        self.start(points)
        self.serve()
        worker = self.start_worker()
        build = self.submit_once(CONFIG % {"ledger": self.ledger})
        shown = self.watch_build(build)
        # Whatever it still has to write, it may die of.
        self.watch(lambda: not self.api("GET", "/api/v1/workers/default/w1")["worker"]["tasks"],
                   "the worker is idle")
        self.assertEqual(sorted(self.ledger.read_text().split()), ["first", "second"],
                         "every script runs exactly once")
        for task in shown["tasks"]:
            self.assertEqual(self.log(task["id"], "count").decode(),
                             LOGS[task["name"]] % {"ledger": self.ledger})
        self.assertEqual(len(self.api("GET", "/api/v1/builds")["builds"]), 1)
        worker.stop()


class T17_KilledAtEveryDurableWrite(TwoTasks):
    @kills_at("store.apply.begin")
    def test_before_a_transaction(self):
        self.kill_at_each(5)

    @kills_at("store.apply.written")
    def test_before_a_commit(self):
        self.kill_at_each(5)

    @kills_at("store.apply.committed")
    def test_after_a_commit(self):
        self.kill_at_each(5)

    @kills_at("store.migrate.written", "store.migrate.committed")
    def test_while_the_schema_is_made(self):
        self.kill_at_each(2)

    @kills_at("controller.registration_token.made", "controller.admin_token.made")
    def test_while_the_first_tokens_are_made(self):
        self.kill_at_each(2)

    @kills_at("logs.sync.before")
    def test_before_a_log_is_synced(self):
        self.kill_at_each(3)

    @kills_at("logs.write.before", "logs.write.after")
    def test_at_every_write_of_a_log(self):
        self.kill_at_each(4)


class T17_FullDisk(Case):
    """On a file system of its own, as root; without the right to mount, it says so."""

    def setUp(self):
        super().setUp()
        self.disk = self.scratch / "disk"
        self.disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(self.disk)],
            capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")

    def tearDown(self):
        try:
            for daemon in reversed(self.daemons):
                daemon.stop()
            subprocess.run(["umount", str(self.disk)], check=False)
        finally:
            super().tearDown()

    def test_work_is_refused_with_the_reason_and_taken_again_by_itself(self):
        self.scratch, scratch = self.disk, self.scratch
        try:
            (self.disk / "tmp").mkdir()
            self.start_controller()
        finally:
            self.scratch = scratch
        accepted = [self.submit("task:\n  persistent_worker: {}\n  script: true\n")]
        with open(self.disk / "ballast", "wb") as ballast:
            with self.assertRaises(OSError):
                while True:
                    ballast.write(b"x" * 65536)
                    ballast.flush()

        def refused():
            """Large builds, until the room the log of the store had set aside is used up."""
            try:
                accepted.append(self.submit(
                    "task:\n  persistent_worker: {}\n  script: true\n",
                    environment={"FILL": "x" * 500_000}))
            except urllib.error.HTTPError as error:
                self.assertEqual(error.code, 503)
                detail = json.loads(error.read())["detail"]
                self.assertIn("cannot write its store", detail)
                self.assertIn("goes on by itself", detail)
                return True
            return False
        eventually(refused, "the controller refuses work")
        with self.assertRaises(urllib.error.HTTPError) as unhealthy:
            self.api("GET", "/healthz")
        self.assertEqual(unhealthy.exception.code, 503)
        # What was accepted is still shown.
        self.assertEqual(self.build(accepted[0])["id"], accepted[0])
        os.truncate(self.disk / "ballast", 0)
        eventually(lambda: self.api("GET", "/healthz"), "it recovers by itself")
        accepted.append(self.submit("task:\n  persistent_worker: {}\n  script: true\n"))
        self.assertEqual(len(set(accepted)), len(accepted))
        self.controller.kill()
        self.restart_controller()
        for build in accepted:
            self.assertEqual(self.build(build)["id"], build, "an accepted build is lost")


if __name__ == "__main__":
    unittest.main()
