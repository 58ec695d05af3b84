"""The examples of the documentation, run as they are written.

SPDX-License-Identifier: MIT
A fence that begins with ```sh run is part of its file's script. Only the default ports are
replaced, so that several suites can run at once.
"""
import os
import pathlib
import re
import socket
import subprocess
import unittest

from harness import CIRRUS, PATIENCE, SOURCE, Case, processes_with


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Docs(Case):
    def run_file(self, name, replaced=(), **variables):
        text = (SOURCE / "docs" / name).read_text()
        blocks = re.findall(r"^```sh run\n(.*?)^```$", text, re.M | re.S)
        self.assertTrue(blocks, f"{name} has no example to run")
        rpc, http = free_port(), free_port()
        script = "set -euo pipefail\n" + "".join(blocks)
        script = script.replace("127.0.0.1:7480", f"127.0.0.1:{http}")
        script = script.replace("127.0.0.1:7470", f"127.0.0.1:{rpc}")
        for written, meant in replaced:
            self.assertIn(written, script)
            script = script.replace(written, meant)
        home = self.scratch / "home"
        home.mkdir()
        environment = self.environment(
            CIRRUS_CONTROLLER_RPC_ADDRESS=f"127.0.0.1:{rpc}",
            CIRRUS_CONTROLLER_HTTP_ADDRESS=f"127.0.0.1:{http}", HOME=str(home), COOKIE=self.cookie,
            **variables)
        environment["PATH"] = f"{pathlib.Path(CIRRUS).resolve().parent}:{environment['PATH']}"
        output = self.scratch / "output"
        with open(output, "wb") as file:
            done = subprocess.run(["bash", "-c", script], cwd=home, env=environment, stdout=file,
                                  stderr=file, stdin=subprocess.DEVNULL, timeout=PATIENCE * 2)
        said = output.read_text(errors="replace")
        for log in home.glob("*.log"):
            if done.returncode:
                said += f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
        self.assertEqual(done.returncode, 0, said)
        return said

    def tearDown(self):
        # Examples leave their daemons running, as their reader does.
        for pid in processes_with(self.cookie):
            try:
                os.kill(pid, 15)
            except OSError:
                pass
        super().tearDown()

    def test_the_tutorial(self):
        said = self.run_file("tutorial.md")
        self.assertIn("it runs on Linux", said)
        self.assertIn("ENCRYPTED[cirrus:", said)
        self.assertIn("plan9", said)

    def test_running_locally(self):
        said = self.run_file("how-to/run-locally.md")
        self.assertIn("lint all", said)
        self.assertIn("lint strict", said)
        self.assertTrue(said.endswith("ok\n"), said)

    def for_a_controller(self):
        """One that runs already, as the how-tos assume; its commands find it."""
        self.start_controller()
        return {"CIRRUS_API_URL": self.controller.ready["http_url"],
                "CIRRUS_API_TOKEN_FILE": self.controller.ready["admin_token_file"]}

    def test_secrets(self):
        said = self.run_file("how-to/secrets.md", TOKEN="a value of seven words or so",
                             **self.for_a_controller())
        self.assertRegex(said, r"^ENCRYPTED\[cirrus:[^\]]+\]\n$")

    def test_a_back_up(self):
        variables = self.for_a_controller()
        said = self.run_file("how-to/back-up.md", **variables, replaced=(
            ("/var/lib/cirrus/controller", str(self.scratch / "controller")),
            ("/backup/", f"{self.scratch}/backup-")))
        self.assertIn("all is well", said)

    def test_monitoring(self):
        said = self.run_file("how-to/monitor.md", **self.for_a_controller())
        self.assertRegex(said, r"(?m)^[0-9a-zA-Z_-]{40,}$")

    def test_builds_that_are_not_trusted(self):
        said = self.run_file("how-to/untrusted-builds.md", **self.for_a_controller())
        self.assertIn("its build is not trusted, and no pool lets such builds use isolation 'none'",
                      said)
        self.assertRegex(said, r"(?m)^1 +acme/app .* failed ")
        self.assertRegex(said, r"(?m)^2 +acme/app .* created ")

    def test_tls(self):
        self.assertIn("context 'secure' saved", self.run_file("how-to/tls.md"))

    def test_the_reference_of_commands_is_what_the_program_says(self):
        now = subprocess.run([CIRRUS, "help", "--reference"], capture_output=True, text=True,
                             check=True, env=self.environment()).stdout
        written = (SOURCE / "docs" / "reference" / "commands.md").read_text()
        self.assertEqual(written, now, "run: cirrus help --reference > docs/reference/commands.md")

    def test_every_command_has_an_example_in_its_help(self):
        now = subprocess.run([CIRRUS, "help", "--reference"], capture_output=True, text=True,
                             check=True, env=self.environment()).stdout
        for section in now.split("\n## ")[1:]:
            name = section.split("\n", 1)[0]
            if f"    {name} COMMAND" in section or name == "cirrus":
                continue
            self.assertIn("```", section, f"{name} has no example")

    def test_every_link_between_documents_leads_somewhere(self):
        for file in [*SOURCE.glob("*.md"), *SOURCE.glob("docs/**/*.md")]:
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
                if "://" in target:
                    continue
                self.assertTrue((file.parent / target).exists(), f"{file}: {target}")


if __name__ == "__main__":
    unittest.main()
