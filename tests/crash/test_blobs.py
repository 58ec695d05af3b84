"""T17: kill -9 of the controller while a cache, an artifact or a saved log is put in place.

SPDX-License-Identifier: MIT
Between the kill and the restart the thing is whole or absent; afterwards it is whole, its task has
run once, and nothing temporary is left.
"""
import sqlite3
import subprocess
import unittest

from harness import eventually, kills_at
from story import Story

UPLOADS = """persistent_worker:
  isolation:
    none: {}
task:
  name: build
  deps_cache:
    folder: deps
    fingerprint_key: deps-v1
    populate_script: mkdir deps && seq 1 20000 > deps/file
  script: echo run >> %(ledger)s; mkdir -p out/sub && seq 1 3000 | tee out/a > out/sub/b
  out_artifacts:
    path: out/**
"""
USES = """persistent_worker:
  isolation:
    none: {}
task:
  name: use
  deps_cache:
    folder: deps
    fingerprint_key: deps-v1
    populate_script: mkdir deps
  script: cksum < deps/file
"""
NUMBERS = "".join(f"{n}\n" for n in range(1, 3001)).encode()


class Blobs(Story):
    def revive(self):
        point = self.reached.read_text().split()[-1]
        what, when = point.rsplit(".", 1)
        present = self.in_place(what.split(".")[0])
        self.assertEqual(present, when == "after", f"killed at {point}")
        super().revive()

    def in_place(self, what):
        """Whether it is there, and then it is whole."""
        raise NotImplementedError

    def check_nothing_temporary(self):
        eventually(lambda: not list((self.scratch / "controller" / "tmp").rglob("*")),
                   "nothing temporary is left")


class T17_KilledWhileUploadsAreStored(Blobs):
    def in_place(self, what):
        files = [path.read_bytes() for path in (self.scratch / "controller" / what).rglob("*")
                 if path.is_file()]
        if what == "caches":
            self.assertTrue(all(cache.startswith(b"CIRRUSC1") for cache in files))
        elif files:
            self.assertEqual(len(files), 3, "two files and their list")
            self.assertEqual(files.count(NUMBERS), 2)
        return bool(files)

    def tell(self, points=""):
        self.start(points)
        self.serve()
        worker = self.start_worker()
        shown = self.watch_build(self.submit_once(UPLOADS % {"ledger": self.ledger}))
        self.watch(lambda: not self.api("GET", "/api/v1/workers/default/w1")["worker"]["tasks"],
                   "the worker is idle")
        self.assertEqual(self.ledger.read_text(), "run\n", "the script runs once")
        [task] = shown["tasks"]
        target = self.scratch / "artifacts"
        self.cli("artifact", "get", task["id"], "out", "--into", str(target), check=0)
        got = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
        self.assertEqual(got, {"a": NUMBERS, "b": NUMBERS})
        self.assertTrue(self.in_place("caches"), "the cache is lost")
        self.check_nothing_temporary()
        [use] = self.wait_build(self.submit(USES), "completed")["tasks"]
        self.assertIn(b"Cache hit for 'deps-v1'", self.log(use["id"], "deps"))
        expected = subprocess.run("seq 1 20000 | cksum", shell=True, check=True,
                                  capture_output=True).stdout
        self.assertTrue(self.log(use["id"]).endswith(expected))
        worker.stop()

    @kills_at("caches.publish.before", "caches.publish.after")
    def test_of_a_cache(self):
        self.kill_at_each(2, sure=1)

    @kills_at("artifacts.publish.before", "artifacts.publish.after")
    def test_of_an_artifact(self):
        self.kill_at_each(2, sure=1)


def field(number, payload):
    """A length-delimited field of a protobuf message shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def grpc_message(payload):
    return b"\0" + len(payload).to_bytes(4, "big") + payload


class T17_KilledWhileALogIsSaved(Blobs):
    """As an agent of the reference does it: the log of a step once more, whole."""

    WHOLE = b"what the agent saved"

    def in_place(self, what):
        self.assertEqual(what, "logs")
        path = self.scratch / "controller" / "logs" / self.task_id / "later"
        if path.exists():
            self.assertEqual(path.read_bytes(), self.WHOLE)
        return path.exists()

    def save(self):
        """The answer's head and trailers. The step has not begun: nobody else writes to its log."""
        with sqlite3.connect(f"file:{self.scratch}/controller/controller.db?mode=ro",
                             uri=True) as store:
            [secret] = store.execute("SELECT client_secret FROM tasks").fetchone()
        head = field(1, field(2, b"later"))
        body = self.scratch / "saved"
        body.write_bytes(grpc_message(head) + grpc_message(field(2, field(1, self.WHOLE))))
        done = subprocess.run(
            ["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-D", "-",
             "-H", "content-type: application/grpc", "-H", "te: trailers",
             "-H", f"org.cirruslabs.task-id: {self.task_id}",
             "-H", f"org.cirruslabs.client-secret: {secret.decode()}",
             "--data-binary", f"@{body}", self.controller.ready["rpc_endpoint"] +
             "/org.cirruslabs.ci.services.cirruscigrpc.CirrusCIService/SaveLogs"],
            capture_output=True, text=True, check=False)
        return done.stdout.lower()

    def tell(self, points=""):
        self.start(points)
        self.serve()
        worker = self.start_worker()
        build = self.submit("persistent_worker:\n  isolation:\n    none: {}\ntask:\n"
                            f"  script: while [ ! -e {self.scratch}/go ]; do sleep 0.02; done\n"
                            "  later_script: true\n")
        self.task_id = self.wait_task(build, "main", "executing")["id"]
        self.watch(lambda: "grpc-status: 0" in self.save(), "the log is saved")
        self.assertEqual(self.log(self.task_id, "later"), self.WHOLE)
        self.check_nothing_temporary()
        (self.scratch / "go").touch()
        self.watch_build(build)
        worker.stop()

    @kills_at("logs.replace.before", "logs.replace.after")
    def test_of_a_log(self):
        self.kill_at_each(2, sure=1)


if __name__ == "__main__":
    unittest.main()
