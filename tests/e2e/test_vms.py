"""Tasks in virtual machines.

SPDX-License-Identifier: MIT
"""
import contextlib
import fcntl
import os
import pathlib
import re
import signal
import subprocess
import unittest

from harness import eventually
from vm_case import VmCase


def open_files(pid):
    found = []
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(entry))
    return found


class Vms(VmCase):
    def test_a_task_runs_in_a_guest_and_leaves_nothing(self):
        self.start_worker()
        task = self.finish(self.config(
            "  script:\n    - whoami; echo $FROM_PROFILE; pwd; echo $CIRRUS_VM_ID\n"
            "    - echo only here > /tmp/mark\n", cpu=2, memory="4G"))
        log = self.log(task["id"]).decode()
        self.assertIn("admin\nyes\n/tmp/cirrus-ci-build\n", log)
        self.assertRegex(log, r"\ncirrus-[0-9a-f]{8}-1-[0-9a-f]{8}\n")
        self.assertFalse(pathlib.Path("/tmp/mark").exists())
        self.no_vm_is_left()
        self.assertEqual([words[:2] for words in self.trace() if words[1] != "ip"],
                         [["vetu", verb] for verb in
                          ("pull", "clone", "set", "set", "run", "stop", "delete")])
        self.assertEqual(self.trace()[2][3:], ["--cpu", "2"])

    def test_a_look_at_a_vm_does_not_keep_it_from_starting(self):
        """Of the stand-in itself: a worker asks for the address while the VM's `run` begins."""
        subprocess.run([self.programs / "vetu", "clone", f"guest-{self.port}", "v"],
                       env=self.environment(), check=True)
        lock = self.scratch / "vms" / "v" / "lock"
        with open(lock, "a") as look:
            fcntl.flock(look, fcntl.LOCK_SH)
            run = subprocess.Popen([self.programs / "vetu", "run", "v"], env=self.environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            eventually(lambda: str(lock) in open_files(run.pid), "the VM wants its lock")
        eventually((lock.parent / "pid").exists, "the VM runs")
        for verb in ("stop", "delete"):
            subprocess.run([self.programs / "vetu", verb, "v"], env=self.environment(), check=True)
        run.wait()

    def test_tart_too_with_its_own_words(self):
        self.start_worker()
        source = self.scratch / "shared"
        task = self.finish(self.config(
            "  script: echo hello\n", tool="tart", softnet="true"))
        self.assertTrue(self.log(task["id"]).endswith(b"echo hello\nhello\n"))
        [run] = [words for words in self.trace() if words[1] == "run"]
        self.assertIn("--net-softnet", run)
        self.assertFalse(source.exists())

    def test_caches_and_artifacts_work_from_a_guest(self):
        self.start_worker()
        config = self.config(
            "  deps_cache:\n    folder: deps\n    fingerprint_key: k\n"
            "    populate_script: mkdir deps; echo one > deps/x\n"
            "  script: head -c 3000000 /dev/zero > big; cat deps/x\n"
            "  out_artifacts:\n    path: big\n")
        first = self.finish(config)
        self.assertIn(b"Cache miss", self.log(first["id"], "deps"))
        self.assertIn(b"Stored 1 artifact", self.log(first["id"], "out"))
        second = self.finish(config)
        self.assertIn(b"Cache hit for 'k'", self.log(second["id"], "deps"))
        target = self.scratch / "artifacts"
        self.cli("artifact", "get", second["id"], "out", "--into", str(target), check=0)
        [big] = target.rglob("big")
        self.assertEqual(big.stat().st_size, 3000000)

    def test_a_failing_script_and_a_timeout(self):
        self.start_worker()
        task = self.finish(self.config("  script: exit 3\n"), "failed")
        self.assertTrue(self.log(task["id"]).endswith(b"Exit status: 3"))
        task = self.finish(self.config("  script: sleep 1000\n", more="  timeout_in: 2s\n"),
                           "failed")
        self.assertIn(b"Timed out!", self.log(task["id"]))
        self.no_vm_is_left()

    def test_a_cancelled_task_takes_its_vm_along(self):
        self.start_worker()
        build = self.submit(self.config("  script: echo begun; sleep 1000\n"))
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        self.api("POST", f"/api/v1/tasks/{task['id']}/cancel")
        self.wait_build(build)
        self.no_vm_is_left()

    def test_a_task_whose_vm_dies_fails_with_a_sentence(self):
        self.start_worker()
        build = self.submit(self.config("  script: echo begun; sleep 1000\n"))
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        [vm] = self.vms()
        os.kill(int((self.scratch / "vms" / vm / "pid").read_text()), signal.SIGKILL)
        ended = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn("VM stopped running", ended["reason"])
        self.no_vm_is_left()

    def test_what_fails_before_the_boot_is_said(self):
        self.variables["CIRRUS_VM_FAIL"] = "clone:no space left on device"
        self.start_worker()
        task = self.finish(self.config("  script: echo never\n"), "failed")
        self.assertIn("no space left on device", task["reason"])

    def test_a_wrong_password_is_said(self):
        self.start_worker()
        config = self.config("  script: echo never\n").replace("password: admin", "password: x")
        task = self.finish(config, "failed")
        self.assertIn("login of 'admin' was refused", task["reason"])
        self.no_vm_is_left()

    def test_a_full_disk_in_the_guest_is_said(self):
        self.variables["CIRRUS_VM_TMP"] = ",size=1m"
        self.start_worker()
        task = self.finish(self.config("  script: echo never\n"), "failed")
        self.assertIn("putting the agent into the guest", task["reason"])
        self.no_vm_is_left()

    def test_an_agent_that_is_in_the_image_is_not_sent_again(self):
        """A guest whose disk has no room for an agent runs one that it has."""
        self.variables["CIRRUS_VM_TMP"] = ",size=1m"
        self.variables["CIRRUS_VM_AGENTS"] = str(self.scratch / "w1" / "agents")
        self.start_worker()
        task = self.finish(self.config("  script: echo hello\n"))
        self.assertTrue(self.log(task["id"]).endswith(b"hello\n"))

    def test_a_missing_tool_is_said(self):
        (self.programs / "vetu").unlink()
        self.start_worker()
        task = self.finish(self.config("  script: echo never\n"), "failed")
        self.assertIn("'vetu' is not on PATH", task["reason"])

    def test_a_broken_connection_is_made_again_and_the_script_does_not_notice(self):
        self.start_worker()
        build = self.submit(self.config(
            "  script:\n    - echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo done\n"
            "    - seq 1000\n"))
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        # The server's processes of the connection, in the guest, belong to `admin`.
        [vm] = self.vms()
        run = int((self.scratch / "vms" / vm / "pid").read_text())
        for pid in self.connections_of(run):
            os.kill(pid, signal.SIGKILL)
        self.touch_in_guest(run, "/tmp/go")
        self.wait_build(build, "completed")
        log = self.log(task["id"])
        self.assertTrue(log.endswith(b"done\nseq 1000\n" + b"".join(
            b"%d\n" % n for n in range(1, 1001))))

    def test_a_killed_worker_finds_its_vm_again(self):
        worker = self.start_worker()
        build = self.submit(self.config(
            "  script: echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo done\n"))
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        [vm] = self.vms()
        worker.kill()
        self.touch_in_guest(int((self.scratch / "vms" / vm / "pid").read_text()), "/tmp/go")
        worker.start()
        self.wait_build(build, "completed")
        self.assertTrue(self.log(task["id"]).endswith(b"begun\ndone\n"))
        self.no_vm_is_left()

    def test_standby_is_taken_by_a_task_that_equals_it(self):
        worker = self.standby()
        [waiting] = self.vms()
        self.assertIn("-standby-", waiting)
        task = self.finish(self.config("  script: echo $CIRRUS_VM_ID\n"))
        self.assertTrue(self.log(task["id"]).endswith(waiting.encode() + b"\n"))
        self.assertIn("standby instance taken", worker.log())

    def test_a_standby_that_died_is_replaced(self):
        worker = self.standby()
        [waiting] = self.vms()
        os.kill(int((self.scratch / "vms" / waiting / "pid").read_text()), signal.SIGKILL)
        eventually(lambda: worker.log().count("standby instance ready") == 2, "another stands by")
        eventually(lambda: len(self.vms()) == 1 and self.vms() != [waiting], "the dead one is gone")
        task = self.finish(self.config("  script: echo $CIRRUS_VM_ID\n"))
        self.assertIn(b"-standby-", self.log(task["id"]))

    def test_another_task_ends_the_single_standby(self):
        """The product's document: otherwise the standby VM will be terminated."""
        self.standby()
        [waiting] = self.vms()
        self.finish("persistent_worker:\n  isolation:\n    none: {}\n"
                    "task:\n  name: t\n  script: echo\n")
        eventually(lambda: waiting not in self.vms(), "the one that stood by is gone")

    def test_other_parameters_end_what_stood_by_under_the_old(self):
        worker = self.standby()
        [old] = self.vms()
        file = self.scratch / "worker.yml"
        file.write_text(file.read_text() + "      cpu: 3\n")
        worker.signal(signal.SIGHUP)
        eventually(lambda: worker.log().count("standby instance ready") == 2, "another stands by")
        eventually(lambda: len(self.vms()) == 1 and self.vms() != [old], "the old one is gone")
        [new] = self.vms()
        self.assertIn(["vetu", "set", new, "--cpu", "3"], self.trace())
        task = self.finish(self.config("  script: echo $CIRRUS_VM_ID\n", cpu=3))
        self.assertTrue(self.log(task["id"]).endswith(new.encode() + b"\n"))

    def test_a_console_is_in_the_workers_log_if_its_settings_say_so(self):
        """A task's own words cannot ask for it: the language has no key for that."""
        worker = self.standby()
        file = self.scratch / "worker.yml"
        file.write_text(file.read_text() + "      standard_output_to_logs: true\n")
        self.assertNotIn("Server listening", worker.log())
        worker.signal(signal.SIGHUP)
        eventually(lambda: re.search(r"console vm=cirrus-\S+ line=.*Server listening", worker.log()),
                   "the guest's server is heard")

    def test_a_vm_that_is_stopped_by_hand_fails_its_task(self):
        self.start_worker()
        build = self.submit(self.config("  script: echo begun; sleep 1000\n"))
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        [vm] = self.vms()
        subprocess.run([str(self.programs / "vetu"), "stop", "--timeout", "5", vm],
                       env=self.environment(), check=True)
        ended = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn("VM stopped running", ended["reason"])
        self.no_vm_is_left()

    def test_a_guest_is_fetched_for_without_git_or_network_of_its_own(self):
        """Clones come through the bridge, too."""
        self.start_worker()
        source = self.scratch / "source"
        source.mkdir()
        (source / "file").write_text("from the repository\n")
        (source / ".cirrus.yml").write_text(self.config("  script: cat file\n"))
        git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
        for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "one"]):
            subprocess.run([*git, *arguments], check=True)
        self.cli("build", "submit", str(source), "--repo", "test/vm", "--output", "json", check=0)
        build = self.api("GET", "/api/v1/builds?limit=1")["builds"][0]
        task = self.wait_build(build["id"], "completed")["tasks"][0]
        self.assertTrue(self.log(task["id"]).endswith(b"from the repository\n"))


if __name__ == "__main__":
    unittest.main()
