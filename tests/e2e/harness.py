"""Starts real controllers and workers in scratch directories and talks to them.

SPDX-License-Identifier: MIT
Children get a clean environment, because the suite itself may run inside a task. Nothing sleeps
for a fixed time: `eventually` polls a condition up to a limit.
"""
import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

CIRRUS = os.environ.get("CIRRUS_PROGRAM", "build/release/cirrus")
# The same program, but it acts at the fail points that CIRRUS_FAIL_POINTS names.
CIRRUS_TEST = os.environ.get("CIRRUS_TEST_PROGRAM", CIRRUS + "-test")
SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
FINAL = {"completed", "failed", "aborted", "skipped"}
# Sanitizers and busy machines are slow; waits end early when the condition holds.
PATIENCE = float(os.environ.get("CIRRUS_E2E_PATIENCE", "60"))


def clean_environment(**extra):
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "TMPDIR": extra.pop("TMPDIR", tempfile.gettempdir()),
    }
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment.update(extra)
    return environment


def eventually(condition, what, patience=None):
    """Polls until `condition()` is truthy and returns it."""
    limit = time.monotonic() + (patience or PATIENCE)
    last_error = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, urllib.error.URLError, json.JSONDecodeError) as error:
            last_error = error
        if time.monotonic() > limit:
            raise AssertionError(f"never happened: {what} ({last_error})")
        time.sleep(0.01)


def processes_with(text):
    """Pids of live processes whose command line or start environment holds `text`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            status = (entry / "stat").read_text()
            if status.rsplit(")", 1)[1].split()[0] in "ZX":
                continue
            blob = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            if text.encode() in blob:
                found.append(int(entry.name))
    return found


def kills_at(*points):
    """Marks a test by the fail points at which it kills; `test_points` counts them."""
    def mark(test):
        test.points = points
        return test
    return mark


class Daemon:
    """One long-running command with a ready file and its output in a log."""

    def __init__(self, scratch, name, arguments, environment=None, program=None):
        self.name = name
        self.ready_path = scratch / f"{name}.ready.json"
        self.log_path = scratch / f"{name}.log"
        self.arguments = [program or CIRRUS, *arguments, "--ready-file", str(self.ready_path)]
        self.environment = environment or clean_environment()
        self.process = None
        self.ready = None

    def start(self, wait=True):
        self.ready_path.unlink(missing_ok=True)
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            self.arguments, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True)
        log.close()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def look():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            return self.ready_path.exists()
        eventually(look, f"{self.name} becomes ready")
        self.ready = json.loads(self.ready_path.read_text())

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, patience=None):
        return self.process.wait(timeout=patience or PATIENCE)

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()


class Case(unittest.TestCase):
    """A test with a scratch directory, a controller and any number of workers."""

    maxDiff = None

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-e2e-"))
        (self.scratch / "tmp").mkdir()
        self.daemons = []
        self.controller = None
        self.cookie = f"e2e-{self.scratch.name}"

    def tearDown(self):
        # Older Pythons keep errors in the outcome, newer ones have told the result by now.
        result = self._outcome.result
        failed = any(error for _, error in getattr(self._outcome, "errors", []) if error) or any(
            getattr(test, "test_case", test) is self  # a failed subtest names its test
            for test, _ in [*result.failures, *result.errors])
        self.stop_programs()
        if failed:
            for daemon in self.daemons:
                print(f"--- {daemon.name} log ---\n{daemon.log()[-6000:]}")
        # Workers that were killed leave agents behind by design; a test must not.
        for pid in processes_with(str(self.scratch)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def stop_programs(self):
        """All that clean up behind themselves; what is left then is killed."""
        for daemon in reversed(self.daemons):
            daemon.stop()

    # Programs -----------------------------------------------------------------------------

    def environment(self, **extra):
        return clean_environment(TMPDIR=str(self.scratch / "tmp"), **extra)

    def start_controller(self, **options):
        arguments = ["controller", "run", "--data-dir", str(self.scratch / "controller"),
                     "--rpc-address", options.get("rpc", "127.0.0.1:0"),
                     "--http-address", options.get("http", "127.0.0.1:0")]
        self.controller = Daemon(self.scratch, "controller", arguments, self.environment())
        self.daemons.append(self.controller)
        self.controller.start()
        return self.controller

    def restart_controller(self):
        """On the same ports, so that workers find it again."""
        ready = self.controller.ready
        for flag, url in (("--rpc-address", ready["rpc_endpoint"]),
                          ("--http-address", ready["http_url"])):
            arguments = self.controller.arguments
            arguments[arguments.index(flag) + 1] = url.split("//")[1]
        self.controller.start()

    def start_worker(self, name="w1", labels=(), resources=("cpu=4",), wait=True, extra=(),
                     data=None):
        arguments = ["worker", "run", "--name", name,
                     "--token-file", self.controller.ready["registration_token_file"],
                     "--rpc-endpoint", self.controller.ready["rpc_endpoint"],
                     "--data-dir", str(self.scratch / (data or name))]
        for label in labels:
            arguments += ["--labels", label]
        for resource in resources:
            arguments += ["--resources", resource]
        worker = Daemon(self.scratch, f"worker-{name}-{len(self.daemons)}", [*arguments, *extra],
                        self.environment())
        self.daemons.append(worker)
        worker.start(wait)
        return worker

    def start_dying_worker(self, points, log=None):
        """One with fail points, named and kept like all of its test's; `points` may be empty."""
        variables = {"CIRRUS_FAIL_POINTS": points}
        if log:
            variables["CIRRUS_FAIL_POINTS_LOG"] = str(log)
        worker = Daemon(self.scratch, f"worker-{len(self.daemons)}", [
            "worker", "run", "--name", "w", "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint",
            self.controller.ready["rpc_endpoint"], "--data-dir", str(self.scratch / "w"),
            "--resources", "cpu=4"], self.environment(**variables), CIRRUS_TEST)
        self.daemons.append(worker)
        # One that is to die may do so before it is ready.
        return worker.start(wait=not points)

    def cli(self, *arguments, check=None, **options):
        environment = self.environment()
        if self.controller and self.controller.ready:
            environment["CIRRUS_API_URL"] = self.controller.ready["http_url"]
            environment["CIRRUS_API_TOKEN_FILE"] = self.controller.ready["admin_token_file"]
        environment.update(options.pop("environment", {}))
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([CIRRUS, *arguments], env=environment,
                              capture_output=True, text=True, timeout=PATIENCE * 2, **options)
        if check is not None:
            self.assertEqual(done.returncode, check, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return done

    # The API ------------------------------------------------------------------------------

    def api(self, method, path, body=None, raw=False):
        request = urllib.request.Request(self.controller.ready["http_url"] + path, method=method)
        token = pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()
        request.add_header("Authorization", f"Bearer {token}")
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data, timeout=PATIENCE) as response:
            content = response.read()
        return content if raw else json.loads(content)

    def submit(self, config, **fields):
        """A build of inline configuration, without a repository's content."""
        body = {"repository": "test/repo", "branch": "main", "config": config}
        body.update(fields)
        return self.api("POST", "/api/v1/builds", body)["build"]["id"]

    def build(self, build_id):
        answer = self.api("GET", f"/api/v1/builds/{build_id}")
        return answer.get("build", answer)

    def task(self, build_id, name):
        for task in self.build(build_id)["tasks"]:
            if task["name"] == name:
                return task
        raise AssertionError(f"no task {name}")

    def log(self, task_id, step="main"):
        return self.api("GET", f"/api/v1/tasks/{task_id}/logs/{step}", raw=True)

    def log_or_empty(self, task_id, step="main"):
        try:
            return self.log(task_id, step)
        except urllib.error.HTTPError:
            return b""

    def wait_connected(self, workers, pool="default"):
        """A worker is ready before its controller has heard of it."""
        eventually(lambda: self.api("GET", f"/api/v1/pools/{pool}")["pool"]["connected"] == workers,
                   f"{workers} workers are heard of")

    def wait_build(self, build_id, status=None, patience=None):
        build = eventually(
            lambda: (lambda b: b if b["status"] in FINAL else None)(self.build(build_id)),
            f"build {build_id} ends", patience)
        if status is not None:
            self.assertEqual(build["status"], status, json.dumps(build, indent=1))
        return build

    def wait_task(self, build_id, name, *statuses):
        return eventually(
            lambda: (lambda t: t if t["status"] in statuses else None)(self.task(build_id, name)),
            f"task {name} becomes {statuses}")


def decode_events(stream):
    """Yields (name, data) of a server-sent event stream."""
    name, data = "message", []
    for raw in stream:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if data or name != "message":
                yield name, "\n".join(data)
            name, data = "message", []
        elif line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].lstrip())


def log_bytes(data):
    return base64.b64decode(json.loads(data)["data"])
