"""What builds may do whose token is not trusted, with real workers and real git.

SPDX-License-Identifier: MIT
"""
import json
import subprocess
import unittest
import urllib.request

from harness import Case, eventually

CONFIG = ("task:\n  name: t\n  persistent_worker: {labels: {zone: release}}\n"
          "  main_script:\n    - set +v\n    - cat what\n")


class Trust(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.cli("pool", "create", "release", "--trusted-only", check=0)
        token = self.cli("pool", "token", "create", "release", check=0).stdout
        (self.scratch / "release-token").write_text(token)
        self.open_token = self.controller.ready["registration_token_file"]
        self.controller.ready["registration_token_file"] = str(self.scratch / "release-token")
        self.start_worker("r1", labels=["zone=release"])
        made = self.api("POST", "/api/v1/tokens", {"name": "fork", "role": "submitter",
                                                   "repositories": ["acme/app"]})
        (self.scratch / "fork-token").write_text(made["token"])
        self.as_fork = {"CIRRUS_API_TOKEN_FILE": str(self.scratch / "fork-token")}
        self.fork_token = made["token"]

    def project(self, name, what, config=CONFIG):
        path = self.scratch / name
        path.mkdir()
        (path / ".cirrus.yml").write_text(config)
        (path / "what").write_text(what + "\n")
        return path

    def submit_directory(self, path, **options):
        done = self.cli("build", "submit", str(path), "--repo", "acme/app", "--output", "json",
                        check=0, **options)
        return json.loads(done.stdout)

    def git(self, path, *arguments):
        environment = self.environment(
            GIT_AUTHOR_NAME="Admin", GIT_AUTHOR_EMAIL="admin@acme", GIT_COMMITTER_NAME="Admin",
            GIT_COMMITTER_EMAIL="admin@acme", GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0")
        return subprocess.run(["git", *arguments], cwd=path, env=environment,
                              capture_output=True, text=True)

    def test_T11_a_force_push_between_approval_and_start_changes_nothing(self):
        self.cli("pool", "pause", "release", check=0)
        approved = self.submit_directory(self.project("own", "approved"))
        self.assertTrue(approved["trusted"])
        # Somebody who may push moves every name of that commit to one of their own, as the admin.
        fork = self.project("fork", "stolen")
        self.assertEqual(self.git(fork, "init", "-q", "-b", "main").returncode, 0)
        self.git(fork, "add", "-A")
        self.git(fork, "commit", "-q", "-m", "approved", "--author", "Admin <admin@acme>")
        commit = self.git(fork, "rev-parse", "HEAD").stdout.strip()
        url = self.controller.ready["http_url"].replace("//", f"//cirrus:{self.fork_token}@")
        pushed = self.git(fork, "push", "-q", "--force", url + "/git/acme/app.git",
                          f"HEAD:refs/cirrus/submit/{approved['commit']}",
                          f"HEAD:refs/heads/{approved['branch']}")
        self.assertEqual(pushed.returncode, 0, pushed.stderr)
        self.cli("pool", "resume", "release", check=0)
        self.wait_build(approved["id"], "completed")
        self.assertEqual(self.log(self.task(approved["id"], "t")["id"]), b"set +v\napproved\n")
        # Their commit is a build of its own, with nothing of that trust.
        moved = self.api_as_fork({"repository": "acme/app", "branch": approved["branch"],
                                  "commit": commit, "message": "approved"})
        self.assertFalse(moved["trusted"])
        task = self.task(moved["id"], "t")
        self.assertEqual(task["status"], "triggered")
        said = self.cli("task", "why", task["id"], check=0).stdout
        self.assertIn("pool 'release' takes tasks of trusted builds only", said)
        self.assertIn("submit it with a trusted token", said)
        # Run again, restarted: still so. The idle worker asks all the time.
        self.controller.kill()
        self.restart_controller()
        eventually(lambda: any(worker["connected"] for worker in
                               self.api("GET", "/api/v1/workers")["workers"]), "the worker is back")
        other = self.submit_directory(self.project("third", "third"))
        self.wait_build(other["id"], "completed")
        self.assertEqual(self.task(moved["id"], "t")["status"], "triggered")
        self.cli("build", "cancel", moved["id"], check=0)
        self.cli("build", "rerun", moved["id"], check=0)
        self.assertEqual(self.task(moved["id"], "t")["status"], "triggered")

    def api_as_fork(self, body):
        request = urllib.request.Request(
            self.controller.ready["http_url"] + "/api/v1/builds", json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.fork_token}"})
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())["build"]

    def test_T11_an_untrusted_build_gets_no_bare_machine_of_a_pool_that_forbids_it(self):
        self.cli("pool", "set", "default", "--untrusted-isolations", "container,vetu", check=0)
        shown = self.cli("pool", "show", "default", check=0).stdout
        self.assertIn("takes untrusted builds: container, vetu", shown)
        listed = self.cli("pool", "list", check=0).stdout
        self.assertRegex(listed, r"release .*trusted builds only")
        self.controller.ready["registration_token_file"] = self.open_token
        self.start_worker("w1")
        bare = self.project("bare", "bare", CONFIG.replace("{labels: {zone: release}}", "{}"))
        foreign = self.submit_directory(bare, environment=self.as_fork)
        task = foreign["tasks"][0]
        self.assertEqual(task["status"], "failed", task)
        self.assertIn("no pool lets such builds use isolation 'none'", task["reason"])
        said = self.cli("build", "submit", str(bare), "--repo", "acme/app", check=0,
                        environment=self.as_fork)
        self.assertRegex(said.stdout, r"^\d+\n$")
        self.assertIn("t: failed (its build is not trusted, and no pool", said.stderr)
        self.assertIn(": failed (not trusted)\n",
                      self.cli("build", "show", foreign["id"], check=0).stdout)
        own = self.submit_directory(bare)
        self.wait_build(own["id"], "completed")
        self.cli("pool", "set", "default", "--untrusted-isolations", "any", check=0)
        self.cli("build", "rerun", foreign["id"], check=0)
        self.wait_build(foreign["id"], "completed")

    def test_rules_of_pools_are_typed_without_surprise(self):
        for arguments in (("--untrusted-isolations", "docker"), ("--untrusted-isolations", "any,none"),
                          ("--trusted-only", "--untrusted-isolations", "any")):
            self.cli("pool", "set", "release", *arguments, check=2)
        self.assertIn("takes trusted builds only", self.cli("pool", "show", "release", check=0).stdout)
        self.cli("pool", "set", "release", "--lost-after", "1m", check=0)
        self.assertIn("takes trusted builds only", self.cli("pool", "show", "release", check=0).stdout)
        said = self.cli("audit", "list", "--action", "pool", check=0).stdout
        self.assertNotIn("pool.trust", said, "nothing was changed")


if __name__ == "__main__":
    unittest.main()
