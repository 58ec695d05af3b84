"""What a worker tells people and machines about itself and its tasks. SPDX-License-Identifier: MIT"""
import http.server
import json
import pathlib
import signal
import subprocess
import threading
import unittest

from harness import CIRRUS, Case, Daemon, eventually

NONE = "persistent_worker:\n  isolation:\n    none: {}\n"


class Collector:
    """An OTLP/HTTP receiver that keeps what it is sent."""

    def __init__(self):
        collected = self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collected.append((self.path, self.headers["Content-Type"], json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def of(self, signal):
        return [request for request in self.requests if request[0] == f"/v1/{signal}"]

    def latest(self):
        """The metrics of the last request by name."""
        [resource] = self.of("metrics")[-1][2]["resourceMetrics"]
        [scope] = resource["scopeMetrics"]
        return {metric["name"]: metric for metric in scope["metrics"]}


class Observed(Case):
    def worker(self, name="w", extra=(), program=None, **variables):
        worker = Daemon(self.scratch, f"worker-{name}-{len(self.daemons)}", [
            "worker", "run", "--name", name, "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint",
            self.controller.ready["rpc_endpoint"], "--data-dir", str(self.scratch / name),
            "--resources", "cpu=4", *extra], self.environment(**variables), program)
        self.daemons.append(worker)
        return worker.start()

    def test_the_references_metrics_reach_a_collector(self):
        collector = Collector()
        self.addCleanup(collector.stop)
        self.start_controller()
        worker = self.worker(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url + "/",
                             OTEL_METRIC_EXPORT_INTERVAL="50")
        gate = self.scratch / "gate"
        build = self.submit(NONE + "  resources: {cpu: 1}\ntask:\n  name: t\n"
                            f"  script: while [ ! -e {gate} ]; do sleep 0.02; done\n")
        self.wait_task(build, "t", "executing")
        prefix = "org.cirruslabs.persistent_worker."
        running = eventually(
            lambda: (lambda m: m if self.number(m[prefix + "tasks.running_count"]) == 1 else None)(
                collector.latest() if collector.of("metrics") else {prefix + "tasks.running_count": {
                    "gauge": {"dataPoints": [{"asInt": "0"}]}}}), "a task is counted")
        self.assertEqual(self.number(running[prefix + "tasks.count"]), 1)
        [used] = running[prefix + "resources.used_count"]["gauge"]["dataPoints"]
        [unused] = running[prefix + "resources.unused_count"]["gauge"]["dataPoints"]
        self.assertEqual((used["asDouble"], unused["asDouble"]), (1, 3))
        self.assertEqual(used["attributes"], [{"key": "name", "value": {"stringValue": "cpu"}}])
        total = running[prefix + "images.total"]["sum"]
        self.assertTrue(total["isMonotonic"])
        [images] = total["dataPoints"]
        self.assertEqual({a["key"]: a["value"]["stringValue"] for a in images["attributes"]},
                         {"image": "", "instance_type": "none", "instance_cpus": ""})
        path, kind, request = collector.of("metrics")[-1]
        self.assertEqual((path, kind), ("/v1/metrics", "application/json"))
        facts = {a["key"]: a["value"]["stringValue"]
                 for a in request["resourceMetrics"][0]["resource"]["attributes"]}
        self.assertEqual(facts["service.name"], "cirrus-cli")
        self.assertEqual(request["resourceMetrics"][0]["scopeMetrics"][0]["scope"]["name"],
                         "worker")
        gate.touch()
        self.wait_build(build, "completed")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        # The last word is sent at the end: nothing runs, and the counter stands.
        last = collector.latest()
        self.assertEqual(self.number(last[prefix + "tasks.running_count"]), 0)
        self.assertEqual(self.number(last[prefix + "tasks.count"]), 1)

    def test_the_span_of_each_task_reaches_a_collector(self):
        collector = Collector()
        self.addCleanup(collector.stop)
        self.start_controller()
        worker = self.worker(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.url + "/v1/traces",
                             OTEL_BSP_SCHEDULE_DELAY="50")
        build = self.submit(NONE + "task:\n  name: t\n  script: echo \"trace=$TRACEPARENT\"\n")
        [task] = self.wait_build(build, "completed")["tasks"]
        [request] = eventually(lambda: collector.of("traces"), "the span arrives")
        self.assertEqual(request[1], "application/json")
        [resource] = request[2]["resourceSpans"]
        [scope] = resource["scopeSpans"]
        self.assertEqual(scope["scope"]["name"], "worker")
        [span] = scope["spans"]
        self.assertEqual(span["name"], "persistent-worker-task")
        self.assertLess(int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
        self.assertEqual({a["key"]: a["value"]["stringValue"] for a in span["attributes"]},
                         {"image": "", "instance_type": "none", "instance_cpus": "",
                          "cirrus.task_id": task["id"], "cirrus.upstream_worker_name": "w",
                          "cirrus.upstream_hostname": "127.0.0.1"})
        # What the task starts is below it.
        self.assertIn(f"trace=00-{span['traceId']}-{span['spanId']}-01",
                      self.log(task["id"]).decode())
        self.assertNotIn("parentSpanId", span)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        self.assertEqual(len(collector.of("traces")), 1, "once")
        self.assertEqual(collector.of("metrics"), [], "only traces were asked for")

    @staticmethod
    def number(metric):
        [point] = metric.get("sum", metric.get("gauge"))["dataPoints"]
        return int(point["asInt"])

    def status(self, code=0, data="w"):
        done = self.cli("worker", "status", "--data-dir", str(self.scratch / data), "--output",
                        "json", check=code)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def test_status_says_what_the_worker_does_right_now(self):
        self.start_controller()
        worker = self.worker()
        gate = self.scratch / "gate"
        build = self.submit(NONE + "  resources: {cpu: 1}\ntask:\n  name: t\n"
                            f"  script: while [ ! -e {gate} ]; do sleep 0.02; done\n")
        task = self.wait_task(build, "t", "executing")
        now = eventually(lambda: (lambda s: s if s["upstreams"][0]["last_poll_at"] else None)(
            self.status()), "a poll is answered")
        self.assertEqual((now["name"], now["pid"], now["state"]),
                         ("w", worker.process.pid, "running"))
        self.assertEqual(now["resources"], {"cpu": {"total": 4, "in_use": 1}})
        [running] = now["tasks"]
        self.assertEqual((running["id"], running["phase"]), (task["id"], "running"))
        self.assertRegex(running["since"], r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")
        [upstream] = now["upstreams"]
        self.assertEqual((upstream["endpoint"], upstream["connection"], upstream["paused"]),
                         (self.controller.ready["rpc_endpoint"], "connected", False))
        self.assertGreater(now["disk"]["free_bytes"], 0)
        text = self.cli("worker", "status", "--data-dir", str(self.scratch / "w"), check=0).stdout
        self.assertRegex(text, r"(?m)^state +running$")
        self.assertRegex(text, rf"(?m)^{task['id']} +running ")

        self.cli("worker", "pause", "--name", "w", "--token-file",
                 self.controller.ready["registration_token_file"], "--rpc-endpoint",
                 self.controller.ready["rpc_endpoint"], check=0)
        self.assertEqual(self.status()["state"], "paused")
        # A controller that is away changes nothing here, but is said.
        self.controller.kill()
        away = eventually(lambda: (lambda s: s if s["upstreams"][0]["failure"] else None)(
            self.status()), "the failure is noticed")
        self.assertEqual((away["upstreams"][0]["connection"], len(away["tasks"])), ("failing", 1))
        worker.signal(signal.SIGTERM)
        eventually(lambda: self.status()["state"] == "draining", "the drain is said")
        self.restart_controller()
        gate.touch()
        self.assertEqual(worker.wait(), 0)
        sentence = self.status(code=3)
        self.assertIn("no worker runs with the data directory", sentence)
        self.assertFalse((self.scratch / "w/status.sock").is_symlink())

    def test_a_worker_that_was_killed_has_no_status(self):
        self.start_controller()
        self.worker(name="a-data-directory-with-a-path-that-is-longer-than-a-socket-may-have-" + "x" * 60)
        data = next(self.scratch.glob("a-data-directory*")).name
        self.assertEqual(self.status(data=data)["name"], data)
        self.daemons[-1].kill()
        self.assertIn("no worker runs", self.status(code=3, data=data))

    def test_a_collector_that_is_away_changes_nothing(self):
        self.start_controller()
        worker = self.worker(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
                             OTEL_METRIC_EXPORT_INTERVAL="20")
        self.wait_build(self.submit(NONE + "task:\n  name: t\n  script: 'true'\n"), "completed")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)

    def test_an_upgrade_costs_no_task(self):
        """A task begun under one build ends under a newer one, which has another version."""
        self.start_controller()
        old = self.worker()
        version = subprocess.run([CIRRUS, "--version"], capture_output=True, text=True,
                                 check=True).stdout.split()[-1].encode()
        newer = bytes([version[0] + 1]) + version[1:]
        program = self.scratch / "cirrus-next"
        program.write_bytes(pathlib.Path(CIRRUS).read_bytes().replace(version, newer))
        program.chmod(0o755)
        said = subprocess.run([program, "--version"], capture_output=True, text=True,
                              check=True).stdout
        self.assertIn(newer.decode(), said, "this is no other build")
        gate = self.scratch / "gate"
        build = self.submit(NONE + "task:\n  name: t\n"
                            f"  script: echo begun; while [ ! -e {gate} ]; do sleep 0.02; done; "
                            "echo ended\n")
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        old.signal(signal.SIGUSR1)
        self.assertEqual(old.wait(), 0)
        self.worker(program=str(program))
        known = eventually(lambda: self.api("GET", "/api/v1/workers")["workers"], "it is known")
        eventually(lambda: newer.decode() in json.dumps(self.api("GET", "/api/v1/workers")),
                   f"the newer version is seen: {known}")
        gate.touch()
        ended = self.wait_build(build, "completed")["tasks"]
        self.assertEqual([t["id"] for t in ended], [task["id"]])
        self.assertTrue(self.log(task["id"]).endswith(b"begun\nended\n"))

    def test_why_a_task_was_stopped_is_said(self):
        self.start_controller()
        self.worker()
        for script, status, words, place in (
                ("sleep 1000\n  timeout_in: 1s", "failed", "Timed out!", "log"),
                ("kill -9 $$", "failed", "Signaled to exit (killed)!", "log"),
                ("kill -TERM $$", "failed", "Signaled to exit (terminated)!", "log"),
                ("exit 3", "failed", "Exit status: 3", "log"),
                ("kill -9 $PPID", "failed",
                 "agent process exited unexpectedly (killed by signal 9 (Killed))", "reason")):
            with self.subTest(script):
                build = self.submit(NONE + f"task:\n  name: t\n  script: {script}\n")
                task = self.wait_build(build, status)["tasks"][0]
                text = (self.log(task["id"]).decode() if place == "log" else task["reason"])
                self.assertIn(words, text)
        build = self.submit(NONE + "task:\n  name: t\n  script: echo on; sleep 1000\n")
        task = self.task(build, "t")
        eventually(lambda: b"on\n" in self.log_or_empty(task["id"]), "the script runs")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        eventually(lambda: b"Context canceled!" in self.log(task["id"]), "the log says why")

    def test_log_lines_operators_search_for(self):
        self.start_controller()
        worker = self.worker()
        build = self.submit(NONE + "task:\n  name: t\n  script: echo on; sleep 1000\n")
        self.wait_task(build, "t", "executing")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        for words in ("registered on upstream", "started task", "sent cancellation signal to task",
                      "task completed"):
            eventually(lambda: words in worker.log(), words)
        # Every line has a time and a level.
        for line in worker.log().splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\d[T ][\d:.]+Z? +\S+ ", line)


if __name__ == "__main__":
    unittest.main()
