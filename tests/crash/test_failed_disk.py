"""T17: the controller's disk turns read-only or fails under it, and works again.

SPDX-License-Identifier: MIT
Each time a task runs meanwhile and says something before, during and after: its script must have run
once, and no byte of its log be missing.
"""
import json
import pathlib
import shutil
import subprocess
import unittest
import urllib.error

from harness import CIRRUS, Case, eventually

FAILING_DISK = pathlib.Path(CIRRUS).resolve().parent / "failing_disk.so"
NONE = "persistent_worker:\n  isolation:\n    none: {}\n"
TASK = NONE + """task:
  script: |
    echo before
    while [ ! -e %(scratch)s/failed ]; do sleep 0.02; done; echo during
    while [ ! -e %(scratch)s/go ]; do sleep 0.02; done; echo after; echo run >> %(scratch)s/ledger
"""


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


class FailedDisk(Case):
    """The data directory is a place where something may be mounted."""

    def setUp(self):
        super().setUp()
        self.data = self.scratch / "controller"
        self.data.mkdir()
        self.mounts = 0
        self.accepted = []

    def tearDown(self):
        try:
            for daemon in reversed(self.daemons):
                daemon.stop()
            while self.mounts:
                self.unmount()
        finally:
            super().tearDown()

    def mount(self, *arguments):
        mounted = run("mount", *arguments, str(self.data))
        if mounted.returncode != 0:
            self.skipTest(f"needs the right to mount: {mounted.stderr.strip()}")
        self.mounts += 1

    def unmount(self):
        eventually(lambda: run("umount", str(self.data)).returncode == 0, "it can be unmounted")
        self.mounts -= 1

    def accept(self, config=NONE + "task:\n  name: late\n  script: true\n"):
        self.accepted.append(self.submit(config))
        return self.accepted[-1]

    def begin(self):
        """A controller, and a task that has logged its first line."""
        self.start_controller()
        self.worker = self.start_worker()
        self.id = self.accept(TASK % {"scratch": self.scratch})
        task = self.task(self.id, "main")
        eventually(lambda: self.said(task["id"]), "the task runs")

    def said(self, task_id):
        """What the script wrote, without the commands that are echoed."""
        return [line for line in self.log_or_empty(task_id).decode().splitlines()
                if line in ("before", "during", "after")]

    def refusal(self, method, path, body=None):
        """The sentence of an answer 503; None if there is another answer."""
        try:
            answer = self.api(method, path, body)
            if method == "POST":
                self.accepted.append(answer["build"]["id"])
        except urllib.error.HTTPError as error:
            self.assertEqual(error.code, 503)
            return json.loads(error.read())["detail"]
        return None

    def check_work_is_refused(self, because):
        (self.scratch / "failed").touch()
        # Readiness is asked first: it has to find out by itself.
        self.assertIn(because, self.refusal("GET", "/readyz") or "ready")
        build = {"repository": "test/repo", "branch": "main", "config": TASK}
        for method, path, body in (("POST", "/api/v1/builds", build), ("GET", "/healthz", None),
                                   ("GET", "/readyz", None)):
            sentence = self.refusal(method, path, body) or "accepted"
            self.assertIn("cannot write its store", sentence)
            self.assertIn(because, sentence)
            self.assertIn("goes on by itself", sentence)
        project = self.scratch / "project"
        project.mkdir()
        (project / ".cirrus.yml").write_text(NONE + "task:\n  script: true\n")
        said = self.cli("build", "submit", str(project), check=3).stderr
        self.assertIn(because, said)
        self.assertIn("cannot write its store", said)
        self.assertEqual(said.count("\n"), 1, said)
        # What was accepted is still shown.
        self.assertEqual(self.build(self.id)["id"], self.id)

    def check_nothing_is_lost(self):
        (self.scratch / "go").touch()
        build = self.wait_build(self.id, "completed")
        self.assertEqual(len(build["tasks"]), 1, "the task ran again")
        self.assertEqual((self.scratch / "ledger").read_text(), "run\n")
        self.assertEqual(self.said(build["tasks"][0]["id"]), ["before", "during", "after"])
        for accepted in self.accepted:
            self.wait_build(accepted, "completed")

    def check_it_goes_on_by_itself(self):
        eventually(lambda: self.api("GET", "/readyz"), "it recovers by itself")
        self.accept()
        self.check_nothing_is_lost()
        self.controller.kill()
        self.restart_controller()
        for accepted in self.accepted:
            self.assertEqual(self.build(accepted)["status"], "completed")

    def check_it_does_not_start(self):
        """One sentence that names the directory, the reason and the way out."""
        done = run(CIRRUS, "controller", "run", "--data-dir", str(self.data),
                   "--rpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(f"the data directory {self.data} cannot be written", done.stderr)
        self.assertIn("Read-only file system", done.stderr)
        self.assertIn("--data-dir", done.stderr)


class T17_ReadOnlyDisk(FailedDisk):
    def test_a_file_system_that_fell_read_only_under_open_files(self):
        if not shutil.which("mkfs.ext4"):
            self.skipTest("mkfs.ext4 is missing")
        image = self.scratch / "image"
        with open(image, "wb") as file:
            file.truncate(96 << 20)
        made = run("mkfs.ext4", "-q", "-F", str(image))
        self.assertEqual(made.returncode, 0, made.stderr)
        disk = ("-o", "loop,errors=remount-ro", str(image))
        self.mount(*disk)
        self.begin()
        # As the kernel does after an error that it cannot mend; what was synced before is there.
        run("sync", "-f", str(self.data))
        aborted = run("mount", "-o", "remount,abort", str(self.data))
        self.assertEqual(aborted.returncode, 0, aborted.stderr)
        self.check_work_is_refused("Read-only file system")
        # The task ends while nobody can note it.
        (self.scratch / "go").touch()
        eventually(lambda: (self.scratch / "ledger").exists(), "the script ends")
        self.controller.kill()
        self.check_it_does_not_start()
        self.unmount()
        run("fsck.ext4", "-fy", str(image))
        self.mount(*disk)
        self.restart_controller()
        self.check_nothing_is_lost()

    def test_a_read_only_mount_over_the_data_directory(self):
        self.begin()
        self.mount("--bind", str(self.data))
        bound = run("mount", "-o", "remount,bind,ro", str(self.data))
        self.assertEqual(bound.returncode, 0, bound.stderr)
        self.check_work_is_refused("is read-only")
        self.unmount()
        self.check_it_goes_on_by_itself()

    def test_a_controller_does_not_start_on_one(self):
        self.mount("-t", "tmpfs", "-o", "ro", "tmpfs")
        self.check_it_does_not_start()
        self.data /= "below"
        self.check_it_does_not_start()
        self.data = self.data.parent


@unittest.skipUnless(FAILING_DISK.exists(), "needs failing_disk, which no sanitizer allows")
class T17_BrokenDisk(FailedDisk):
    def environment(self, **extra):
        return super().environment(LD_PRELOAD=str(FAILING_DISK), FAILING_DISK_ROOT=str(self.data),
                                   FAILING_DISK_SWITCH=str(self.scratch / "broken"), **extra)

    def test_every_write_fails_and_then_none(self):
        self.begin()
        (self.scratch / "broken").touch()
        self.check_work_is_refused("Input/output error")
        (self.scratch / "broken").unlink()
        self.check_it_goes_on_by_itself()


if __name__ == "__main__":
    unittest.main()
