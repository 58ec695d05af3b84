"""T16 in containers: kill -9 of the worker at each named point of a task's life, then a restart.

SPDX-License-Identifier: MIT
As test_worker_crashes.py, on throwaway engines: whatever the moment, the task ends once, ran at most
once per attempt, its log is whole, and no container, volume or process of it is left.
"""
import json
import os
import signal
import unittest

from crash_points import END, FAILURE, HANDED_OVER, HANDING_OVER, RESULTS, START_ANNOUNCED
from engines import EngineCase
from harness import CIRRUS_TEST, FINAL, eventually, processes_with

MAKING = ("container.volume.made", "container.created", "container.started",
          "worker.task.launched")
POINTS = START_ANNOUNCED + MAKING + HANDING_OVER + HANDED_OVER + RESULTS + END + FAILURE

# Writes down that it ran and leaves a process in a session of its own.
TASK = """task:
  name: t
  persistent_worker:
    isolation:
      container:
        image: cirrus.test/busybox:1
        cpu: 1
        memory: 512M
        volumes: ["%(book)s:/book"]
  env:
    MARK: %(mark)s
  script: |
    echo ran >> /book/$CIRRUS_TASK_ID
    (setsid sleep 1000 &)
    for i in 1 2 3 4 5; do echo line $i; sleep 0.02; done
    %(more)s
  check_script: echo after
"""


@unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
class ContainerCrashes(EngineCase):
    def begin(self, kind):
        self.kind = kind
        self.start_engine(kind)
        self.start_controller()
        self.book = self.scratch / "book"
        self.book.mkdir()
        self.number = 0

    def worker(self, points, **more):
        # One that is to die may do so before it is ready.
        return self.start_worker_on_engine(self.kind, program=CIRRUS_TEST, wait=not points,
                                           CIRRUS_FAIL_POINTS=points, **more)

    def build_of(self, mark, more=""):
        for path in self.book.iterdir():
            path.unlink()
        return self.submit(TASK % {"mark": mark, "book": self.book, "more": more})

    def run_through(self, point):
        """One task, a worker that dies at `point`, and one that takes over."""
        self.number += 1
        mark = f"{self.cookie}-{self.number}"
        worker = self.worker(point + "=kill")
        build = self.build_of(mark)
        self.assertEqual(worker.wait(), -signal.SIGKILL, f"{point} was not reached")
        worker = self.worker("")
        last = self.ended_once(build, "completed")
        log = self.log(last["id"]).decode()
        self.assertEqual([line for line in log.splitlines() if line.startswith("line ")],
                         [f"line {n}" for n in range(1, 6)])
        self.assertTrue(self.log(last["id"], "check").endswith(b"after\n"))
        self.nothing_is_left(mark)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)

    def ended_once(self, build, status):
        ended = self.wait_build(build, status)
        final = [task for task in ended["tasks"] if task["status"] in FINAL]
        self.assertEqual(len(final), len(ended["tasks"]))
        # Attempts have ids of their own: none ran twice, and one of all ran.
        ran = {path.name: path.read_text().count("ran\n") for path in self.book.iterdir()}
        self.assertEqual(ran, {final[-1]["id"]: 1}, "the attempt that counts is not what ran")
        return final[-1]

    def nothing_is_left(self, mark):
        eventually(lambda: not processes_with(mark), "no process of the task is left")
        tasks = self.scratch / "w" / "tasks"
        eventually(lambda: not [p for p in tasks.iterdir() if p.is_dir()],
                   "the task's directory is gone")
        eventually(lambda: not self.ours("/containers/json?all=true"), "no container is left")
        eventually(lambda: not self.ours("/volumes"), "no volume is left")

    def ours(self, path):
        answer = json.loads(self.in_engine(path))
        things = answer if isinstance(answer, list) else answer["Volumes"] or []
        return [thing for thing in things if "org.cirrus.owner" in (thing.get("Labels") or {})]

    def run_all(self, points):
        for point in points:
            with self.subTest(point):
                self.run_through(point)

    def test_t16_podman_until_the_agent_is_told(self):
        self.begin("podman")
        self.run_all(START_ANNOUNCED + MAKING + HANDED_OVER)
        # Agents in containers do not mark that they have their bootstrap: a task that may have
        # begun is not begun again.
        with self.subTest(*HANDING_OVER):
            self.number += 1
            mark = f"{self.cookie}-{self.number}"
            worker = self.worker(HANDING_OVER[0] + "=kill")
            build = self.build_of(mark)
            self.assertEqual(worker.wait(), -signal.SIGKILL)
            self.worker("")
            [task] = self.wait_build(build, "failed")["tasks"]
            self.assertIn("agent process exited unexpectedly", task["reason"])
            self.assertEqual(list(self.book.iterdir()), [])
            self.nothing_is_left(mark)

    def test_t16_podman_until_the_task_is_forgotten(self):
        self.begin("podman")
        self.run_all(RESULTS + END)

    def test_t16_docker_while_the_container_is_made_and_removed(self):
        self.begin("docker")
        self.run_all((*MAKING, "worker.task.torn-down"))

    def test_t16_podman_while_a_failure_is_reported(self):
        """The container is killed from outside; then the worker dies at a point of the end."""
        self.begin("podman")
        for point in ("worker.task.torn-down", *FAILURE):
            with self.subTest(point):
                self.number += 1
                mark = f"{self.cookie}-{self.number}"
                worker = self.worker(point + "=kill")
                build = self.build_of(mark, "sleep 1000")
                eventually(lambda: list(self.book.iterdir()), "the script runs")
                [container] = self.ours("/containers/json")
                self.in_engine(f"/containers/{container['Id']}/kill", "POST")
                self.assertEqual(worker.wait(), -signal.SIGKILL, f"{point} was not reached")
                worker = self.worker("")
                last = self.ended_once(build, "failed")
                self.assertIn("agent process exited unexpectedly", last["reason"])
                self.nothing_is_left(mark)
                worker.signal(signal.SIGTERM)
                self.assertEqual(worker.wait(), 0)

    def test_every_point_of_a_containers_life_is_in_these_tests(self):
        self.begin("podman")
        log = self.scratch / "points"
        self.worker("", CIRRUS_FAIL_POINTS_LOG=str(log))
        self.wait_build(self.build_of(self.cookie), "completed")
        tasks = self.scratch / "w" / "tasks"
        eventually(lambda: not [p for p in tasks.iterdir() if p.is_dir()], "it is forgotten")
        self.assertEqual({name for name in log.read_text().split()
                          if name.startswith(("worker.task.", "container.", "gateway."))},
                         set(POINTS) - set(FAILURE))


if __name__ == "__main__":
    unittest.main()
