"""T23: more log than anybody reads. It is held back at its source, kept in order, and costs no memory.

SPDX-License-Identifier: MIT
"""
import pathlib
import re
import resource
import socket
import threading
import unittest
import urllib.request

from harness import PATIENCE, Case, decode_events, eventually, log_bytes

NONE = "persistent_worker:\n  isolation:\n    none: {}\n"
# The agent is the parent of the task's scripts.
PEAK = "  always:\n    peak_script: grep VmHWM /proc/$PPID/status\n"
MOST_OF_AN_AGENT = 128 << 10  # KiB
MOST_OF_A_DAEMON = 256 << 10  # KiB
READERS, LAZY = 50, 950


def peak_in(status):
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))


class T23_LogStorm(Case):
    def setUp(self):
        super().setUp()
        self.raise_limit()
        self.start_controller()
        self.worker = self.start_worker()

    def raise_limit(self):
        """Of descriptors, for the daemons too."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 3000:
            self.skipTest(f"only {hard} files may be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def token(self):
        return pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()

    def run_storm(self, script):
        """The task's id, when it has ended and nobody has grown."""
        build = self.submit(NONE + f"task:\n  name: t\n  script: |\n    set +v\n    {script}\n" + PEAK)
        [task] = self.wait_build(build, "completed", patience=200)["tasks"]
        self.assertLess(peak_in(self.log(task["id"], "peak").decode()), MOST_OF_AN_AGENT)
        self.check_daemons()
        return task["id"]

    def check_daemons(self):
        for daemon in (self.controller, self.worker):
            status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
            self.assertLess(peak_in(status), MOST_OF_A_DAEMON, daemon.name)

    def pieces_of(self, task):
        request = urllib.request.Request(
            f"{self.controller.ready['http_url']}/api/v1/tasks/{task}/logs/main")
        request.add_header("Authorization", f"Bearer {self.token()}")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            while piece := answer.read(1 << 20):
                yield piece

    def test_a_gigabyte_without_a_newline(self):
        size = 1 << 30
        task = self.run_storm(f"head -c {size} /dev/zero | tr '\\0' x; printf END")
        begun, total, end = b"", 0, b""
        for piece in self.pieces_of(task):
            total += piece.count(b"x")
            begun = begun or piece[:7]
            end = (end + piece)[-3:]
        self.assertEqual((begun, total, end), (b"set +v\n", size, b"END"))

    def test_ten_million_lines_as_fast_as_they_can_be_written(self):
        count = 10_000_000
        log = b"".join(self.pieces_of(self.run_storm(f"seq 1 {count}")))
        self.assertTrue(log == b"set +v\n" + b"".join(b"%d\n" % n for n in range(1, count + 1)),
                        "every line, in order")

    def follower(self, task):
        """A connection that has asked for everything."""
        url = self.controller.ready["http_url"].split("//")[1].split(":")
        reader = socket.create_connection((url[0], int(url[1])), timeout=PATIENCE)
        self.addCleanup(reader.close)
        reader.sendall(f"GET /api/v1/tasks/{task}/logs/main?follow=1 HTTP/1.1\r\nHost: x\r\n"
                       f"Authorization: Bearer {self.token()}\r\n\r\n".encode())
        return reader

    def read_all(self, task, seen):
        request = urllib.request.Request(
            f"{self.controller.ready['http_url']}/api/v1/tasks/{task}/logs/main?follow=1")
        request.add_header("Authorization", f"Bearer {self.token()}")
        with urllib.request.urlopen(request, timeout=PATIENCE * 2) as stream:
            log = bytearray()
            for name, data in decode_events(stream):
                if name == "end":
                    break
                if name == "log":
                    log += log_bytes(data)
        seen.append(bytes(log))

    def test_a_thousand_browsers_on_one_log(self):
        build = self.submit(NONE + "task:\n  name: t\n  script: |\n    set +v\n    echo begun\n"
                            f"    while [ ! -e {self.scratch}/go ]; do sleep 0.05; done\n"
                            "    seq 1 400000\n")
        task = self.task(build, "t")["id"]
        eventually(lambda: b"begun\n" in self.log_or_empty(task), "the script runs")
        lazy = [self.follower(task) for _ in range(LAZY)]
        seen = []
        readers = [threading.Thread(target=self.read_all, args=(task, seen)) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        (self.scratch / "go").touch()
        self.wait_build(build, "completed", patience=200)
        for reader in readers:
            reader.join()
        wanted = b"set +v\nbegun\n" + b"".join(b"%d\n" % n for n in range(1, 400_001))
        self.assertEqual([log == wanted for log in seen], [True] * READERS)
        self.check_daemons()
        # Those who read nothing were served all the same, and cost the others nothing.
        self.assertTrue(all(one.recv(12) == b"HTTP/1.1 200" for one in lazy))


if __name__ == "__main__":
    unittest.main()
