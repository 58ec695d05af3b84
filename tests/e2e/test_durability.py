"""kill -9 in the middle of a task. SPDX-License-Identifier: MIT"""
import os
import signal
import unittest

from harness import Case, eventually, processes_with

# Writes numbered lines until it is let go; what the log must hold is known to the byte.
COUNT = """persistent_worker:
  isolation:
    none: {}
task:
  name: count
  env:
    MARK: %s
    CIRRUS_WORKING_DIR: %s
  script: |
    i=0; while [ ! -e go ]; do i=$((i+1)); echo line $i; sleep 0.01; done; echo $i > total
  check_script: echo after
"""


class Durability(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.worker = self.start_worker()
        self.work = self.scratch / "work"
        self.mark = f"{self.cookie}-count"
        self.id = self.submit(COUNT % (self.mark, self.work))
        task = self.wait_task(self.id, "count", "executing")
        self.task_id = task["id"]
        eventually(lambda: b"line 5\n" in self.log_or_empty(self.task_id), "the task is at work")

    def release_and_check(self):
        (self.work / "go").touch()
        build = self.wait_build(self.id, "completed")
        self.assertEqual(len(build["tasks"]), 1, "the task was run again")
        self.assertEqual(build["tasks"][0]["id"], self.task_id)
        total = int((self.work / "total").read_text())
        log = self.log(self.task_id).decode()
        lines = [line for line in log.splitlines() if line.startswith("line ")]
        self.assertEqual(lines, [f"line {n}" for n in range(1, total + 1)])
        self.assertTrue(self.log(self.task_id, "check").endswith(b"after\n"))
        eventually(lambda: not processes_with(self.mark), "no process of the task is left")
        # The worker's own books are empty again.
        eventually(lambda: not [p for p in (self.scratch / "w1" / "tasks").iterdir()
                                if p.is_dir()], "the task's directory is gone")

    def lines_so_far(self):
        return self.log_or_empty(self.task_id).count(b"\n")

    def test_a_killed_worker_finds_its_task_again(self):
        self.worker.kill()
        self.assertTrue(processes_with(self.mark), "the agent died with its worker")
        self.worker.start()
        before = self.lines_so_far()
        eventually(lambda: self.lines_so_far() > before + 20, "the log goes on")
        self.release_and_check()

    def test_a_worker_that_was_away_when_the_task_ended_still_reports_it(self):
        self.worker.kill()
        (self.work / "go").touch()
        eventually(lambda: (self.work / "total").exists(), "the script ends without a worker")
        self.worker.start()
        self.release_and_check()

    def test_a_killed_controller_goes_on_where_it_was(self):
        self.controller.kill()
        self.restart_controller()
        before = self.lines_so_far()
        eventually(lambda: self.lines_so_far() > before + 20, "the log goes on")
        self.release_and_check()

    def test_both_killed_at_once(self):
        self.controller.kill()
        self.worker.kill()
        self.restart_controller()
        self.worker.start()
        before = self.lines_so_far()
        eventually(lambda: self.lines_so_far() > before + 20, "the log goes on")
        self.release_and_check()

    def test_a_task_that_ends_while_the_controller_is_away_is_not_lost(self):
        self.controller.kill()
        (self.work / "go").touch()
        eventually(lambda: (self.work / "total").exists(), "the script ends")
        self.restart_controller()
        self.release_and_check()

    def test_usr1_leaves_the_agent_to_the_next_worker(self):
        self.worker.signal(signal.SIGUSR1)
        self.assertEqual(self.worker.wait(), 0)
        self.assertTrue(processes_with(self.mark))
        self.worker.start()
        self.release_and_check()

    def test_a_killed_agent_is_reported_and_nothing_of_it_survives(self):
        marked = processes_with(self.mark)
        [agent] = [pid for pid in processes_with("cirrus-agent")
                   if any(child in marked for child in children_of(pid))]
        os.kill(agent, signal.SIGKILL)
        build = self.wait_build(self.id)
        self.assertNotEqual(build["status"], "completed")
        self.assertIn("agent process exited unexpectedly", build["tasks"][0]["reason"])
        eventually(lambda: not processes_with(self.mark), "no process of the task is left")
        self.assertIn(b"line 5\n", self.log(self.task_id))


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(child) for child in file.read().split()]
    return found


if __name__ == "__main__":
    unittest.main()
