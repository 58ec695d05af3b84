"""`cirrus standalone`: whom its tasks run as. SPDX-License-Identifier: MIT"""
import os
import shutil
import unittest

from harness import Case, Daemon
from tls_relay import Authority, run as run_openssl

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


@unittest.skipUnless(shutil.which("openssl"), "openssl is missing")
class StandaloneTls(Case):
    def start(self, certificate, key, trusted, *flags):
        self.controller = Daemon(self.scratch, "standalone", [
            "standalone", "--data-dir", str(self.scratch / "data"), "--rpc-address", "127.0.0.1:0",
            "--http-address", "127.0.0.1:0", "--tls-certificate", str(certificate),
            "--tls-key", str(key), *flags], self.environment())
        self.daemons.append(self.controller)
        self.controller.start()
        self.assertTrue(self.controller.ready["http_url"].startswith("https://"))
        self.trust = {"CIRRUS_API_CA_FILE": str(trusted)}

    def a_task_clones_and_runs(self):
        source = self.scratch / "source"
        source.mkdir()
        (source / ".cirrus.yml").write_text(NONE + "task:\n  name: t\n  main_script: cat file\n")
        (source / "file").write_text("cloned over TLS\n")
        done = self.cli("build", "submit", str(source), "--follow", environment=self.trust)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("cloned over TLS\n",
                      self.cli("task", "logs", "1", "main", check=0, environment=self.trust).stdout)

    def test_its_worker_and_its_clones_trust_the_authority_that_is_named(self):
        authority = Authority(self.scratch, "authority")
        certificate, key = authority.sign("server")
        self.start(certificate, key, authority.certificate, "--tls-ca", str(authority.certificate))
        self.a_task_clones_and_runs()

    def test_a_certificate_may_be_its_own_authority(self):
        own, key = self.scratch / "own.pem", self.scratch / "own.key"
        run_openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "30", "-subj", "/CN=own", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(own))
        self.start(own, key, own)
        self.a_task_clones_and_runs()

    def test_an_authority_that_is_not_there_is_named(self):
        authority = Authority(self.scratch, "authority")
        certificate, key = authority.sign("server")
        daemon = Daemon(self.scratch, "standalone", [
            "standalone", "--data-dir", str(self.scratch / "data"), "--rpc-address", "127.0.0.1:0",
            "--http-address", "127.0.0.1:0", "--tls-certificate", str(certificate), "--tls-key",
            str(key), "--tls-ca", "/no/such/file"], self.environment())
        self.daemons.append(daemon)
        daemon.start(wait=False)
        self.assertEqual(daemon.wait(), 2, daemon.log())
        self.assertIn("/no/such/file", daemon.log())


if __name__ == "__main__":
    unittest.main()
