"""What a build knows of what changed, and of the last success on its branch.

SPDX-License-Identifier: MIT
"""
import json
import subprocess
import unittest

from harness import Case

CONFIG = """persistent_worker:
  isolation:
    none: {}
main_task:
  script:
    - set +v
    - echo "$CIRRUS_LAST_GREEN_BUILD_ID $CIRRUS_LAST_GREEN_CHANGE"
    - echo "$CIRRUS_USER_COLLABORATOR $CIRRUS_USER_PERMISSION"
    - test ! -e broken
src_task:
  skip: "!changesInclude('.cirrus.yml', 'src/**')"
  script: true
docs_task:
  only_if: changesIncludeOnly('docs/**')
  script: true
"""


class Changes(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.start_worker()
        self.repository = self.scratch / "project"
        self.repository.mkdir()
        self.git("init", "-q", "-b", "main")
        (self.repository / ".cirrus.yml").write_text(CONFIG)
        self.commit("src/a.c")

    def git(self, *arguments):
        environment = self.environment(
            GIT_AUTHOR_NAME="T", GIT_AUTHOR_EMAIL="t@example.org", GIT_COMMITTER_NAME="T",
            GIT_COMMITTER_EMAIL="t@example.org", GIT_CONFIG_NOSYSTEM="1")
        return subprocess.run(["git", *arguments], cwd=self.repository, env=environment, check=True,
                              capture_output=True, text=True).stdout.strip()

    def commit(self, *files):
        for name in files:
            path = self.repository / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(path.read_text() + "more\n" if path.exists() else "first\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def run_build(self, status="completed", *options, **more):
        done = self.cli("build", "submit", str(self.repository), "--repo", "acme/app", "--output",
                        "json", *options, check=0, **more)
        return self.wait_build(json.loads(done.stdout)["id"], status)

    def statuses(self, build):
        return {task["name"]: task["status"] for task in build["tasks"]}

    def said(self, build):
        [task] = [task for task in build["tasks"] if task["name"] == "main"]
        return self.log(task["id"]).decode().splitlines()[1:3]

    def test_changes_since_the_last_success_decide(self):
        first = self.git("rev-parse", "HEAD")
        # Nothing to compare with: what the commit itself changed, here everything.
        build = self.run_build()
        self.assertEqual(self.statuses(build), {"main": "completed", "src": "completed"})
        self.assertEqual(self.said(build), [" ", "true admin"])
        self.commit("docs/x.md")
        docs = self.run_build()
        self.assertEqual(self.statuses(docs),
                         {"main": "completed", "src": "skipped", "docs": "completed"})
        self.assertEqual(self.said(docs)[0], f"{build['id']} {first}")
        # A failure is no success: what it changed is looked at again.
        self.commit("src/a.c", "broken")
        self.assertEqual(self.statuses(self.run_build("failed"))["src"], "completed")
        (self.repository / "broken").unlink()
        self.commit("docs/x.md")
        after = self.run_build()
        self.assertEqual(self.statuses(after), {"main": "completed", "src": "completed"})
        self.assertEqual(self.said(after)[0].split()[0], docs["id"])

    def test_a_pull_request_is_what_it_changes_since_it_parted(self):
        base = self.commit("src/b.c")
        self.git("checkout", "-q", "-b", "topic", "HEAD^")
        self.commit("docs/y.md")
        variables = ("-e", "CIRRUS_PR=7", "-e", f"CIRRUS_BASE_SHA={base}")
        # The base has to be there to compare with.
        self.git("checkout", "-q", "main")
        self.run_build()
        self.git("checkout", "-q", "topic")
        build = self.run_build("completed", *variables)
        self.assertEqual(self.statuses(build),
                         {"main": "completed", "src": "skipped", "docs": "completed"})

    def test_who_may_not_be_trusted_is_said_and_moves_no_mark(self):
        made = self.api("POST", "/api/v1/tokens", {"name": "fork", "role": "submitter",
                                                   "repositories": ["acme/app"]})
        (self.scratch / "fork").write_text(made["token"])
        as_fork = {"CIRRUS_API_TOKEN_FILE": str(self.scratch / "fork")}
        build = self.run_build("completed", "-e", "CIRRUS_USER_PERMISSION=admin",
                               environment=as_fork)
        self.assertEqual(self.said(build), [" ", "false none"])
        own = self.run_build("completed", "-e", "CIRRUS_USER_PERMISSION=read")
        self.assertEqual(self.said(own), [" ", "true read"])


if __name__ == "__main__":
    unittest.main()
