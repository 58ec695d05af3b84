"""T16 in virtual machines: kill -9 of the worker at each named point of a task's life.

SPDX-License-Identifier: MIT
As test_worker_crashes.py, on the stand-in VMs: whatever the moment, the task ends once, ran once, its
log is whole, and no VM of it is left.
"""
import signal
import unittest

from crash_points import END, HANDED_OVER, HANDING_OVER, RESULTS, START_ANNOUNCED
from harness import FINAL, eventually
from vm_case import VmCase

MAKING = ("vm.cloned", "vm.started", "vm.entered", "worker.task.launched")
POINTS = START_ANNOUNCED + MAKING + HANDING_OVER + HANDED_OVER + RESULTS + END

STEPS = ("  script:\n    - echo ran; for i in 1 2 3 4 5; do echo line $i; sleep 0.02; done\n"
         "  check_script: echo after\n")


class VmCrashes(VmCase):
    def forgotten(self):
        self.no_vm_is_left()
        tasks = self.scratch / "w" / "tasks"
        eventually(lambda: not [p for p in tasks.iterdir() if p.is_dir()],
                   "the task's directory is gone")

    def die_and_go_on(self, point, status="completed"):
        """One task, a worker that dies at `point`, and one that takes over."""
        worker = self.start_dying_worker(point + "=kill")
        build = self.submit(self.config(STEPS))
        self.assertEqual(worker.wait(), -signal.SIGKILL, f"{point} was not reached")
        worker = self.start_dying_worker("")
        ended = self.wait_build(build, status)["tasks"]
        self.assertTrue(all(task["status"] in FINAL for task in ended))
        logs = "".join(self.log_or_empty(task["id"]).decode() for task in ended)
        self.forgotten()
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        return ended, logs

    def run_all(self, points):
        for point in points:
            with self.subTest(point):
                ended, logs = self.die_and_go_on(point)
                lines = [line for line in logs.splitlines()
                         if line == "ran" or line.startswith("line ")]
                self.assertEqual(lines, ["ran"] + [f"line {n}" for n in range(1, 6)])
                self.assertTrue(self.log(ended[-1]["id"], "check").endswith(b"after\n"))

    def test_t16_while_a_vm_is_made(self):
        self.run_all(START_ANNOUNCED + MAKING)

    def test_t16_while_a_task_is_handed_to_its_agent(self):
        self.run_all(HANDED_OVER)
        # Agents in guests do not mark that they have their bootstrap: a task that may have begun is
        # not begun again.
        [task], logs = self.die_and_go_on(HANDING_OVER[0], "failed")
        self.assertIn("agent process exited unexpectedly", task["reason"])
        self.assertNotIn("ran\n", logs)

    def test_t16_while_results_come_and_a_vm_is_removed(self):
        self.run_all(RESULTS + END)

    def test_every_point_of_a_vms_life_is_in_these_tests(self):
        log = self.scratch / "points"
        self.start_dying_worker("", log)
        self.wait_build(self.submit(self.config(STEPS)), "completed")
        self.forgotten()
        self.assertEqual({name for name in log.read_text().split()
                          if name.startswith(("worker.task.", "vm.", "gateway."))}, set(POINTS))


if __name__ == "__main__":
    unittest.main()
