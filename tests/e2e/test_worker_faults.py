"""T02, T21, T22: full disks, no processes, no descriptors, no memory, no time, wrong clocks, links.

SPDX-License-Identifier: MIT
"""
import ctypes
import os
import pathlib
import pwd
import re
import shutil
import signal
import struct
import tempfile
import unittest

from harness import Case, Daemon, eventually, processes_with
from relay import Relay

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources: {cpu: 1}\n"
ROOT = os.geteuid() == 0
FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


class FaultCase(Case):
    def worker(self, prefix=(), name="w", cpus=4, endpoint=None, settings=None, **variables):
        arguments = ["worker", "run", "--name", name, "--token-file",
                     self.controller.ready["registration_token_file"], "--rpc-endpoint",
                     endpoint or self.controller.ready["rpc_endpoint"],
                     "--data-dir", str(self.scratch / name), "--resources", f"cpu={cpus}"]
        if settings:
            (self.scratch / "w.yml").write_text(settings)
            arguments += ["-f", str(self.scratch / "w.yml")]
        worker = Daemon(self.scratch, f"worker-{name}-{len(self.daemons)}", arguments,
                        {**self.environment(), **variables})
        worker.arguments = [*prefix, *worker.arguments]
        self.daemons.append(worker)
        return worker.start()

    def mounted(self, *sizes):
        """A prefix that puts a small file system at each (place, size)."""
        for place, _ in sizes:
            pathlib.Path(place).mkdir(exist_ok=True)
        script = " && ".join(f"mount -t tmpfs -o size={size},mode=700 tmpfs {place}"
                             for place, size in sizes)
        return ("unshare", "--mount", "sh", "-c", script + ' && exec "$@"', "sh")

    def run_one(self, script, status="completed", more=""):
        build = self.submit(NONE + f"task:\n  name: t\n{more}  script: {script}\n")
        return self.wait_build(build, status)["tasks"][0]

    def still_works(self):
        task = self.run_one("echo fine")
        self.assertTrue(self.log(task["id"]).endswith(b"fine\n"))


@unittest.skipUnless(ROOT and shutil.which("unshare"), "small file systems need root")
class FullDisks(FaultCase):
    def setUp(self):
        super().setUp()
        self.start_controller()

    def test_t22_a_full_working_directory_fails_the_task_alone(self):
        self.worker(self.mounted((self.scratch / "tmp", "2m")))
        task = self.run_one("head -c 10000000 /dev/zero > big || exit 7", "failed")
        log = self.log(task["id"]).decode()
        self.assertIn("No space left on device", log)
        self.assertIn("Exit status: 7", log)
        self.still_works()

    def test_t22_a_full_place_for_temporary_files_is_a_failure_with_its_cause(self):
        """No task can have a directory any more, or no script be written."""
        worker = self.worker(self.mounted((self.scratch / "tmp", "2m,nr_inodes=60")))
        place = pathlib.Path(f"/proc/{worker.process.pid}/root{self.scratch}/tmp")
        self.still_works()
        eventually(lambda: not self.api("GET", "/api/v1/workers/default/w")["worker"]["tasks"],
                   "what the task had is gone")
        fillers = []
        try:
            while True:
                fillers.append(place / f"filler-{len(fillers)}")
                fillers[-1].write_bytes(b"")
        except OSError:
            fillers.pop()
        task = self.run_one("echo never", "failed")
        said = task["reason"] + self.log_or_empty(task["id"]).decode()
        self.assertIn("No space left on device", said)
        self.assertIsNone(worker.process.poll())
        for filler in fillers:
            filler.unlink()
        self.still_works()

    def test_t22_a_full_spool_holds_the_script_back_and_loses_nothing(self):
        address, port = self.controller.ready["rpc_endpoint"].split("//")[1].split(":")
        relay = Relay((address, int(port)))
        self.addCleanup(relay.close)
        worker = self.worker(self.mounted((self.scratch / "w", "40m")), endpoint=relay.url)
        build = self.submit(NONE + "task:\n  name: t\n  script: echo begun; "
                            f"while [ ! -e {self.scratch}/go ]; do sleep 0.02; done; "
                            "seq 1 1500000; echo ended\n")
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        # Nothing goes on to the controller: 10 MB of log meet the room that is left.
        relay.refuses = True
        relay.break_all()
        filler = pathlib.Path(f"/proc/{worker.process.pid}/root{self.scratch}/w/filler")
        with open(filler, "wb") as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
            except OSError:
                pass
        with open(filler, "r+b") as file:
            file.truncate(max(0, filler.stat().st_size - 2_000_000))
        (self.scratch / "go").touch()
        eventually(lambda: "log spool failed" in worker.log(), "the spool is full")
        filler.unlink()
        relay.refuses = False
        self.wait_build(build, "completed", patience=120)
        lines = self.log(task["id"]).decode().splitlines()
        numbers = [line for line in lines if line.isdigit()]
        self.assertEqual(len(numbers), 1500000)
        self.assertEqual(numbers, [str(n) for n in range(1, 1500001)])
        self.assertEqual(lines[-1], "ended")

    def test_t22_a_full_data_directory_is_a_failure_with_its_cause(self):
        worker = self.worker(self.mounted((self.scratch / "w", "40m")))
        filler = pathlib.Path(f"/proc/{worker.process.pid}/root{self.scratch}/w/filler")
        self.still_works()
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass
        task = self.run_one("echo never", "failed")
        self.assertIn("No space left on device", task["reason"])
        filler.unlink()
        self.still_works()


class Exhausted(FaultCase):
    def setUp(self):
        super().setUp()
        self.start_controller()

    def group(self, controller, **values):
        """A control group of version 1 for the worker and all below it."""
        path = pathlib.Path(f"/sys/fs/cgroup/{controller}/cirrus-e2e-{os.getpid()}")
        try:
            path.mkdir()
            for name, value in values.items():
                (path / name.replace("__", ".")).write_text(str(value))
        except OSError as failure:
            self.skipTest(f"no control group of '{controller}' to limit the worker: {failure}")
        self.addCleanup(lambda: eventually(lambda: self.removed(path), "the group is empty"))
        return ("sh", "-c", f'echo $$ > {path}/cgroup.procs && exec "$@"', "sh")

    @staticmethod
    def removed(path):
        try:
            path.rmdir()
        except OSError:
            return False
        return True

    def test_t22_a_task_that_starts_too_many_processes(self):
        worker = self.worker(self.group("pids", pids__max=90))
        task = self.run_one("'for i in $(seq 300); do sleep 1000 & done; exit 0'", "failed")
        self.assertIn("Resource temporarily unavailable", self.log(task["id"]).decode())
        self.still_works()
        self.assertIsNone(worker.process.poll())

    def test_t22_more_tasks_than_descriptors(self):
        worker = self.worker(("prlimit", "--nofile=90:90"), cpus=40)
        build = self.submit("".join(NONE * (n == 0) + f"task:\n  name: t{n}\n"
                                    "  script: sleep 0.3; echo fine\n" for n in range(40)))
        ended = self.wait_build(build, patience=120)
        self.assertIn("failed", {task["status"] for task in ended["tasks"]}, "there were enough")
        for task in ended["tasks"]:
            if task["status"] != "completed":
                # Each that could not run says what there was too little of.
                self.assertIn("open files", task["reason"], task)
        self.assertIsNone(worker.process.poll(), worker.log())
        self.still_works()

    def test_t22_memory_runs_out(self):
        worker = self.worker(self.group("memory", memory__limit_in_bytes=300 << 20))
        task = self.run_one("python3 -c 'x = bytearray(1 << 30)'", "failed")
        log = self.log(task["id"]).decode()
        self.assertIn("The kernel killed a process for want of memory: the limit is 300 MiB", log)
        self.assertIsNone(worker.process.poll())
        self.still_works()

    @unittest.skipUnless(ROOT, "only root may name the next to be killed")
    def test_t22_memory_runs_out_and_the_agent_is_killed_for_it(self):
        worker = self.worker(self.group("memory", memory__limit_in_bytes=300 << 20))
        # Two that are each smaller than the whole, which is what the agent counts for.
        (self.scratch / "hog.py").write_text(
            "import os, time\nready, done = os.pipe()\n"
            "if os.fork() == 0:\n    half = bytearray(120 << 20)\n    os.write(done, b'.')\n"
            "    time.sleep(1000)\nos.read(ready, 1)\nrest = bytearray(1 << 30)\n")
        build = self.submit(NONE + "task:\n  name: t\n  env: {MARK: %s}\n  script: |\n"
                            "    echo 1000 > /proc/$PPID/oom_score_adj\n"
                            "    echo 0 > /proc/$$/oom_score_adj\n"
                            "    python3 %s/hog.py\n" % (self.cookie, self.scratch))
        task = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn("agent process exited unexpectedly", task["reason"])
        self.assertIn("the kernel killed processes there for want of memory", task["reason"])
        eventually(lambda: not processes_with(self.cookie), "nothing of the task is left")
        self.assertIsNone(worker.process.poll())
        self.still_works()

    def a_group_weighs_less_or_it_is_said(self, pid, worker):
        weights = []
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                own = re.sub(r"(/cirrus-[^/]+).*", r"\1", line[3:])
                weights = [file for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
                           for file in pathlib.Path(root + own).glob("cpu.weight")]
        said = worker.log().count("tasks give way to the worker by their priority alone")
        if weights:
            self.assertEqual((weights[0].read_text().strip(), said), ("33", 0))
        elif re.search("cirrus-", pathlib.Path(f"/proc/{pid}/cgroup").read_text()):
            self.assertEqual(said, 1, "said once, also for a second agent")

    def test_t22_a_task_that_takes_all_processors_keeps_its_lease(self):
        """60 busy loops on this machine: the worker goes on polling and hears the stop order."""
        worker = self.worker()
        build = self.submit(NONE + "task:\n  name: busy\n  env: {MARK: %s}\n  script: |\n"
                            "    for i in $(seq 60); do (while :; do :; done) & done\n"
                            "    echo busy; wait\n" % self.cookie)
        task = self.task(build, "busy")
        eventually(lambda: b"busy\n" in self.log_or_empty(task["id"]), "the loops run")
        [loop] = processes_with(self.cookie)[:1]
        nice = int(pathlib.Path(f"/proc/{loop}/stat").read_text().rsplit(")", 1)[1].split()[16])
        self.assertGreater(nice, 0, "tasks do not give way to their worker")
        self.a_group_weighs_less_or_it_is_said(loop, worker)
        self.still_works()
        self.assertEqual(self.task(build, "busy")["status"], "executing")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        eventually(lambda: not processes_with(self.cookie), "all loops are gone")
        self.assertNotIn("failed to poll", worker.log())


@unittest.skipUnless(FAKETIME, "libfaketime is missing")
class Clocks(FaultCase):
    """The worker's wall clock jumps; what it measures with is the monotonic one."""

    def setUp(self):
        super().setUp()
        self.start_controller()
        self.clock = self.scratch / "clock"
        self.clock.write_text("+0\n")

    def clocked(self, **more):
        return self.worker(LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(self.clock),
                           FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1",
                           settings="environment:\n  inherit: [PATH, TMPDIR]\n", **more)

    def test_t21_jumps_of_years_in_the_middle_of_a_task(self):
        worker = self.clocked()
        gate = self.scratch / "gate"
        build = self.submit(NONE + "task:\n  name: t\n"
                            f"  script: echo begun; while [ ! -e {gate} ]; do sleep 0.02; done; "
                            "echo ended\n")
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        for jump in ("+1461d", "-1461d", "-1h", "+0"):
            self.clock.write_text(jump + "\n")
            self.still_works()
        years = {line[:4] for line in worker.log().splitlines()}
        self.assertGreaterEqual(len(years), 3, "the worker did not see the jumps")
        gate.touch()
        self.wait_build(build, "completed")
        self.assertTrue(self.log(task["id"]).endswith(b"ended\n"))
        self.assertNotIn("failed to poll", worker.log())

    def test_t21_a_jump_while_the_worker_is_away_ends_no_task(self):
        worker = self.clocked()
        gate = self.scratch / "gate"
        build = self.submit(NONE + "task:\n  name: t\n"
                            f"  script: echo begun; while [ ! -e {gate} ]; do sleep 0.02; done; "
                            "echo ended\n")
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        worker.kill()
        self.clock.write_text("+1461d\n")
        worker.start()
        eventually(lambda: "adopted task" in worker.log(), "it is adopted")
        self.still_works()
        gate.touch()
        self.wait_build(build, "completed")
        self.assertTrue(self.log(task["id"]).endswith(b"begun\nended\n"))


class Witness:
    """Sees whatever touches a directory or the files in it."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.libc.inotify_add_watch(self.fd, os.fsencode(path), 0xFFF) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def seen(self):
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            data = b""
        os.close(self.fd)
        events = []
        while data:
            _, mask, _, length = struct.unpack("iIII", data[:16])
            events.append((hex(mask), data[16:16 + length].rstrip(b"\0")))
            data = data[16 + length:]
        return events


@unittest.skipUnless(ROOT, "a worker that runs as root needs root")
class Links(FaultCase):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.shared = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-links-"))
        self.addCleanup(shutil.rmtree, self.shared, True)
        self.shared.chmod(0o1777)
        self.victim = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-victim-"))
        self.addCleanup(shutil.rmtree, self.victim, True)
        (self.victim / "precious").write_text("kept")
        self.victim.chmod(0o755)

    def test_t02_links_in_place_of_directories_lead_nowhere(self):
        """A hostile task of another user puts links where the worker, as root, will clean up."""
        self.worker(settings="task-user: nobody\n", TMPDIR=str(self.shared))
        before = os.lstat(self.victim), os.lstat(self.victim / "precious")
        for script in (
                # Its working directory becomes a link.
                f"cd ..; mv cirrus-build away; ln -s {self.victim} cirrus-build",
                # A directory inside becomes one, at depth and with modes that must be changed.
                f"mkdir -p a/b/c; ln -s {self.victim} a/b/link; touch a/b/c/x; chmod 0 a/b/c",
                # The scratch directory too.
                f"cd ..; for d in cirrus-scratch-*; do mv $d gone-$d; ln -s {self.victim} $d; done"
                "; true"):
            with self.subTest(script):
                witness = Witness(self.victim)
                build = self.submit(NONE + f"task:\n  name: t\n  script: '{script}'\n")
                self.wait_build(build)
                eventually(lambda: not [p for p in (self.scratch / "w" / "tasks").iterdir()
                                        if p.is_dir()], "the task is cleaned up")
                self.assertEqual(witness.seen(), [], "something outside was touched")
                after = os.lstat(self.victim), os.lstat(self.victim / "precious")
                self.assertEqual([(s.st_mode, s.st_uid, s.st_ctime_ns) for s in before],
                                 [(s.st_mode, s.st_uid, s.st_ctime_ns) for s in after])
                for path in self.shared.iterdir():
                    shutil.rmtree(path, True) if path.is_dir() and not path.is_symlink() else \
                        path.unlink()

    def test_t02_a_link_that_is_there_first_is_not_followed(self):
        (self.shared / "cirrus-build").symlink_to(self.victim)
        self.worker(settings="task-user: nobody\n", TMPDIR=str(self.shared))
        witness = Witness(self.victim)
        task = self.run_one("pwd; touch made; id -un")
        self.assertIn("nobody", self.log(task["id"]).decode())
        self.assertEqual(witness.seen(), [])
        self.assertTrue((self.shared / "cirrus-build").is_symlink())

    def test_t08_a_task_has_three_descriptors_and_a_directory_of_its_own(self):
        self.worker(settings="task-user: nobody\n", TMPDIR=str(self.shared))
        task = self.run_one("'ls -l /proc/self/fd | tail -n +2 | wc -l; stat -c \"%U %a\" .; "
                            "id -G; stat -c %U $HOME; umask'")
        lines = self.log(task["id"]).decode().splitlines()
        # 0, 1, 2 and the directory `ls` reads.
        self.assertEqual(lines[-5:-3], ["4", "nobody 700"])
        self.assertEqual(lines[-2], "nobody")  # who has no home, so it is a place of the task

    def test_a_user_with_a_home_is_at_home(self):
        self.worker(settings="task-user: daemon\n", TMPDIR=str(self.shared))
        task = self.run_one("echo $HOME")
        home = pwd.getpwnam("daemon").pw_dir
        self.assertTrue(self.log(task["id"]).decode().endswith(f"\n{home}\n"))

    def test_the_user_flag_makes_the_whole_worker_that_user(self):
        data = self.shared / "data"
        data.mkdir()
        os.chown(data, 65534, 65534)
        token = self.shared / "token"
        token.write_text(
            pathlib.Path(self.controller.ready["registration_token_file"]).read_text())
        os.chown(token, 65534, 65534)
        worker = Daemon(self.shared, "worker-user", [
            "worker", "run", "--user", "nobody", "--name", "w", "--token-file", str(token),
            "--rpc-endpoint", self.controller.ready["rpc_endpoint"], "--data-dir", str(data),
            "--resources", "cpu=2"], {**self.environment(), "TMPDIR": str(self.shared)})
        self.daemons.append(worker)
        self.shared.chmod(0o777)
        worker.start()
        status = pathlib.Path(f"/proc/{worker.process.pid}/status").read_text()
        self.assertIn("Uid:\t65534\t65534\t65534\t65534", status)
        self.assertIn("Gid:\t65534\t65534\t65534\t65534", status)
        task = self.run_one("id -un; echo $HOME $USER")
        self.assertTrue(self.log(task["id"]).endswith(b"nobody\n/nonexistent nobody\n"))


if __name__ == "__main__":
    unittest.main()
