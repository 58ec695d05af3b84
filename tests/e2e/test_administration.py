"""Pools, tokens, workers and the audit as people type them. SPDX-License-Identifier: MIT"""
import json

from harness import Case

MANUAL = """
first_task:
  persistent_worker: {}
  script: test -e /nonexistent/never
second_task:
  persistent_worker: {}
  trigger_type: manual
  script: echo here
"""


class Administration(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()

    def as_json(self, *arguments):
        document = json.loads(self.cli(*arguments, "--output", "json", check=0).stdout)
        self.assertEqual(document["schema_version"], 1)
        return document

    def token_file(self, name, token):
        path = self.scratch / name
        path.write_text(token)
        return {"CIRRUS_API_TOKEN_FILE": str(path)}

    def test_a_pool_is_made_joined_paused_and_its_token_replaced(self):
        self.cli("pool", "create", "macs", "--lost-after", "5m", check=0)
        self.assertIn("exists", self.cli("pool", "create", "macs", check=1).stderr)
        self.cli("pool", "create", "../etc", check=2)
        token = self.cli("pool", "token", "create", "macs", "--worker-names", "mac-*",
                         check=0).stdout.strip()
        (self.scratch / "pool-token").write_text(token)
        self.controller.ready["registration_token_file"] = str(self.scratch / "pool-token")
        refused = self.start_worker("linux-1", wait=False)
        self.assertEqual(refused.wait(), 3, refused.log())
        self.start_worker("mac-1")
        self.wait_connected(1, "macs")
        self.assertEqual(
            [(w["pool"], w["name"]) for w in self.as_json("worker", "list")["workers"]],
            [("macs", "mac-1")])
        self.cli("pool", "pause", "macs", check=0)
        build = self.submit("task:\n  persistent_worker: {}\n  script: echo hello\n")
        self.assertIn("paused", self.cli("task", "why", "1", check=0).stdout)
        self.cli("pool", "resume", "macs", check=0)
        self.wait_build(build, "completed")
        self.cli("pool", "token", "rotate", "macs", "--overlap", "1h", check=0)
        tokens = self.as_json("pool", "token", "list", "macs")["tokens"]
        self.assertEqual(sorted(bool(t["expires_at"]) for t in tokens), [False, True])
        old = next(t["id"] for t in tokens if t["expires_at"])
        self.cli("pool", "token", "revoke", old, check=0)
        shown = self.cli("pool", "show", "macs", check=0).stdout
        self.assertIn("lost after 300 s", shown)
        self.assertIn("revoked", shown)
        self.cli("pool", "show", "none", check=1)

    def test_a_submitters_token_is_for_its_repositories(self):
        token = self.cli("token", "create", "ci", "--role", "submitter", "--repo", "acme/*",
                         check=0).stdout.strip()
        as_ci = self.token_file("ci-token", token)
        project = self.scratch / "project"
        project.mkdir()
        (project / ".cirrus.yml").write_text("task:\n  persistent_worker: {}\n  script: true\n")
        refused = self.cli("build", "submit", str(project), "--repo", "other/app",
                           environment=as_ci)
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.cli("build", "submit", str(project), "--repo", "acme/app", environment=as_ci, check=0)
        self.cli("token", "list", environment=as_ci, check=3)
        self.cli("token", "create", "x", "--role", "submitter", check=2)
        tokens = {t["name"]: t for t in self.as_json("token", "list")["tokens"]}
        self.assertEqual(tokens["ci"]["repositories"], ["acme/*"])
        self.assertFalse(tokens["ci"]["trusted"])
        self.cli("token", "revoke", "ci", check=0)
        self.cli("build", "list", environment=as_ci, check=3)
        audit = self.cli("audit", "list", "--action", "token", check=0).stdout
        self.assertIn("token.revoke", audit)
        self.assertNotIn("build.submit", audit)

    def test_a_worker_is_cordoned_drained_and_let_back(self):
        self.start_worker("w1")
        self.wait_connected(1)
        self.cli("worker", "cordon", "w1", check=0)
        build = self.submit("task:\n  persistent_worker: {}\n  script: sleep 1000\n")
        self.assertIn("paused", self.cli("task", "why", "1", check=0).stdout)
        self.cli("worker", "uncordon", "w1", check=0)
        self.wait_task(build, "main", "executing")
        slow = self.cli("worker", "drain", "w1", "--timeout", "1s")
        self.assertEqual(slow.returncode, 1)
        self.assertIn("still run", slow.stderr)
        self.cli("task", "cancel", "1", check=0)
        self.assertIn("runs nothing", self.cli("worker", "drain", "w1", check=0).stdout)
        self.assertIn("cordoned", self.cli("worker", "show", "w1", check=0).stdout)
        self.cli("worker", "show", "none", check=1)
        self.cli("worker", "list", "--bogus", check=2)

    def test_a_store_is_checked_while_it_is_in_use(self):
        data = self.scratch / "controller"
        checked = self.cli("controller", "check", "--data-dir", str(data), check=0)
        self.assertIn("all is well", checked.stdout)
        self.controller.stop()
        store = data / "controller.db"
        store.write_bytes(store.read_bytes()[:4096] + b"\xff" * 4096)
        refused = self.cli("controller", "check", "--data-dir", str(data), check=1)
        self.assertIn(".recover", refused.stdout + refused.stderr)
        self.cli("controller", "check", "--data-dir", "/nonexistent", check=1)

    def test_work_is_run_again_and_triggered(self):
        self.start_worker("w1")
        build = self.submit(MANUAL)
        self.wait_build(build, "failed")
        self.assertIn("triggered by hand", self.cli("task", "list", build, check=0).stdout)
        self.cli("task", "trigger", "2", check=0)
        self.wait_task(build, "second", "completed")
        self.cli("task", "trigger", "2", check=1)
        again = self.cli("build", "rerun", build, "--follow", check=1)
        self.assertIn("first", again.stdout)
        tasks = {t["name"]: t for t in self.as_json("task", "list", build)["tasks"]}
        self.assertEqual((tasks["first"]["attempt"], tasks["second"]["attempt"]), (2, 1))
        self.assertIn("runs again as task 4", self.cli("task", "rerun", "3", check=0).stdout)
        self.cli("task", "rerun", "1", check=1)
        self.cli("build", "rerun", "99", check=1)
