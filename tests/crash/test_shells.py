"""T17: kill -9 of the controller at every write of a shell's recording.

SPDX-License-Identifier: MIT
What a person was shown before is in a recording afterwards, and another shell can be opened.
"""
import subprocess
import unittest

from harness import CIRRUS, PATIENCE, kills_at
from story import Story

CONFIG = """persistent_worker:
  isolation:
    none: {}
task:
  name: t
  script: echo begun; while [ ! -e %(scratch)s/go ]; do sleep 0.05; done
"""


class T17_KilledWhileAShellIsRecorded(Story):
    def open_shell(self):
        """What a person sees who types a line and leaves."""
        environment = self.environment(
            CIRRUS_API_URL=self.controller.ready["http_url"],
            CIRRUS_API_TOKEN_FILE=self.controller.ready["admin_token_file"])
        return subprocess.run([CIRRUS, "task", "shell", self.id], env=environment,
                              input=b"echo word-$((40+2))\nexit\n", capture_output=True,
                              timeout=PATIENCE * 2).stdout

    def tell(self, points=""):
        self.start(points)
        self.serve()
        self.api("POST", "/api/v1/pools/default", {"record_shells": True})
        worker = self.start_worker()
        build = self.submit_once(CONFIG % {"scratch": self.scratch})
        self.id = self.task(build, "t")["id"]
        self.watch(lambda: b"begun\n" in self.log_or_empty(self.id), "the script runs")
        notice = f"this shell is recorded: what it shows is kept with the logs of task {self.id}\r\n"
        shown = []

        def is_seen():
            before, _, seen = self.open_shell().partition(notice.encode())
            self.assertEqual(before, b"")
            shown.append(seen)
            return b"word-42\r\n" in seen
        self.watch(is_seen, "a person sees what was typed")
        (self.scratch / "go").touch()
        self.watch_build(build)
        records = self.api("GET", f"/api/v1/tasks/{self.id}/shells")["shells"]
        kept = [self.api("GET", f"/api/v1/tasks/{self.id}/shells/{one['number']}", raw=True)
                for one in records]
        for seen in shown:
            self.assertTrue(any(one.startswith(seen) for one in kept), f"{seen} is not in {kept}")
        worker.stop()

    @kills_at("shells.write.before", "shells.write.after")
    def test_at_every_write_of_a_recording(self):
        # The header and what is shown, which may come in one piece or in a dozen, before and after.
        self.kill_at_each(4, sure=0)


if __name__ == "__main__":
    unittest.main()
