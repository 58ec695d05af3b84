"""T19: the line between a worker and its controller is cut and heals. SPDX-License-Identifier: MIT"""
import socket
import threading
import unittest

from harness import Case, eventually, processes_with

COUNT = """persistent_worker:
  isolation:
    none: {}
task:
  name: count
  env:
    MARK: %(mark)s
    CIRRUS_WORKING_DIR: %(work)s
  script: |
    i=0; while [ ! -e go ]; do i=$((i+1)); echo line $i; sleep 0.01; done; echo $i > total
"""


class Line:
    """Forwards TCP connections to `target`, unless it is cut: then nothing gets through."""

    def __init__(self, target):
        host, port = target.split("//")[1].rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.whole = threading.Event()
        self.whole.set()
        self.lock = threading.Lock()
        self.sockets = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.whole.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(self.target)
            except OSError:
                near.close()
                continue
            with self.lock:
                self.sockets |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                # What arrives after the cut goes nowhere, and nobody is told.
                if not self.whole.is_set():
                    return
                sink.sendall(data)
        except OSError:
            pass
        finally:
            if self.whole.is_set():
                self.drop(source, sink)

    def drop(self, *sockets):
        with self.lock:
            self.sockets -= set(sockets)
        for end in sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def cut(self):
        self.whole.clear()

    def heal(self):
        with self.lock:
            ends = list(self.sockets)
        self.whole.set()
        self.drop(*ends)

    def close(self):
        self.whole.clear()
        self.listener.close()
        with self.lock:
            ends = list(self.sockets)
        self.drop(*ends)


class T19_Partition(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.line = Line(self.controller.ready["rpc_endpoint"])
        self.addCleanup(self.line.close)
        direct = self.controller.ready["rpc_endpoint"]
        self.controller.ready["rpc_endpoint"] = self.line.url
        self.start_worker("w1")
        self.controller.ready["rpc_endpoint"] = direct
        self.work = self.scratch / "work"
        self.mark = f"{self.cookie}-count"
        self.id = self.submit(COUNT % {"mark": self.mark, "work": self.work})
        self.task_id = self.wait_task(self.id, "count", "executing")["id"]
        eventually(lambda: b"line 5\n" in self.log_or_empty(self.task_id), "the task is at work")

    def lines(self):
        log = self.log_or_empty(self.task_id).decode()
        return [line for line in log.splitlines() if line.startswith("line ")]

    def test_a_short_one_costs_neither_a_byte_nor_an_attempt(self):
        self.line.cut()
        stalled = eventually(self.stalled, "the log stands still")
        (self.work / "go").touch()
        eventually(lambda: (self.work / "total").exists(), "the task ended meanwhile")
        self.assertEqual(self.task(self.id, "count")["status"], "executing")
        self.line.heal()
        build = self.wait_build(self.id, "completed", patience=120)
        total = int((self.work / "total").read_text())
        self.assertGreaterEqual(total, len(stalled))
        self.assertEqual(self.lines(), [f"line {n}" for n in range(1, total + 1)])
        self.assertEqual(build["tasks"][0]["attempt"], 1)

    def stalled(self):
        """The log, once it has stopped growing although the task goes on."""
        before = self.lines()
        written = len(before)
        seen = []

        def quiet():
            seen.append(len(self.lines()))
            return len(seen) > 50 and len(set(seen[-50:])) == 1
        eventually(quiet, "the log stands still")
        self.assertGreaterEqual(seen[-1], written)
        return self.lines()

    def test_after_a_long_one_the_old_attempt_is_fenced(self):
        self.cli("pool", "set", "default", "--lost-after", "75s", check=0)
        self.line.cut()
        frozen = eventually(self.stalled, "the log stands still")
        eventually(lambda: self.task(self.id, "count")["unreachable"], "it is unreachable", 120)
        fresh = eventually(
            lambda: (lambda t: t["id"] if t["attempt"] == 2 else None)(self.task(self.id, "count")),
            "it is run again", 120)
        self.assertTrue(processes_with(self.mark), "the old attempt still runs, cut off")
        self.line.heal()
        eventually(lambda: not processes_with(self.mark) or
                   self.task(self.id, "count")["status"] != "triggered",
                   "the old attempt is told to stop", 120)
        eventually(lambda: self.task(self.id, "count")["status"] == "executing",
                   "the new attempt starts", 120)
        self.assertEqual(self.lines(), frozen, "late bytes of the old attempt are refused")
        (self.work / "go").touch()
        build = self.wait_build(self.id, "completed", patience=120)
        self.assertEqual(build["tasks"][0]["id"], fresh)
        self.assertEqual(self.lines(), frozen)
        old = self.api("GET", f"/api/v1/tasks/{self.task_id}")["task"]
        self.assertEqual(old["status"], "aborted")
        eventually(lambda: not processes_with(self.mark), "no process of either is left")


if __name__ == "__main__":
    unittest.main()
