"""kill -9 of worker and controller while a fast log streams: not a byte of it may change.

SPDX-License-Identifier: MIT
"""
import os
import pathlib
import random
import unittest

from harness import Case, eventually

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"
MIB = 1 << 20
# What it prints follows from the seed: lines and bytes of any value, in pieces of any size. It
# pauses where it is told to, so that there is something to kill in the middle of.
WRITER = """
import os, random, sys, time
draw = random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    piece = draw.randbytes(draw.randrange(1, 120_000)) if draw.random() < 0.5 else (
        b"".join(b"line %d\\n" % draw.randrange(10**9) for _ in range(draw.randrange(1, 6000))))
    while piece:
        piece = piece[os.write(1, piece):]
    time.sleep(draw.random() * 0.02)
"""


def written(seed, count):
    """The same as the script prints."""
    draw = random.Random(seed)
    pieces = []
    for _ in range(count):
        pieces.append(draw.randbytes(draw.randrange(1, 120_000)) if draw.random() < 0.5 else (
            b"".join(b"line %d\n" % draw.randrange(10**9) for _ in range(draw.randrange(1, 6000)))))
        draw.random()
    return b"".join(pieces)


class Kills(Case):
    count = 500  # some 30 MB in some 5 s

    def setUp(self):
        super().setUp()
        self.start_controller()
        self.worker = self.start_worker()
        (self.scratch / "writer.py").write_text(WRITER)

    def kept(self):
        """Bytes of logs the controller has on its disk."""
        total = 0
        for path in pathlib.Path(self.scratch / "controller").rglob("*"):
            try:
                total += path.stat().st_size if "logs" in path.parts and path.is_file() else 0
            except OSError:
                pass
        return total

    def lose_what_was_not_synced(self):
        """As when the controller's machine loses its power: a step that goes on, and has fewer bytes
        than are synced at once (32 MiB), may lose any of them."""
        [log] = (self.scratch / "controller" / "logs").glob("*/main")
        self.assertLess(log.stat().st_size, 32 * MIB)
        os.truncate(log, log.stat().st_size // 3)

    def run_killing(self, seed, *whom):
        """Each of `whom` is killed when three more MiB of the log have come."""
        command = f"python3 {self.scratch}/writer.py {seed} {self.count}"
        build = self.submit(NONE + f"task:\n  name: t\n  script: {command}\n")
        for name in whom:
            before = self.kept()
            eventually(lambda: self.kept() > before + 3 * MIB, f"the log goes on before {name}")
            if "worker" in name:
                self.worker.kill()
            if "controller" in name:
                self.controller.kill()
                if "power" in name:
                    self.lose_what_was_not_synced()
                self.restart_controller()
            if "worker" in name:
                self.worker.start()
        [task] = self.wait_build(build, "completed", patience=120)["tasks"]
        self.assertEqual(task["attempt"], 1)
        log = self.log(task["id"])
        wanted = f"{command}\n".encode() + written(seed, self.count)
        self.assertEqual(len(log), len(wanted))
        self.assertTrue(log == wanted, "bytes of the log changed")

    def test_killed_workers_cost_no_byte_of_a_fast_log(self):
        self.run_killing(1, "worker", "worker", "worker")

    def test_killed_controllers_cost_no_byte_of_a_fast_log(self):
        self.run_killing(2, "controller", "controller", "controller")

    def test_a_controller_that_loses_its_power_gets_the_bytes_again(self):
        self.count = 300
        self.run_killing(4, "controller without power", "controller without power")

    def test_both_killed_in_turn_and_together_cost_no_byte_of_a_fast_log(self):
        self.run_killing(3, "worker", "controller", "worker and controller")


if __name__ == "__main__":
    unittest.main()
