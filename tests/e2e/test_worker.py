"""One worker's own options, with real processes. SPDX-License-Identifier: MIT"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from harness import CIRRUS, Case, Daemon, eventually

NONE = "persistent_worker:\n  isolation:\n    none: {}\n"


class WorkerOptions(Case):
    def write(self, name, text, mode=0o600):
        path = self.scratch / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def test_an_ephemeral_worker_runs_one_task_and_its_name_is_free_again(self):
        self.start_controller()
        first = self.start_worker(name="once", extra=("--ephemeral",), resources=())
        build = self.submit(NONE + "task:\n  name: a\n  script: echo first\n"
                            "task:\n  name: b\n  script: echo second\n")
        self.assertEqual(first.wait(), 0, first.log())
        ended = [task["name"] for task in self.build(build)["tasks"]
                 if task["status"] == "completed"]
        self.assertEqual(len(ended), 1)
        # Another instance of the same name, at once.
        second = self.start_worker(name="once", data="other", extra=("--ephemeral",), resources=())
        self.assertEqual(second.wait(), 0, second.log())
        self.wait_build(build, "completed")

    def test_max_tasks_are_taken_and_no_more(self):
        self.start_controller()
        worker = self.start_worker(extra=("--max-tasks", "2"), resources=())
        build = self.submit(NONE + "".join(f"task:\n  name: t{n}\n  script: echo {n}\n"
                                           for n in range(3)))
        self.assertEqual(worker.wait(), 0, worker.log())
        states = sorted(task["status"] for task in self.build(build)["tasks"])
        self.assertEqual(states[:2], ["completed"] * 2)
        self.assertNotIn(states[2], ("completed", "failed"))
        self.start_worker(name="w2")
        self.wait_build(build, "completed")

    def test_a_second_signal_ends_what_a_drain_waits_for(self):
        self.start_controller()
        worker = self.start_worker()
        build = self.submit(NONE + "task:\n  name: t\n  script: echo begun; sleep 1000\n")
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        worker.signal(signal.SIGTERM)
        eventually(lambda: self.api("GET", "/api/v1/workers")["workers"][0]["draining"],
                   "the controller hears that the worker drains")
        self.assertIsNone(worker.process.poll(), "it waits for its task")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0, worker.log())
        self.assertNotEqual(self.wait_build(build)["tasks"][0]["status"], "completed")

    def test_an_idle_worker_ends(self):
        self.start_controller()
        worker = self.start_worker(extra=("--exit-after-idle", "100ms"))
        self.assertEqual(worker.wait(), 0)
        self.assertIn("exit-after-idle", worker.log())

    def test_hup_takes_new_labels_to_the_controller_and_keeps_the_old_on_a_mistake(self):
        self.start_controller()
        settings = self.write("w.yml", "labels:\n  kind: old\n")
        worker = self.start_worker(extra=("-f", settings))
        build = self.submit("task:\n  name: t\n  persistent_worker:\n    labels:\n      kind: new\n"
                            "    isolation:\n      none: {}\n  script: echo here\n")
        self.write("w.yml", "lables:\n  kind: new\n")
        worker.signal(signal.SIGHUP)
        eventually(lambda: "did you mean" in worker.log(), "the mistake is named")
        self.write("w.yml", "labels:\n  kind: new\n")
        worker.signal(signal.SIGHUP)
        self.wait_build(build, "completed")
        self.assertIn("labels: kind=old -> kind=new", worker.log())

    def test_scripts_inherit_only_what_the_owner_lists(self):
        self.start_controller()
        settings = self.write("w.yml", "environment:\n  inherit: [PATH, KEPT]\n")
        worker = Daemon(self.scratch, "worker-inherit", [
            "worker", "run", "--name", "w", "-f", settings, "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint",
            self.controller.ready["rpc_endpoint"], "--data-dir", str(self.scratch / "w")],
            self.environment(KEPT="kept-value", DROPPED="dropped-value"))
        self.daemons.append(worker)
        worker.start()
        build = self.submit(NONE + "task:\n  name: t\n  script: env\n")
        task = self.wait_build(build, "completed")["tasks"][0]
        log = self.log(task["id"]).decode()
        self.assertIn("kept-value", log)
        self.assertNotIn("dropped-value", log)

    def test_a_task_has_no_descriptor_of_ours(self):
        self.start_controller()
        self.start_worker()
        build = self.submit(NONE + "task:\n  name: t\n  script: ls -1 /proc/self/fd | tr '\\n' ' '\n")
        task = self.wait_build(build, "completed")["tasks"][0]
        numbers = self.log(task["id"]).decode().splitlines()[-1].split()
        # `ls` itself opens the directory as the next free one.
        self.assertEqual(numbers, ["0", "1", "2", "3"])

    @unittest.skipUnless(os.geteuid() == 0, "changing the user needs root")
    def test_tasks_run_as_the_user_the_owner_names(self):
        # A place that user can reach: the suite's own scratch directory is closed to it.
        shared = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-user-"))
        self.addCleanup(shutil.rmtree, shared, True)
        shared.chmod(0o777)
        self.start_controller()
        settings = self.write("w.yml", "task-user: nobody\n")
        worker = Daemon(self.scratch, "worker-user", [
            "worker", "run", "--name", "w", "-f", settings, "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint",
            self.controller.ready["rpc_endpoint"], "--data-dir", str(self.scratch / "w"),
            "--resources", "cpu=2"], {**self.environment(), "TMPDIR": str(shared)})
        self.daemons.append(worker)
        worker.start()
        config = (NONE + "  resources: {cpu: 1}\ntask:\n  name: t\n  script:\n    - id -un\n"
                  "    - echo \"user $USER\"\n    - touch made-here && stat -c '%%U' made-here\n"
                  f"    - cat {self.scratch}/w/tasks/*/task.pb && echo LEAKED || echo closed\n"
                  "    - echo at-home > $HOME/mine && cat $HOME/mine\n"
                  "    - echo NEXT=1 >> $CIRRUS_ENV\n"
                  "    - (setsid sleep 1000 &)\n  second_script: echo \"next $NEXT\"\n"
                  ).replace("%%", "%")
        ended = self.wait_build(self.submit(config), "completed")
        log = self.log(ended["tasks"][0]["id"]).decode()
        self.assertIn("\nnobody\n", log)
        self.assertIn("user nobody", log)
        self.assertIn("\nat-home\n", log)
        self.assertIn("closed", log)
        self.assertNotIn("\nLEAKED", log)
        self.assertIn("next 1", self.log(ended["tasks"][0]["id"], "second").decode())
        eventually(lambda: not list(shared.iterdir()), "nothing of the task is left on disk")
        # A second task finds the ready agent of that user.
        again = self.wait_build(self.submit(config), "completed")
        self.assertIn("\nnobody\n", self.log(again["tasks"][0]["id"]).decode())

    def test_the_policy_on_repositories_is_a_failure_that_names_its_line(self):
        self.start_controller()
        settings = self.write("w.yml", "security:\n  allowed-repositories: ['acme/*']\n")
        self.start_worker(extra=("-f", settings))
        build = self.submit(NONE + "task:\n  name: t\n  script: echo never\n")
        task = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn("repository 'test/repo' is not allowed", str(task))
        self.assertIn("w.yml:2:3", str(task))

    def test_metrics_and_health(self):
        self.start_controller()
        worker = self.start_worker(extra=("--metrics-address", "127.0.0.1:0"),
                                   resources=("cpu=4",))
        url = f"http://127.0.0.1:{worker.ready['metrics_port']}"

        def get(path):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                return answer.read().decode()
        eventually(lambda: get("/healthz") == "ok\n", "the worker is registered")
        self.wait_build(self.submit(NONE + "task:\n  name: t\n  script: 'true'\n"), "completed")
        page = get("/metrics")
        self.assertIn("org_cirruslabs_persistent_worker_tasks_count 1", page)
        self.assertIn('org_cirruslabs_persistent_worker_resources_unused_count{name="cpu"} 4', page)
        with self.assertRaises(urllib.error.HTTPError):
            get("/else")

    def test_the_service_manager_hears_of_ready_and_the_end(self):
        self.start_controller()
        path = str(self.scratch / "notify")
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(path)
        manager.settimeout(30)
        worker = Daemon(self.scratch, "worker-notify", [
            "worker", "run", "--name", "w", "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint",
            self.controller.ready["rpc_endpoint"], "--data-dir", str(self.scratch / "w")],
            self.environment(NOTIFY_SOCKET=path, WATCHDOG_USEC="100000"))
        self.daemons.append(worker)
        worker.start()
        self.assertIn(b"READY=1", manager.recv(1000))
        self.assertIn(b"WATCHDOG=1", manager.recv(1000))
        worker.signal(signal.SIGTERM)
        worker.wait()
        last = b""
        while b"STOPPING=1" not in last:
            last = manager.recv(1000)

    def test_pause_wait_gives_up_after_its_timeout(self):
        self.start_controller()
        self.start_worker()
        token = ("--token-file", self.controller.ready["registration_token_file"],
                 "--rpc-endpoint", self.controller.ready["rpc_endpoint"], "--name", "w1")
        build = self.submit(NONE + "task:\n  name: t\n  script: sleep 1000\n")
        self.wait_task(build, "t", "executing")
        paused = self.cli("worker", "pause", *token, "--wait", "--timeout", "1", check=1)
        self.assertIn("still run", paused.stderr)
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        self.cli("worker", "pause", *token, "--wait", check=0)

    def test_doctor_says_what_is_wrong(self):
        self.start_controller()
        token = ("--token-file", self.controller.ready["registration_token_file"])
        fine = self.cli("worker", "doctor", *token, "--rpc-endpoint",
                        self.controller.ready["rpc_endpoint"], "--data-dir",
                        str(self.scratch / "d"))
        self.assertIn("answers", fine.stdout)
        self.assertEqual(fine.returncode, 0, fine.stdout)
        away = self.cli("worker", "doctor", *token, "--rpc-endpoint", "http://127.0.0.1:1",
                        "--data-dir", str(self.scratch / "d"), check=1)
        self.assertIn("FAIL  controller", away.stdout)
        wrong = self.cli("worker", "doctor", "-f", self.write("w.yml", "lables: {}\n"), check=1)
        self.assertIn("did you mean", wrong.stdout)

    def doctor_behind(self, prefix, **options):
        done = subprocess.run(
            [*prefix, CIRRUS, "worker", "doctor", "--token", "t", "--rpc-endpoint",
             "http://127.0.0.1:1", "--data-dir", str(self.scratch / "d")],
            env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, **options)
        return done.stdout

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "mounting needs root")
    def test_doctor_reports_places_where_nothing_can_be_started(self):
        (self.scratch / "d").mkdir()
        script = (f"mount -t tmpfs -o noexec tmpfs {self.scratch}/d && "
                  f"mount -t tmpfs -o noexec tmpfs {self.scratch}/tmp && exec \"$@\"")
        said = self.doctor_behind(("unshare", "--mount", "sh", "-c", script, "sh"))
        self.assertRegex(said, rf"FAIL  data directory +'{self.scratch}/d' is mounted noexec")
        self.assertRegex(said, rf"FAIL  working directories +'{self.scratch}/tmp' is mounted noexec")

    def test_doctor_names_limits_that_are_too_low(self):
        said = self.doctor_behind(("prlimit", "--nofile=100:100", "--nproc=50:50"))
        self.assertRegex(said, r"warn  limits +at most 100 open files")
        self.assertRegex(said, r"warn  limits +at most 50 processes")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "mounting needs root")
    def test_doctor_says_how_trees_of_processes_are_found(self):
        kinds = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        places = " ".join(fields[1] for fields in kinds if fields[2] in ("cgroup", "cgroup2"))
        said = self.doctor_behind(("unshare", "--mount", "sh", "-c",
                                   f"umount -l {places} && exec \"$@\"", "sh"))
        self.assertRegex(said, r"warn  cgroups +.*searching all processes")
        newer = " ".join(fields[1] for fields in kinds if fields[2] == "cgroup2")
        if any(fields[2] == "cgroup" and "freezer" in fields[3].split(",") for fields in kinds):
            said = self.doctor_behind(("unshare", "--mount", "sh", "-c",
                                       f"umount -l {newer} && exec \"$@\"", "sh"))
            self.assertRegex(said, r"ok    cgroups +version 1, its freezer")

    def test_a_low_disk_takes_no_tasks(self):
        self.start_controller()
        settings = self.write("w.yml", "min-free-space: 8000 TiB\n")
        worker = self.start_worker(extra=("-f", settings))
        eventually(lambda: "min-free-space" in worker.log(), "the worker says so")
        build = self.submit(NONE + "task:\n  name: t\n  script: echo never\n")
        task = self.build(build)["tasks"][0]
        self.assertNotEqual(self.cli("task", "why", task["id"], check=0).stdout.strip(), "")
        self.write("w.yml", "min-free-space: 1 KB\n")
        worker.signal(signal.SIGHUP)
        self.wait_build(build, "completed")


if __name__ == "__main__":
    unittest.main()
