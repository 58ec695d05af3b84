"""Tasks in virtual machines: real SSH to stand-ins of `tart` and `vetu`.

SPDX-License-Identifier: MIT
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import unittest

from harness import SOURCE, Case, eventually, processes_with

STAND_IN = pathlib.Path(__file__).resolve().parent / "vm" / "stand_in.py"
MISSING = [p for p in ("sshd", "unshare", "setpriv", "ssh-keygen", "openssl")
           if not shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin")]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipIf(os.geteuid() != 0, "the stand-in VMs need root for their namespaces")
@unittest.skipIf(MISSING, f"missing for the stand-in VMs: {MISSING}")
class Vms(Case):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.variables = {"CIRRUS_VM_HOME": str(self.scratch / "vms")}
        programs = self.scratch / "programs"
        programs.mkdir()
        for name in ("tart", "vetu"):
            (programs / name).symlink_to(STAND_IN)
        self.programs = programs
        self.start_controller()

    def environment(self, **extra):
        environment = super().environment(**extra)
        environment.update(self.variables)
        environment["PATH"] = f"{self.programs}:{environment['PATH']}:/usr/sbin:/sbin"
        return environment

    def tearDown(self):
        super().tearDown()
        self.assertEqual(processes_with(str(self.scratch / "vms")), [])

    def config(self, steps, tool="vetu", more="", **fields):
        lines = "".join(f"      {key}: {value}\n" for key, value in fields.items())
        return (f"persistent_worker:\n  isolation:\n    {tool}:\n      image: guest-{self.port}\n"
                f"      user: admin\n      password: admin\n      port: {self.port}\n{lines}"
                f"task:\n  name: t\n{more}{steps}")

    def vms(self):
        home = self.scratch / "vms"
        return sorted(p.name for p in home.iterdir()) if home.exists() else []

    def no_vm_is_left(self):
        eventually(lambda: self.vms() == [], "every VM is gone")

    def trace(self):
        path = self.scratch / "trace"
        return [line.split("\x1f") for line in path.read_text().splitlines()]

    def finish(self, config, status="completed"):
        return self.wait_build(self.submit(config), status)["tasks"][0]

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

    def standby(self, name="w1"):
        file = self.scratch / "worker.yml"
        file.write_text(f"standby:\n  isolation:\n    vetu:\n      image: guest-{self.port}\n"
                        f"      user: admin\n      password: admin\n      port: {self.port}\n")
        worker = self.start_worker(name=name, extra=("--file", str(file)))
        eventually(lambda: "standby instance ready" in worker.log(), "a VM stands by")
        return worker

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

    # The guest's processes as the host sees them.

    def descendants(self, pid):
        found = []
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child)] + self.descendants(int(child))
        return found

    def connections_of(self, run):
        found = []
        for pid in self.descendants(run):
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            if command.startswith(b"sshd: admin"):
                found.append(pid)
        self.assertTrue(found)
        return found

    def touch_in_guest(self, run, path):
        pid = self.descendants(run)[0]
        root = pathlib.Path(f"/proc/{pid}/root")
        (root / path.lstrip("/")).touch()


if __name__ == "__main__":
    unittest.main()
