"""One worker, real processes: how tasks end. SPDX-License-Identifier: MIT"""
import unittest
import urllib.error
import urllib.request

from harness import Case, decode_events, eventually, log_bytes, processes_with

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"


class Tasks(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.worker = self.start_worker()

    def test_a_script_succeeds_and_its_log_is_what_the_shell_echoed(self):
        build = self.submit(NONE + "task:\n  name: hello\n  script:\n    - echo 'Foo'\n"
                            "    - echo 'Bar'\n")
        ended = self.wait_build(build, "completed")
        task = ended["tasks"][0]
        self.assertEqual(task["worker"], "w1")
        self.assertEqual(self.log(task["id"]), b"echo 'Foo'\nFoo\necho 'Bar'\nBar\n")
        self.assertEqual([(s["name"], s["status"]) for s in task["steps"]],
                         [("main", "completed")])

    def test_a_failing_script_fails_the_build_and_skips_what_depends_on_it(self):
        build = self.submit(
            NONE + "task:\n  name: bad\n  script: exit 3\n  second_script: echo no\n"
            "  on_failure:\n    help_script: echo cleaning\n"
            "  always:\n    end_script: echo always\n"
            "task:\n  name: after\n  depends_on: bad\n  script: echo never\n")
        ended = self.wait_build(build, "failed")
        bad, after = ended["tasks"]
        self.assertEqual(bad["status"], "failed")
        self.assertEqual({s["name"]: s["status"] for s in bad["steps"]},
                         {"main": "failed", "second": "skipped", "help": "completed",
                          "end": "completed"})
        self.assertTrue(self.log(bad["id"]).endswith(b"\nExit status: 3"))
        self.assertEqual(after["status"], "skipped")
        self.assertIn("bad", after["reason"])

    def test_an_allowed_failure_does_not_fail_the_build(self):
        build = self.submit(NONE + "task:\n  name: flaky\n  allow_failures: true\n"
                            "  script: exit 1\ntask:\n  name: next\n  depends_on: flaky\n"
                            "  script: echo ran\n")
        ended = self.wait_build(build, "completed")
        self.assertEqual([t["status"] for t in ended["tasks"]], ["failed", "completed"])

    def test_a_timeout_ends_the_script_and_every_process_of_it(self):
        mark = f"{self.cookie}-timeout"
        build = self.submit(
            NONE + f"task:\n  name: slow\n  timeout_in: 2s\n  env:\n    MARK: {mark}\n"
            "  script:\n    - setsid sleep 1000 &\n    - sleep 1000\n"
            "  on_timeout:\n    late_script: echo too late\n")
        ended = self.wait_build(build, "failed")
        task = ended["tasks"][0]
        self.assertIn(b"Timed out!", self.log(task["id"]))
        self.assertIn(b"too late\n", self.log(task["id"], "late"))
        eventually(lambda: not processes_with(mark), "no process of the task is left")

    def test_cancelling_leaves_no_process_of_the_task(self):
        mark = f"{self.cookie}-cancel"
        build = self.submit(
            NONE + f"task:\n  name: long\n  env:\n    MARK: {mark}\n"
            "  daemon_background_script: sleep 1000\n"
            "  script: |\n    trap '' TERM\n    setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000' &\n"
            "    echo started\n    sleep 1000\n    sleep 1000\n")
        task = self.wait_task(build, "long", "executing")
        eventually(lambda: b"started\n" in self.log_or_empty(task["id"]), "the script has started")
        self.assertTrue(processes_with(mark))
        self.cli("build", "cancel", build, check=0)
        ended = self.wait_build(build, "aborted")
        self.assertEqual(ended["tasks"][0]["status"], "aborted")
        eventually(lambda: not processes_with(mark), "no process of the task is left")

    def test_a_background_service_serves_another_script_and_is_gone_at_the_end(self):
        mark = f"{self.cookie}-service"
        build = self.submit(
            NONE + f"task:\n  name: svc\n  env:\n    MARK: {mark}\n"
            "  serve_background_script: while true; do date > beat; sleep 0.05; done\n"
            "  use_script: for i in $(seq 200); do [ -s beat ] && exit 0; sleep 0.05; done; exit 1\n")
        ended = self.wait_build(build, "completed")
        self.assertEqual({s["name"]: s["status"] for s in ended["tasks"][0]["steps"]},
                         {"serve": "completed", "use": "completed"})
        eventually(lambda: not processes_with(mark), "the service is gone")

    def test_a_log_can_be_followed_while_it_is_written(self):
        build = self.submit(NONE + "task:\n  name: talk\n  script: |\n    echo one\n"
                            "    while [ ! -e go ]; do sleep 0.02; done\n    echo two\n"
                            "  env:\n    CIRRUS_WORKING_DIR: " + str(self.scratch / "work") + "\n")
        task = self.wait_task(build, "talk", "executing")
        eventually(lambda: b"one\n" in self.log_or_empty(task["id"]), "the first line is there")
        request = urllib.request.Request(
            self.controller.ready["http_url"] + f"/api/v1/tasks/{task['id']}/logs/main?follow=1")
        with open(self.controller.ready["admin_token_file"]) as file:
            request.add_header("Authorization", f"Bearer {file.read().strip()}")
        collected = b""
        released = False
        with urllib.request.urlopen(request, timeout=30) as stream:
            for name, data in decode_events(stream):
                if name == "end":
                    break
                if name == "log":
                    collected += log_bytes(data)
                if b"one\n" in collected and not released:
                    (self.scratch / "work" / "go").touch()
                    released = True
        self.wait_build(build, "completed")
        self.assertEqual(collected, self.log(task["id"]))
        self.assertIn(b"\ntwo\n", collected)

    def test_secrets_of_the_worker_do_not_reach_scripts(self):
        self.worker.stop()
        self.worker.environment.update(CIRRUS_API_TOKEN="sesame", CIRRUS_WORKER_TOKEN="sesame",
                                       OTEL_EXPORTER_OTLP_HEADERS="sesame", SENTRY_DSN="sesame",
                                       ORDINARY="handed over")
        self.worker.start()
        build = self.submit(NONE + "task:\n  name: look\n  script: env\n")
        ended = self.wait_build(build, "completed")
        log = self.log(ended["tasks"][0]["id"])
        self.assertIn(b"ORDINARY=handed over", log)
        self.assertNotIn(b"sesame", log)
        self.assertIn(b"CIRRUS_CI=true", log)
        self.assertIn(b"CIRRUS_OS=linux", log)

    def test_the_policy_of_the_owner_is_a_task_failure_with_a_reason(self):
        self.worker.stop()
        settings = self.scratch / "strict.yml"
        settings.write_text("security:\n  allowed-isolations:\n    tart: {}\n")
        self.start_worker(name="w2", extra=("--file", str(settings)))
        build = self.submit("task:\n  name: t\n  persistent_worker: {}\n  script: echo x\n")
        ended = self.wait_build(build, "failed")
        self.assertIn("isolation 'none' is not allowed", ended["tasks"][0]["reason"])

    def test_api_tokens_are_needed_everywhere(self):
        for path in ("/api/v1/builds", "/api/v1/builds/1", "/api/v1/tasks/1", "/api/v1/workers",
                     "/api/v1/pools", "/git/a/b.git/info/refs?service=git-upload-pack"):
            request = urllib.request.Request(self.controller.ready["http_url"] + path)
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            self.assertEqual(caught.exception.code, 401, path)
            caught.exception.close()


if __name__ == "__main__":
    unittest.main()
