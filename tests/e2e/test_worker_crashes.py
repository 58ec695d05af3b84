"""T16: kill -9 of the worker at each named point of a task's life, then a restart.

SPDX-License-Identifier: MIT
The worker is `cirrus-test`, which dies where CIRRUS_FAIL_POINTS says. Whatever the moment: the task
ends once, ran at most once per attempt, its log is whole, and nothing of it is left on the machine.
"""
import pathlib
import signal
import unittest

from crash_points import END, FAILURE, RESULTS
from harness import FINAL, Case, eventually, processes_with

START = ("worker.task.assigned", "worker.task.recorded", "worker.task.launched",
         "worker.task.announced")
MAKING = ("none.directory.made", "none.directory.noted", "none.directory.named",
          "none.group.made", "none.agent.spawned")
HANDING_OVER = ("worker.task.handing-over", "worker.task.handed-over")
POINTS = START + MAKING + HANDING_OVER + RESULTS + END + FAILURE

# Writes down that it ran, leaves a process in a session of its own, and ends on its own account.
TASK = """persistent_worker:
  isolation:
    none: {}
task:
  name: t
  env:
    MARK: %(mark)s
    BOOK: %(book)s
  script: |
    echo ran >> $BOOK/$CIRRUS_TASK_ID
    (setsid sleep 1000 &)
    for i in 1 2 3 4 5; do echo line $i; sleep 0.02; done
  check_script: echo after
"""
DYING = """persistent_worker:
  isolation:
    none: {}
task:
  name: t
  env:
    MARK: %(mark)s
    BOOK: %(book)s
  script: echo ran >> $BOOK/$CIRRUS_TASK_ID; (setsid sleep 1000 &); kill -9 $PPID
"""


class WorkerCrashes(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.book = self.scratch / "book"
        self.book.mkdir()
        self.number = 0

    def worker(self, points, log=None):
        self.number += 1
        return self.start_dying_worker(points, log)

    def run_through(self, point, config=TASK, status="completed"):
        """One task, a worker that dies at `point`, and one that takes over."""
        mark = f"{self.cookie}-{self.number}"
        for path in self.book.iterdir():
            path.unlink()
        worker = self.worker(point + "=kill")
        build = self.submit(config % {"mark": mark, "book": self.book})
        self.assertEqual(worker.wait(), -signal.SIGKILL, f"{point} was not reached")
        worker = self.worker("")
        ended = self.wait_build(build, status)
        final = [task for task in ended["tasks"] if task["status"] in FINAL]
        self.assertEqual(len(final), len(ended["tasks"]))
        # Attempts have ids of their own: none ran twice, and one of all ran.
        ran = {path.name: path.read_text().count("ran\n") for path in self.book.iterdir()}
        self.assertEqual(list(ran.values()), [1], ran)
        last = final[-1]
        self.assertEqual(list(ran), [last["id"]], "the attempt that counts is not the one that ran")
        if status == "completed":
            log = self.log(last["id"]).decode()
            self.assertEqual([line for line in log.splitlines() if line.startswith("line ")],
                             [f"line {n}" for n in range(1, 6)])
            self.assertTrue(self.log(last["id"], "check").endswith(b"after\n"))
        else:
            self.assertIn("agent process exited unexpectedly", last["reason"])
        eventually(lambda: not processes_with(mark), "no process of the task is left")
        self.nothing_is_left(worker)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        eventually(lambda: not self.own_groups(), "no control group is left")

    def nothing_is_left(self, worker):
        tasks = self.scratch / "w" / "tasks"
        eventually(lambda: not [p for p in tasks.iterdir() if p.is_dir()],
                   "the task's directory is gone")
        temporary = self.scratch / "tmp"
        eventually(lambda: not [p for p in temporary.iterdir()
                                if p.name.startswith(("cirrus-build", "cirrus-scratch"))],
                   "the working directory is gone")
        self.assertIsNone(worker.process.poll(), worker.log())

    def own_groups(self):
        owner = (self.scratch / "w" / "instance-id").read_text()[:8]
        found = []
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/freezer"):
            for directory in pathlib.Path(root).glob(f"**/cirrus-{owner}-*"):
                found.append(directory)
        return found

    def run_all(self, points):
        for point in points:
            with self.subTest(point):
                self.run_through(point)

    def test_t16_while_a_task_starts(self):
        self.run_all(START)

    def test_t16_while_its_place_is_made(self):
        self.run_all(MAKING)

    def test_t16_while_the_agent_is_told(self):
        self.run_all(HANDING_OVER)

    def test_t16_while_results_come(self):
        self.run_all(RESULTS)

    def test_t16_while_a_task_ends(self):
        self.run_all(END)

    def test_t16_while_a_failure_is_reported(self):
        for point in ("worker.task.agent-gone", "worker.task.torn-down", "worker.task.ended",
                      *FAILURE):
            with self.subTest(point):
                self.run_through(point, DYING, "failed")

    def test_t16_again_and_again(self):
        """The same task meets a dying worker at every stage."""
        mark = f"{self.cookie}-again"
        build = None
        for point in ("worker.task.recorded", "worker.task.launched", "worker.task.handing-over",
                      "gateway.log.sent", "gateway.result.sent", "worker.task.torn-down",
                      "worker.task.ended"):
            worker = self.worker(point + "=kill")
            if build is None:
                build = self.submit(TASK % {"mark": mark, "book": self.book})
            self.assertEqual(worker.wait(), -signal.SIGKILL, f"{point} was not reached")
        worker = self.worker("")
        ended = self.wait_build(build, "completed")
        ran = {path.name: path.read_text().count("ran\n") for path in self.book.iterdir()}
        self.assertEqual(ran, {ended["tasks"][-1]["id"]: 1})
        eventually(lambda: not processes_with(mark), "no process of the task is left")
        self.nothing_is_left(worker)

    def test_every_point_of_a_tasks_life_is_in_these_tests(self):
        log = self.scratch / "points"
        self.worker("", log)
        for config, status in ((TASK, "completed"), (DYING, "failed")):
            build = self.submit(config % {"mark": self.cookie, "book": self.book})
            self.wait_build(build, status)
        tasks = self.scratch / "w" / "tasks"
        eventually(lambda: not [p for p in tasks.iterdir() if p.is_dir()], "both are forgotten")
        self.assertEqual({name for name in log.read_text().split()
                          if name.startswith(("worker.task.", "none.", "gateway."))}, set(POINTS))


if __name__ == "__main__":
    unittest.main()
