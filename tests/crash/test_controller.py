"""T17: kill -9 of the controller at every durable write, and a full disk.

SPDX-License-Identifier: MIT
One story (a build of two tasks that depend on each other, with logs) is told once without faults, to
learn which points it reaches; then once per point and time, with a kill there and a restart. Each
time every script must have run exactly once and every byte of its log be there.
"""
import collections
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import urllib.error

from harness import CIRRUS_TEST, Case, Daemon, eventually

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


class Story(Case):
    """The story in a scratch directory of its own."""

    def start(self, points=""):
        self.ledger = self.scratch / "ledger"
        self.reached = self.scratch / "reached"
        environment = self.environment(CIRRUS_FAIL_POINTS=points,
                                       CIRRUS_FAIL_POINTS_LOG=str(self.reached))
        self.controller = Daemon(
            self.scratch, "controller",
            ["controller", "run", "--data-dir", str(self.scratch / "controller"),
             "--rpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"],
            environment, program=CIRRUS_TEST)
        self.daemons.append(self.controller)
        self.controller.start(wait=False)

    def dead(self):
        return self.controller.process.poll() is not None

    def revive(self):
        """After a kill: the same controller without fail points, on the same ports if known."""
        self.assertEqual(self.controller.process.wait(), -9, self.controller.log())
        self.controller.environment["CIRRUS_FAIL_POINTS"] = ""
        if self.controller.ready is None:
            self.controller.start()
        else:
            self.restart_controller()

    def serve(self):
        """Until it serves, reviving it once if it was killed on the way."""
        eventually(lambda: self.dead() or self.controller.ready_path.exists(), "it serves or dies")
        if self.dead():
            return self.revive()
        self.controller.ready = json.loads(self.controller.ready_path.read_text())

    def watch(self, condition, what):
        """`condition` comes true, also if the controller dies (once) meanwhile."""
        def look():
            if self.dead():
                self.revive()
            return condition()
        return eventually(look, what)

    def submit_once(self):
        """As a careful client: after a broken answer it looks before it asks again."""
        def known():
            builds = self.api("GET", "/api/v1/builds")["builds"]
            return builds[0]["id"] if builds else None
        try:
            return self.submit(CONFIG % {"ledger": self.ledger})
        except (OSError, urllib.error.URLError):
            self.watch(lambda: self.api("GET", "/api/v1/builds") is not None, "it answers again")
            return known() or self.submit(CONFIG % {"ledger": self.ledger})

    def tell(self, points=""):
        self.start(points)
        self.serve()
        worker = self.start_worker()
        build = self.submit_once()
        self.watch(lambda: self.build(build)["status"] in ("completed", "failed", "aborted"),
                   "the build ends")
        # Whatever it still has to write, it may die of.
        self.watch(lambda: not self.api("GET", "/api/v1/workers/default/w1")["worker"]["tasks"],
                   "the worker is idle")
        shown = self.build(build)
        self.assertEqual(shown["status"], "completed", json.dumps(shown, indent=1))
        self.assertEqual(sorted(self.ledger.read_text().split()), ["first", "second"],
                         "every script runs exactly once")
        for task in shown["tasks"]:
            self.assertEqual(self.log(task["id"], "count").decode(),
                             LOGS[task["name"]] % {"ledger": self.ledger})
        self.assertEqual(len(self.api("GET", "/api/v1/builds")["builds"]), 1)
        worker.stop()
        return self.dead()

    def again(self):
        """A fresh scratch directory."""
        for daemon in reversed(self.daemons):
            daemon.stop()
        shutil.rmtree(self.scratch)
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-crash-"))
        (self.scratch / "tmp").mkdir()
        self.daemons = []

    def kill_at_each(self, prefix, least):
        self.tell()
        counts = collections.Counter(
            line for line in self.reached.read_text().split() if line.startswith(prefix))
        self.assertGreaterEqual(sum(counts.values()), least, counts)
        killed = 0
        for point, times in sorted(counts.items()):
            for nth in range(1, times + 1):
                self.again()
                with self.subTest(point=point, nth=nth):
                    self.tell(f"{point}=kill@{nth}")
                    killed += self.was_killed()
        # Batches differ from run to run; most of the points must have been met again.
        self.assertGreaterEqual(killed, sum(counts.values()) // 2)

    def was_killed(self):
        return self.controller.environment["CIRRUS_FAIL_POINTS"] == ""


class T17_KilledAtEveryDurableWrite(Story):
    def test_before_a_transaction(self):
        self.kill_at_each("store.apply.begin", 5)

    def test_before_a_commit(self):
        self.kill_at_each("store.apply.written", 5)

    def test_after_a_commit(self):
        self.kill_at_each("store.apply.committed", 5)

    def test_while_the_schema_is_made(self):
        self.kill_at_each("store.migrate.", 2)

    def test_while_the_first_tokens_are_made(self):
        self.kill_at_each("controller.", 2)

    def test_at_every_write_of_a_log(self):
        self.kill_at_each("logs.", 4)


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
