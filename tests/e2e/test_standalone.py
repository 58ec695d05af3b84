"""`cirrus standalone`: whom its tasks run as. SPDX-License-Identifier: MIT"""
import os
import unittest

from harness import Case, Daemon

NONE = "persistent_worker:\n  isolation:\n    none: {}\n"


class Standalone(Case):
    def start(self, *flags, **variables):
        self.controller = Daemon(self.scratch, "standalone", [
            "standalone", "--data-dir", str(self.scratch / "data"), "--rpc-address", "127.0.0.1:0",
            "--http-address", "127.0.0.1:0", *flags], self.environment(**variables))
        self.daemons.append(self.controller)
        return self.controller.start()

    def whoami(self):
        source = self.scratch / "source"
        source.mkdir(exist_ok=True)
        (source / ".cirrus.yml").write_text(
            NONE + "task:\n  name: t\n  script:\n    - id -un; pwd; touch made\n"
            f"    - cat {self.scratch}/data/controller/* > /dev/null && echo LEAKED || echo closed\n")
        (source / "file").write_text("of the source\n")
        done = self.cli("build", "submit", str(source), check=0)
        build = next(word for word in done.stdout.split() if word.isdigit())
        task = self.wait_build(build, "completed")["tasks"][0]
        return self.log(task["id"]).decode().splitlines()

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_started_as_root_its_tasks_are_nobodys(self):
        daemon = self.start()
        self.assertIn("Tasks run as user 'nobody'; --task-user root", daemon.log())
        lines = self.whoami()
        self.assertIn("nobody", lines)
        self.assertIn("closed", lines)
        self.assertNotIn("LEAKED", lines)

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_unless_it_is_told_otherwise(self):
        daemon = self.start("--task-user", "root")
        self.assertIn("tasks run as root", daemon.log())
        self.assertIn("root", self.whoami())
        daemon.stop()
        daemon = self.start(CIRRUS_CONTROLLER_TASK_USER="daemon")
        self.assertIn("daemon", self.whoami())

    def test_a_user_that_does_not_exist_is_named(self):
        daemon = Daemon(self.scratch, "standalone", [
            "standalone", "--data-dir", str(self.scratch / "data"), "--rpc-address", "127.0.0.1:0",
            "--http-address", "127.0.0.1:0", "--task-user", "no-such-user"], self.environment())
        self.daemons.append(daemon)
        daemon.start(wait=False)
        self.assertEqual(daemon.wait(), 1)
        self.assertIn("no-such-user", daemon.log())


if __name__ == "__main__":
    unittest.main()
