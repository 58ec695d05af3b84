"""Several workers, labels, resources, names. SPDX-License-Identifier: MIT"""
import signal
import unittest

from harness import FINAL, Case, eventually


class Fleet(Case):
    def test_fifty_tasks_over_four_workers_respect_labels_and_resources(self):
        self.start_controller()
        for name, colour in (("w1", "red"), ("w2", "red"), ("w3", "blue"), ("w4", "blue")):
            self.start_worker(name=name, labels=(f"colour={colour}",), resources=("slots=2",))
        config = ""
        book = self.scratch / "book"
        book.mkdir()
        for n in range(50):
            colour = "red" if n % 2 else "blue"
            config += (
                f"task:\n  name: t{n}\n  persistent_worker:\n    labels:\n      colour: {colour}\n"
                f"    isolation:\n      none: {{}}\n    resources:\n      slots: 1\n"
                f"  script:\n    - touch {book}/in-$(date +%s%N)-t{n}\n    - sleep 0.05\n"
                f"    - touch {book}/out-$(date +%s%N)-t{n}\n")
        build = self.submit(config)
        ended = self.wait_build(build, "completed")
        self.assertEqual(len(ended["tasks"]), 50)
        allowed = {"red": {"w1", "w2"}, "blue": {"w3", "w4"}}
        worker_of = {}
        for n, task in enumerate(ended["tasks"]):
            self.assertIn(task["worker"], allowed["red" if n % 2 else "blue"])
            worker_of[task["name"]] = task["worker"]
        self.assertEqual(set(worker_of.values()), {"w1", "w2", "w3", "w4"})
        # Replays what the scripts wrote down: never more than two at once on one worker.
        events = []
        for path in book.iterdir():
            kind, moment, name = path.name.split("-")
            events.append((int(moment), 1 if kind == "in" else -1, worker_of[name]))
        running = {}
        for _, change, worker in sorted(events):
            running[worker] = running.get(worker, 0) + change
            self.assertLessEqual(running[worker], 2)

    def test_three_tasks_on_two_virtual_machines_slots_never_exceed_two(self):
        # The product document's example, with isolation none in place of the VM.
        self.start_controller()
        self.start_worker(name="mac-mini-1", resources=("tart-vms=2",))
        book = self.scratch / "book"
        book.mkdir()
        config = ("persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    tart-vms: 1\n")
        for name in ("Test", "Build", "Release"):
            config += (f"task:\n  name: {name}\n  script:\n    - touch {book}/{name}\n"
                       f"    - ls {book} | wc -l\n    - sleep 0.3\n    - ls {book} | wc -l\n"
                       f"    - rm {book}/{name}\n")
        ended = self.wait_build(self.submit(config), "completed")
        for task in ended["tasks"]:
            counts = [int(line) for line in self.log(task["id"]).decode().splitlines()
                      if line.strip().isdigit()]
            self.assertLessEqual(max(counts), 2)

    def test_why_a_task_waits_is_a_sentence(self):
        self.start_controller()
        self.start_worker(name="linux-1", labels=("kind=linux",))
        build = self.submit("task:\n  name: mac\n  persistent_worker:\n    labels:\n"
                            "      kind: darwin\n  script: uname\n")
        task = self.build(build)["tasks"][0]
        eventually(lambda: "darwin" in self.cli("task", "why", task["id"]).stdout,
                   "the reason names the label")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")

    def test_a_second_worker_of_a_live_name_is_refused(self):
        self.start_controller()
        self.start_worker(name="twin")
        eventually(lambda: self.api("GET", "/api/v1/workers")["workers"], "the first is known")
        second = self.start_worker(name="twin", data="other", wait=False)
        self.assertEqual(second.wait(), 3, second.log())
        self.assertIn("twin", second.log())

    def test_a_restarted_worker_takes_its_name_over_at_once(self):
        self.start_controller()
        worker = self.start_worker(name="again")
        worker.kill()
        worker.start()
        build = self.submit("task:\n  name: t\n  persistent_worker: {}\n  script: echo x\n")
        self.wait_build(build, "completed")

    def test_draining_finishes_what_runs_and_takes_nothing_new(self):
        self.start_controller()
        worker = self.start_worker(name="drained")
        gate = self.scratch / "gate"
        build = self.submit("task:\n  name: t\n  persistent_worker:\n    resources:\n      cpu: 1\n"
                            f"  script: while [ ! -e {gate} ]; do sleep 0.02; done\n")
        self.wait_task(build, "t", "executing")
        worker.signal(signal.SIGTERM)
        eventually(lambda: "draining" in worker.log(), "the worker drains")
        other = self.submit("task:\n  name: u\n  persistent_worker:\n    resources:\n      cpu: 1\n"
                            "  script: echo no\n")
        gate.touch()
        self.wait_build(build, "completed")
        self.assertEqual(worker.wait(), 0)
        self.assertNotIn(self.build(other)["status"], FINAL)

    def test_paused_workers_get_nothing_until_resumed(self):
        self.start_controller()
        self.start_worker(name="p")
        flags = ("--name", "p", "--token-file", self.controller.ready["registration_token_file"],
                 "--rpc-endpoint", self.controller.ready["rpc_endpoint"])
        self.cli("worker", "pause", *flags, check=0)
        build = self.submit("task:\n  name: t\n  persistent_worker: {}\n  script: echo x\n")
        task = self.build(build)["tasks"][0]
        eventually(lambda: "paused" in self.cli("task", "why", task["id"]).stdout,
                   "the reason says paused")
        self.cli("worker", "resume", *flags, check=0)
        self.wait_build(build, "completed")


if __name__ == "__main__":
    unittest.main()
