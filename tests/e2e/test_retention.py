"""Finished builds that are too old: gone with all that is theirs, and the place says so.

SPDX-License-Identifier: MIT
"""
import sqlite3
import unittest

from harness import CIRRUS_TEST, Case, eventually, kills_at

CONFIG = "task:\n  name: t\n  persistent_worker: {}\n  main_script: %s\n"
DAY = 24 * 3600 * 1000


class Retention(Case):
    def setUp(self):
        super().setUp()
        self.data = self.scratch / "controller"
        self.start_controller()
        worker = self.start_worker()
        for command, status in (("echo one", "completed"), ("exit 1", "failed"),
                                ("echo three", "completed"), ("exit 1", "failed")):
            self.wait_build(self.submit(CONFIG % command), status)
        eventually(lambda: not self.api("GET", "/api/v1/workers/default/w1")["worker"]["tasks"],
                   "the worker is idle")
        worker.stop()
        self.controller.stop()

    def grow_old(self, days, *builds):
        """As if they had ended so long before."""
        with sqlite3.connect(self.data / "controller.db") as store:
            for build in builds:
                store.execute("UPDATE builds SET finished_ms = finished_ms - ? WHERE id = ?",
                              (days * DAY, build))
        store.close()

    def ids(self):
        return [build["id"] for build in self.api("GET", "/api/v1/builds")["builds"]]

    def logs(self):
        return sorted(path.name for path in (self.data / "logs").iterdir())

    def check(self):
        return self.cli("controller", "check", "--data-dir", str(self.data), check=0).stdout

    def test_old_builds_go_but_the_last_good_one_and_the_young_stay(self):
        self.grow_old(366, 1, 2, 3)
        self.restart_controller()
        eventually(lambda: self.ids() == ["4", "3"], "builds 1 and 2 are removed")
        eventually(lambda: self.logs() == ["3", "4"], "and the logs of their tasks")
        for command in (("build", "show", "1"), ("build", "rerun", "2"), ("build", "show", "1",
                                                                          "--follow")):
            said = self.cli(*command, check=1).stderr
            self.assertRegex(said, r"build \d of test/repo was removed on 2\d\d\d-\d\d-\d\d: "
                                   "finished builds are kept for 365 days")
        for command in (("task", "show", "1"), ("task", "logs", "2"), ("task", "rerun", "2")):
            self.assertIn("was removed with its build", self.cli(*command, check=1).stderr)
        self.assertIn("2 older builds were removed, the last on 2",
                      self.cli("build", "list", check=0).stderr)
        self.assertIn("no build 5", self.cli("build", "show", "5", check=1).stderr)
        self.assertIn("2 of 1 to 2: finished builds are kept for 365 days",
                      self.cli("audit", "list", "--action", "build.remove", check=0).stdout)
        self.assertIn("2 builds, logs of 2 tasks", self.check())
        self.assertEqual(self.submit(CONFIG % "true"), "5", "no id is given out again")

    @kills_at("retention.rows.removed")
    def test_a_crash_between_rows_and_bytes_leaves_nothing_behind(self):
        self.grow_old(366, 1, 2)
        self.controller.arguments[0] = CIRRUS_TEST
        self.controller.environment["CIRRUS_FAIL_POINTS"] = "retention.rows.removed=kill"
        self.controller.start(wait=False)
        self.assertEqual(self.controller.wait(), -9, self.controller.log())
        self.assertEqual(self.logs(), ["1", "2", "3", "4"])
        self.assertIn("all is well", self.check())
        self.controller.environment["CIRRUS_FAIL_POINTS"] = ""
        self.controller.start()
        eventually(lambda: self.logs() == ["3", "4"], "their bytes go")
        self.assertEqual(self.ids(), ["4", "3"])
        self.assertIn("all is well", self.check())

    def test_only_so_many_are_kept(self):
        self.grow_old(1, 1, 2, 3, 4)
        self.controller.arguments += ["--most-builds", "1", "--keep-builds", "0"]
        self.controller.start()
        eventually(lambda: self.ids() == ["4", "3"], "3 is the last good one")
        self.assertIn("only the newest build is kept", self.cli("build", "show", "1", check=1).stderr)


if __name__ == "__main__":
    unittest.main()
