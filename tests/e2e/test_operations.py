"""What an operator does with a controller: TLS, contexts, secrets, back-ups, figures.

SPDX-License-Identifier: MIT
"""
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import unittest
import urllib.request

from harness import CIRRUS, PATIENCE, SOURCE, Case, Daemon, decode_events, eventually

HELLO = "task:\n  name: hello\n  persistent_worker: {}\n  main_script: echo hello\n"


def make_certificate(folder, name):
    """A certificate of its own for 127.0.0.1."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
         "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", folder / "key.pem",
         "-out", folder / "cert.pem"], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@unittest.skipIf(shutil.which("openssl") is None, "needs openssl (packaging/apt/test.txt)")
class Tls(Case):
    def start_tls_controller(self):
        self.certificate, self.key = make_certificate(self.scratch / "tls", "first")
        arguments = ["controller", "run", "--data-dir", str(self.scratch / "controller"),
                     "--rpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0",
                     "--tls-certificate", str(self.certificate), "--tls-key", str(self.key)]
        self.controller = Daemon(self.scratch, "controller", arguments, self.environment())
        self.daemons.append(self.controller)
        self.controller.start()
        self.port = int(self.controller.ready["http_url"].rsplit(":", 1)[1])

    def peer_name(self, port):
        context = ssl.create_default_context(cafile=str(self.certificate))
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                return dict(part[0] for part in secure.getpeercert()["subject"])["commonName"]

    def test_both_ports_speak_tls_and_take_a_new_certificate_while_they_run(self):
        self.start_tls_controller()
        self.assertTrue(self.controller.ready["http_url"].startswith("https://"))
        self.assertTrue(self.controller.ready["rpc_endpoint"].startswith("https://"))
        settings = self.scratch / "worker.yml"
        settings.write_text(f"rpc:\n  ca-file: {self.certificate}\n")
        self.start_worker("w1", extra=["-f", str(settings)])
        trust = {"CIRRUS_API_CA_FILE": str(self.certificate)}
        project = self.scratch / "project"
        project.mkdir()
        (project / ".cirrus.yml").write_text(
            "task:\n  persistent_worker: {}\n  env: {CIRRUS_CLONE_SUBMODULES: 'false'}\n"
            "  clone_script: true\n  main_script: echo over tls\n")
        self.cli("build", "submit", str(project), "--follow", check=0, environment=trust)
        self.assertIn("certificate", self.cli("build", "list", check=3).stderr.lower())
        rpc_port = int(self.controller.ready["rpc_endpoint"].rsplit(":", 1)[1])
        self.assertEqual(self.peer_name(self.port), "first")
        self.assertEqual(self.peer_name(rpc_port), "first")
        # An open connection outlives the change; new ones get the new certificate.
        certificate, key = make_certificate(self.scratch / "new", "second")
        os.replace(key, self.key)
        os.replace(certificate, self.certificate)
        eventually(lambda: self.peer_name(self.port) == "second", "HTTP takes the certificate")

        def rpc_renewed():
            try:
                return self.peer_name(rpc_port) == "second"
            except ssl.SSLError:
                return False
        eventually(rpc_renewed, "gRPC takes the certificate")
        # A broken pair is refused and the good one stays.
        self.key.write_text("no key\n")
        eventually(lambda: "new TLS certificate not taken" in self.probe_and_log(), "it says so")
        self.assertEqual(self.peer_name(self.port), "second")

    def test_who_is_refused_while_it_sends_still_gets_the_answer(self):
        self.start_tls_controller()
        context = ssl.create_default_context(cafile=str(self.certificate))
        size = 8 << 20
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                secure.sendall(b"POST /api/v1/builds HTTP/1.1\r\nHost: a\r\n"
                               b"Content-Length: %d\r\n\r\n" % size)
                for _ in range(size >> 16):
                    secure.sendall(bytes(1 << 16))
                answer = secure.recv(1 << 16)
        self.assertTrue(answer.startswith(b"HTTP/1.1 401 "), answer[:100])

    def probe_and_log(self):
        self.peer_name(self.port)
        return self.controller.log()

    def test_cleartext_reaches_other_machines_only_when_asked_for(self):
        base = ["controller", "run", "--data-dir", str(self.scratch / "c"),
                "--http-address", "127.0.0.1:0"]
        refused = subprocess.run([CIRRUS, *base, "--rpc-address", "0.0.0.0:0"],
                                 env=self.environment(), capture_output=True, text=True,
                                 timeout=PATIENCE)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--allow-cleartext", refused.stderr)
        half = subprocess.run([CIRRUS, *base, "--tls-key", "x"], env=self.environment(),
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertIn("needs both", half.stderr)
        wrong = subprocess.run([CIRRUS, *base, "--rpc-address", "127.0.0.1:0", "--tls-key",
                                "/nonexistent", "--tls-certificate", "/nonexistent"],
                               env=self.environment(), capture_output=True, text=True,
                               timeout=PATIENCE)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("the TLS certificate '/nonexistent' cannot be used", wrong.stderr)


class Contexts(Case):
    def test_a_saved_context_replaces_flags_and_is_for_its_owner_only(self):
        self.start_controller()
        config = str(self.scratch / "config")
        bare = {"XDG_CONFIG_HOME": config, "CIRRUS_API_URL": "", "CIRRUS_API_TOKEN_FILE": ""}
        url = self.controller.ready["http_url"]
        token = self.controller.ready["admin_token_file"]
        missing = self.cli("build", "list", check=2, environment=bare)
        self.assertIn("cirrus context add", missing.stderr)
        wrong = self.scratch / "wrong-token"
        wrong.write_text("nope\n")
        self.cli("context", "add", "lab", "--url", url, "--token-file", str(wrong), check=3,
                 environment=bare)
        self.cli("context", "add", "lab", "--url", url, "--token-file", token, check=0,
                 environment=bare)
        file = pathlib.Path(config) / "cirrus" / "contexts.yml"
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.cli("build", "list", check=0, environment=bare)
        self.cli("context", "add", "gone", "--url", "http://127.0.0.1:9", "--token-file", token,
                 "--no-check", check=0, environment=bare)
        listed = json.loads(self.cli("context", "list", "--output", "json", check=0,
                                     environment=bare).stdout)
        self.assertEqual([(c["name"], c["current"]) for c in listed["contexts"]],
                         [("gone", False), ("lab", True)])
        self.assertNotIn("token", json.dumps(listed))
        self.cli("build", "list", "--context", "gone", check=3, environment=bare)
        self.cli("context", "use", "gone", check=0, environment=bare)
        self.cli("build", "list", check=3, environment=bare)
        self.cli("context", "remove", "gone", check=0, environment=bare)
        self.cli("context", "use", "gone", check=1, environment=bare)
        file.chmod(0o644)
        self.assertIn("chmod 600", self.cli("build", "list", "--context", "lab",
                                            environment=bare).stderr)

    def complete(self, *words, **options):
        return self.cli("__complete", "--", *words, check=0, **options).stdout.split()

    def test_completion_offers_commands_options_and_what_the_controller_knows(self):
        self.start_controller()
        build = self.submit(HELLO)
        self.assertIn("build", self.complete("bu"))
        self.assertIn("--follow", self.complete("build", "submit", "--fo"))
        self.assertEqual(self.complete("build", "show", ""), [build])
        self.assertEqual(self.complete("task", "logs", ""), [self.task(build, "hello")["id"]])
        self.assertEqual(self.complete("build", "show", "--output", "j"), ["json"])
        task = self.task(build, "hello")["id"]
        self.assertEqual(self.complete("task", "list", ""), [build])
        self.assertEqual(self.complete("task", "logs", task, "m"), ["main"])
        self.assertEqual(self.complete("cache", "list", ""), ["test/repo"])
        self.assertEqual(self.complete("token", "revoke", "adm"), ["admin"])
        token = self.api("GET", "/api/v1/registration-tokens")["tokens"][0]["id"]
        self.assertEqual(self.complete("pool", "token", "revoke", ""), [token])
        self.assertEqual(self.complete("pool", "create", ""), [])
        self.assertEqual(self.complete("artifact", "get", task, ""), [])
        self.assertEqual(self.complete("cache", "delete", "test/repo", ""), [])
        self.controller.stop()
        self.assertEqual(self.complete("build", "show", ""), [], "silent without a controller")
        project = self.scratch / "project"
        project.mkdir()
        (project / ".cirrus.yml").write_text(HELLO + HELLO.replace("hello", "bye"))
        self.assertEqual(self.complete("run", "", cwd=project), ["hello", "bye"])
        (project / ".cirrus.yml").write_text("task: [")
        self.assertEqual(self.complete("run", "", cwd=project), [], "silent while it is broken")

    def test_the_scripts_work_in_their_shells(self):
        self.start_controller()
        build = self.submit(HELLO)
        environment = self.environment(
            CIRRUS_API_URL=self.controller.ready["http_url"],
            CIRRUS_API_TOKEN_FILE=self.controller.ready["admin_token_file"])
        environment["PATH"] = f"{pathlib.Path(CIRRUS).resolve().parent}:{environment['PATH']}"
        asked = ("source <(cirrus completion bash); COMP_WORDS=(cirrus build show ''); "
                 "COMP_CWORD=3; _cirrus; echo \"${COMPREPLY[@]}\"")
        done = subprocess.run(["bash", "-c", asked], env=environment, capture_output=True,
                              text=True, timeout=PATIENCE)
        self.assertEqual(done.stdout.strip(), build, done.stderr)
        for shell, check in (("zsh", ["-n"]), ("fish", ["--no-execute"])):
            if shutil.which(shell) is None:
                continue
            script = self.scratch / f"complete.{shell}"
            script.write_text(self.cli("completion", shell, check=0).stdout)
            subprocess.run([shell, *check, str(script)], check=True, env=self.environment())
        if shutil.which("fish"):
            done = subprocess.run(
                ["fish", "-c", "cirrus completion fish | source; complete -C 'cirrus build show '"],
                env={**environment, "HOME": str(self.scratch)}, capture_output=True, text=True,
                timeout=PATIENCE)
            self.assertIn(build, done.stdout.split(), done.stderr)


class Secrets(Case):
    def test_a_secret_from_the_command_line_to_a_task_and_never_to_a_log(self):
        self.start_controller()
        self.start_worker("w1")
        sealed = self.cli("secret", "encrypt", "--repo", "test/repo", check=0,
                          input_text="hunter2hunter2\n").stdout.strip()
        self.assertTrue(sealed.startswith("ENCRYPTED[cirrus:"), sealed)
        short = self.cli("secret", "encrypt", "--repo", "test/repo", check=2, input_text="abc")
        self.assertIn("--force", self.cli("secret", "encrypt", "--help").stdout)
        self.assertIn("cannot be masked", short.stderr)
        self.cli("secret", "encrypt", "--repo", "test/repo", "--force", check=0, input_text="abc")
        build = self.submit("task:\n  name: s\n  persistent_worker: {}\n  env:\n"
                            f"    TOKEN: {sealed}\n    OLD: ENCRYPTED[deadbeef]\n"
                            "  main_script: |\n"
                            "    echo \"token is $TOKEN\"; echo ${#TOKEN} long, old is ${OLD:-unset}\n")
        self.wait_build(build, "completed")
        log = self.log(self.task(build, "s")["id"]).decode()
        self.assertIn("14 long, old is unset", log)
        self.assertNotIn("hunter2", log)
        issues = self.build(build)["issues"]
        self.assertEqual([(i["level"], i["line"]) for i in issues], [("warning", 6)])
        for file in self.scratch.rglob("*"):
            if file.is_file() and "project" not in str(file):
                self.assertNotIn(b"hunter2hunter2", file.read_bytes(), file)

    def cli(self, *arguments, input_text=None, **options):
        if input_text is None:
            return super().cli(*arguments, **options)
        environment = self.environment(
            CIRRUS_API_URL=self.controller.ready["http_url"],
            CIRRUS_API_TOKEN_FILE=self.controller.ready["admin_token_file"])
        done = subprocess.run([CIRRUS, *arguments], env=environment, input=input_text,
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, options["check"], done.stderr)
        return done


class Backups(Case):
    def test_a_back_up_of_a_running_pair_is_restored_and_its_workers_go_on(self):
        self.start_controller()
        self.start_worker("w1", resources=("cpu=2",))
        gate = self.scratch / "gate"
        done_before = self.submit(HELLO.replace("{}", "{resources: {cpu: 1}}"))
        self.wait_build(done_before, "completed")
        running = self.submit(
            "task:\n  name: long\n  persistent_worker: {resources: {cpu: 1}}\n  main_script: |\n    set +v\n"
            f"    echo before; until [ -e {gate} ]; do sleep 0.05; done; echo after\n")
        task = self.wait_task(running, "long", "executing")["id"]
        eventually(lambda: b"before" in self.log_or_empty(task), "its first line is stored")
        target = self.scratch / "backup"
        data = str(self.scratch / "controller")
        said = json.loads(self.cli("controller", "backup", "--data-dir", data, str(target),
                                   "--output", "json", check=0).stdout)
        self.assertGreater(said["files"], 4)
        self.assertEqual(stat.S_IMODE((target / "master-key").stat().st_mode), 0o600)
        self.cli("controller", "backup", "--data-dir", data, str(target), check=1)
        self.assertIn("all is well", self.cli("controller", "check", "--data-dir", str(target),
                                              check=0).stdout)
        self.cli("controller", "check", "--data-dir", data, check=0)
        # The machine is lost; the copy takes its place.
        self.controller.kill()
        shutil.rmtree(data)
        shutil.copytree(target, data)
        self.restart_controller()
        gate.touch()
        self.wait_build(running, "completed")
        self.assertEqual(self.log(task), b"set +v\nbefore\nafter\n")
        self.assertEqual(self.build(done_before)["status"], "completed")
        self.wait_build(self.submit(HELLO.replace("{}", "{resources: {cpu: 1}}")), "completed")

    def test_check_finds_what_is_missing_or_damaged(self):
        self.start_controller()
        self.submit(HELLO)
        self.controller.stop()
        data = self.scratch / "controller"
        (data / "logs" / "4711").mkdir()
        (data / "master-key").write_text("scribble\n")
        found = json.loads(self.cli("controller", "check", "--data-dir", str(data), "--output",
                                    "json", check=1).stdout)["faults"]
        self.assertEqual(len(found), 2, found)
        self.assertIn("4711", " ".join(found))
        self.assertIn("is not a master key", " ".join(found))
        self.assertIn("no controller.db", self.cli("controller", "check", "--data-dir",
                                                   str(self.scratch), check=1).stderr)


class Edges(Case):
    def test_metrics_are_clean_and_count_what_happens(self):
        self.start_controller()
        self.start_worker("w1")
        self.wait_build(self.submit(HELLO), "completed")
        self.submit(HELLO.replace("{}", "{labels: {os: plan9}}"))
        text = eventually(lambda: (lambda t: t if 'reason="missing_label"' in t else None)(
            self.api("GET", "/metrics", raw=True).decode()), "a waiting reason is counted")
        self.assertIn('cirrus_tasks{status="completed"} 1', text)
        self.assertIn("cirrus_dispatch_seconds_count 1", text)
        eventually(lambda: 'cirrus_workers{state="idle"} 1' in self.api(
            "GET", "/metrics", raw=True).decode(), "the worker is counted as idle again")
        self.assertIn('cirrus_http_requests_total{route="POST /api/v1/builds"} 2', text)
        self.assertIn("cirrus_store_writable 1", text)
        self.assertRegex(text, r"cirrus_log_bytes_total [1-9]")
        self.assertIn("cirrus_artifact_bytes_total 0", text)
        if shutil.which("promtool"):
            lint = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                                  capture_output=True)
            self.assertEqual((lint.returncode, lint.stdout + lint.stderr), (0, ""))

    def test_rules_and_dashboard_ask_for_figures_there_are(self):
        self.start_controller()
        self.start_worker("w1")
        self.wait_build(self.submit(HELLO), "completed")
        self.submit(HELLO.replace("{}", "{labels: {os: plan9}}"))
        text = eventually(lambda: (lambda t: t if "cirrus_waiting_tasks{" in t else None)(
            self.api("GET", "/metrics", raw=True).decode()), "a task waits")
        families = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        labels = {name: set(re.findall(rf'^{name}{{.*?}}', text, re.M)) for name in families}
        monitoring = SOURCE / "packaging" / "monitoring"
        rules = (monitoring / "alerts.yml").read_text()
        dashboard = json.loads((monitoring / "grafana-dashboard.json").read_text())
        asked = re.findall(r"expr: (?:>-\n)?((?:.+\n)(?:          .+\n)*)", rules)
        self.assertEqual(len(asked), rules.count("- alert:"))
        for panel in dashboard["panels"]:
            self.assertTrue(panel["targets"], panel["title"])
            asked += [target["expr"] for target in panel["targets"]]
        for expression in asked:
            names = set(re.findall(r"\bcirrus_[a-z_]+", expression))
            for name in names:
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                self.assertTrue({name, base} & families, f"{name} in {expression}")
            for label, wanted in re.findall(r"(cirrus_[a-z_]+)\{(\w+)=\"", expression):
                if wanted != "instance":
                    self.assertIn(f"{wanted}=", " ".join(labels[label]), expression)
        unshown = families - set(re.findall(r"cirrus_[a-z_]+?(?=_bucket|[^a-z_])",
                                            " ".join(asked) + " "))
        self.assertLessEqual(unshown, {"cirrus_parked_polls", "cirrus_uploads_refused_total",
                                       "cirrus_waiting_tasks_complete"})
        if shutil.which("promtool"):
            for check in (("rules", str(monitoring / "alerts.yml")),):
                done = subprocess.run(["promtool", "check", *check], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            done = subprocess.run(["promtool", "test", "rules", str(monitoring / "alerts-test.yml")],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_slow_and_silent_clients_stop_nobody(self):
        self.start_controller()
        self.start_worker("w1")
        port = int(self.controller.ready["http_url"].rsplit(":", 1)[1])
        slow = []
        for i in range(300):
            client = socket.create_connection(("127.0.0.1", port))
            # Some say nothing, some half a head, some a head and half a body.
            client.sendall((b"", b"GET /api/v1/bui", b"POST /api/v1/builds HTTP/1.1\r\n"
                            b"Host: x\r\nContent-Length: 100000\r\n\r\n{")[i % 3])
            slow.append(client)
        self.wait_build(self.submit(HELLO), "completed")
        # A body that nobody with a token announced is not waited for.
        self.assertIn(b"401", slow[2].recv(1000))
        for client in slow:
            client.close()

    def test_bad_requests_cost_no_memory(self):
        self.start_controller()
        port = int(self.controller.ready["http_url"].rsplit(":", 1)[1])
        token = pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()
        known = f"Host: x\r\nAuthorization: Bearer {token}\r\n"

        def post(path, body, head=known):
            return (f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
                    + body)
        bad = [b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
               b"GET /api/v1/builds HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
               post("/api/v1/builds", b"[" * 7_000_000),
               post("/api/v1/builds", b'{"config":"' + b"\xff" * 4_000_000),
               post("/api/v1/builds", b'{"config":"x","' + b"z" * 1_000_000 + b'":1}'),
               post("/api/v1/pools", b"x" * 60_000), post("/api/v1/tokens", b"x" * 100_000),
               post("/api/v1/builds", b"x" * 60_000, "Host: x\r\n"), b"\x16\x03\x01" * 5000]

        def throw():
            for request in bad:
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
                    try:
                        client.sendall(request)
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(65536):
                            pass
                    except OSError:
                        pass  # answered and closed before all of it was sent

        def resident():
            status = pathlib.Path(f"/proc/{self.controller.process.pid}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+)", status)[1])
        for _ in range(3):
            throw()
        before = resident()
        threads = [threading.Thread(target=lambda: [throw() for _ in range(5)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertLess(resident() - before, 150_000, "KiB")
        self.assertEqual(self.api("GET", "/api/v1/builds")["builds"], [])

    def batch(self, path, last=""):
        """A feed until it is current: the names and keys of what it sent, and the id to resume."""
        request = urllib.request.Request(self.controller.ready["http_url"] + path)
        token = pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()
        request.add_header("Authorization", f"Bearer {token}")
        if last:
            request.add_header("Last-Event-ID", last)
        sent, identity, name = [], "", ""
        with urllib.request.urlopen(request, timeout=PATIENCE) as stream:
            for raw in stream:
                line = raw.decode().rstrip("\n")
                if line.startswith("id: "):
                    identity = line[4:]
                elif line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    if name == "current":
                        return sent, identity
                    sent.append((name, json.loads(line[6:]).get("key")))
        return self.fail("the feed ended")

    def test_feeds_of_the_fleet_and_of_builds_resume_with_what_is_new(self):
        self.start_controller()
        self.start_worker("w1")
        self.start_worker("w2")
        self.wait_connected(2)
        first = self.submit(HELLO.replace("{}", "{labels: {os: plan9}}"))
        fleet, builds = "/api/v1/workers/events", "/api/v1/builds/events"
        sent, at_fleet = self.batch(fleet)
        self.assertEqual(sent, [("reset", None), ("pool", "pool/default"),
                                ("worker", "worker/default/w1"), ("worker", "worker/default/w2")])
        sent, at_builds = self.batch(builds)
        self.assertEqual(sent, [("reset", None), ("build", f"build/{first}")])
        self.assertTrue(at_fleet and at_builds)
        self.cli("worker", "cordon", "w2", check=0)
        second = self.submit(HELLO.replace("{}", "{labels: {os: plan9}}"))
        sent, later = self.batch(fleet, at_fleet)
        self.assertIn(("worker", "worker/default/w2"), sent)
        self.assertFalse({("reset", None), ("pool", "pool/default")} & set(sent), "known already")
        self.assertNotEqual(later, at_fleet)
        self.assertEqual(self.batch(builds, at_builds)[0], [("build", f"build/{second}")])
        for hostile in ("x", "-1", "0-", at_fleet + "9" * 30, "a" * 4000):
            self.assertEqual(self.batch(fleet, hostile)[0][0], ("reset", None), hostile[:40])
        # An id of the controller's life before means nothing to this one.
        self.controller.kill()
        self.restart_controller()
        self.assertEqual(self.batch(builds, at_builds)[0],
                         [("reset", None), ("build", f"build/{first}"), ("build", f"build/{second}")])

    def test_streams_resume_and_end_cleanly_when_the_controller_goes(self):
        self.start_controller()
        build = self.submit(HELLO)
        task = self.task(build, "hello")["id"]
        token = pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()

        def open_stream(path, last=None):
            request = urllib.request.Request(self.controller.ready["http_url"] + path)
            request.add_header("Authorization", f"Bearer {token}")
            if last:
                request.add_header("Last-Event-ID", last)
            return urllib.request.urlopen(request, timeout=PATIENCE)

        stream = open_stream(f"/api/v1/tasks/{task}/events")
        identity = stream.readline().decode().strip()
        self.assertTrue(identity.startswith("id: "), identity)
        self.assertEqual(stream.readline().strip(), b"event: task")
        again = open_stream(f"/api/v1/tasks/{task}/events", identity[4:])
        self.start_worker("w1")
        name, data = next(decode_events(again))
        self.assertEqual(name, "task")
        self.assertNotEqual(json.loads(data)["task"]["status"], "triggered",
                            "the state it had is not repeated")
        self.wait_build(build, "completed")
        log = open_stream(f"/api/v1/tasks/{task}/logs/main?follow=1", "3")
        events = list(decode_events(log))
        self.assertEqual(json.loads(events[0][1])["offset"], 3)
        self.assertEqual(events[-1][0], "end")
        fleet = open_stream("/api/v1/workers/events")
        seen = []
        for name, _ in decode_events(fleet):
            seen.append(name)
            if name == "current":
                break
        self.assertEqual(seen, ["reset", "pool", "worker", "current"])
        # A clean end of the chunked body, not a broken connection.
        self.controller.signal(15)
        fleet.read()  # http.client raises IncompleteRead for a body that was cut off
        self.assertEqual(self.controller.wait(), 0)


if __name__ == "__main__":
    unittest.main()
