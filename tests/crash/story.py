"""A story that is told with a kill -9 of the controller in it.

SPDX-License-Identifier: MIT
It is told once without faults, to learn how often it reaches the points its test is about; then once
per point and time, with a kill there and a restart.
"""
import collections
import json
import pathlib
import shutil
import tempfile
import urllib.error

from harness import CIRRUS_TEST, FINAL, Case, Daemon, eventually


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

    def submit_once(self, config):
        """As a careful client: after a broken answer it looks before it asks again."""
        def known():
            builds = self.api("GET", "/api/v1/builds")["builds"]
            return builds[0]["id"] if builds else None
        try:
            return self.submit(config)
        except (OSError, urllib.error.URLError):
            self.watch(lambda: self.api("GET", "/api/v1/builds") is not None, "it answers again")
            return known() or self.submit(config)

    def watch_build(self, build):
        """Until it has ended well."""
        self.watch(lambda: self.build(build)["status"] in FINAL, "the build ends")
        shown = self.build(build)
        self.assertEqual(shown["status"], "completed", json.dumps(shown, indent=1))
        return shown

    def tell(self, points=""):
        """The story itself, from the start of a controller to what must be so in the end."""
        raise NotImplementedError

    def again(self):
        """A fresh scratch directory."""
        for daemon in reversed(self.daemons):
            daemon.stop()
        shutil.rmtree(self.scratch)
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-crash-"))
        (self.scratch / "tmp").mkdir()
        self.daemons = []

    def kill_at_each(self, least, sure=0.5):
        """`least`: so often the story reaches the points of this test, all of them together.
        `sure`: the part of these times that it must reach again, with the kill; 0 where chance
        decides how often there is more than `least`."""
        points = getattr(self, self._testMethodName).points
        self.tell()
        counts = collections.Counter(
            line for line in self.reached.read_text().split() if line in points)
        self.assertEqual(set(counts), set(points), "the story does not reach every point")
        self.assertGreaterEqual(sum(counts.values()), least, counts)
        killed = 0
        for point, times in sorted(counts.items()):
            for nth in range(1, times + 1):
                self.again()
                with self.subTest(point=point, nth=nth):
                    self.tell(f"{point}=kill@{nth}")
                    killed += self.was_killed()
        self.assertGreaterEqual(killed, sure * sum(counts.values()) or least)

    def was_killed(self):
        return self.controller.environment["CIRRUS_FAIL_POINTS"] == ""
