"""The YAML of the product's defining document: every block loads, every pair runs.

SPDX-License-Identifier: MIT
`document/` holds the blocks in their order: `worker-*` are settings of a worker, `tasks-*` are
`.cirrus.yml` files.
"""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import unittest

from harness import CIRRUS, PATIENCE, SOURCE, Case, eventually, processes_with

BLOCKS = pathlib.Path(__file__).resolve().parent / "document"
STAND_IN = pathlib.Path(__file__).resolve().parent / "vm" / "stand_in.py"
MISSING = [p for p in ("sshd", "unshare", "setpriv", "ssh-keygen", "openssl", "git", "make")
           if not shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin")]


def block(name):
    [path] = BLOCKS.glob(f"*-{name}.yml")
    return path.read_text()


def the_document():
    """Beside the clone, or where the variable says; None if it is at neither place."""
    given = os.environ.get("CIRRUS_PRODUCT_DOCUMENT")
    if given:
        return pathlib.Path(given)
    return next(iter(sorted((SOURCE.parent / "shared").glob("000_*.txt"))), None)


def ssh_port_is_free():
    """The stand-in VMs of the document's images listen on port 22 of loopback addresses."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.77.0.1", 22))
        except OSError:
            return False
    return True


class DocumentBlocks(Case):
    def test_the_blocks_here_are_those_of_the_document(self):
        document = the_document()
        if document is None:
            self.skipTest("the document is not beside the clone: only the blocks kept here are "
                          "tested (CIRRUS_PRODUCT_DOCUMENT says where it is)")
        found = re.findall(r"^```yaml\n(.*?)^```$", document.read_text(), re.M | re.S)
        self.assertEqual(found, [path.read_text() for path in sorted(BLOCKS.glob("*.yml"))])

    def test_every_worker_configuration_loads(self):
        paths = sorted(BLOCKS.glob("*-worker-*.yml"))
        self.assertEqual(len(paths), 9)
        for path in paths:
            with self.subTest(path.name):
                flags = [] if "token:" in path.read_text() else ["--token", "t"]
                done = self.cli("worker", "validate", "-f", str(path), *flags, check=0)
                self.assertEqual(done.stderr, "", "a configuration of the document is warned of")

    def test_a_file_beats_the_flags_and_the_document_says_what_it_means(self):
        [path] = BLOCKS.glob("*-worker-example.yml")
        done = self.cli("worker", "validate", "-f", str(path), "--name", "other", check=0)
        self.assertIn("worker 'MacMini-Rack-1-Slot-2': 1 upstream(s), 1 label(s), 1 resource(s)",
                      done.stdout)

    def test_every_task_file_evaluates(self):
        paths = sorted(BLOCKS.glob("*-tasks-*.yml"))
        self.assertEqual(len(paths), 6)
        for path in paths:
            with self.subTest(path.name):
                text = path.read_text()
                if "task:" not in text:  # the standby's twin shows the isolation alone
                    text += "task:\n  script: uname -a\n"
                tasks = self.evaluate(text)
                self.assertEqual(len(tasks), text.count("task:"))
                for task in tasks:
                    self.assertTrue(task["instance"]["@type"].endswith(".PersistentWorkerInstance"))
        [labels] = self.evaluate(block("tasks-labels"))
        self.assertEqual(labels["instance"]["labels"], {"os": "darwin", "arch": "arm64"})
        [container] = self.evaluate(block("tasks-container"))
        spec = container["instance"]["isolation"]["container"]
        self.assertEqual((spec["image"], spec["cpu"], spec["memory"]),
                         ("debian:latest", 24, 128 * 1024))
        self.assertEqual([(v["source"], v["target"], v.get("readOnly", v.get("read_only", False)))
                          for v in spec["volumes"]],
                         [("/path/on/host", "/path/in/container", False),
                          ("/tmp/persistent-cache", "/tmp/cache", True)])
        for task in self.evaluate(block("tasks-resources")):
            self.assertEqual(task["instance"]["resources"], {"tart-vms": 1})

    def evaluate(self, text):
        (self.scratch / ".cirrus.yml").write_text(text)
        done = subprocess.run([CIRRUS, "validate", "--output", "json"], cwd=self.scratch,
                              env=self.environment(), capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)["tasks"]


class DocumentCase(Case):
    def start_with(self, name, text, *extra):
        settings = self.scratch / "worker.yml"
        # The token and the name of the document are another installation's.
        settings.write_text(re.sub(r"^(token|name):.*\n", "", text, flags=re.M))
        return self.start_worker(name=name, resources=(), extra=("-f", str(settings), *extra))


class DocumentPairs(DocumentCase):
    """What needs no VM: tasks meet a worker of the document."""

    def test_a_task_without_isolation_runs_where_nothing_is_forbidden(self):
        self.start_controller()
        self.start_with("w", block("worker-all-isolations"), "--labels", "os=darwin,arch=arm64")
        build = self.submit(block("tasks-labels"))
        task = self.wait_build(build, "completed")["tasks"][0]
        self.assertIn(b"running on-premise\n", self.log(task["id"]))

    def test_a_worker_for_tart_only_refuses_a_task_without_isolation(self):
        self.start_controller()
        self.start_with("w", block("worker-only-tart"), "--labels", "os=darwin,arch=arm64")
        task = self.wait_build(self.submit(block("tasks-labels")), "failed")["tasks"][0]
        self.assertIn("isolation 'none' is not allowed by this Persistent Worker's security "
                      "settings", task["reason"])

    def test_a_worker_for_tart_only_refuses_the_documents_container_and_vetu(self):
        self.start_controller()
        self.start_with("w", block("worker-only-tart"))
        for name, kind in (("tasks-container", "container"), ("tasks-vetu", "vetu")):
            with self.subTest(name):
                task = self.wait_build(self.submit(block(name)), "failed")["tasks"][0]
                self.assertIn(f"isolation '{kind}' is not allowed", task["reason"])

    def test_images_beside_the_pattern_are_refused(self):
        self.start_controller()
        self.start_with("w", block("worker-tart-images"))
        config = block("tasks-tart").replace("ghcr.io/cirruslabs/", "ghcr.io/others/")
        task = self.wait_build(self.submit(config), "failed")["tasks"][0]
        self.assertIn("tart image 'ghcr.io/others/macos-ventura-base:latest' is not allowed",
                      task["reason"])

    def test_volumes_follow_the_documents_rules(self):
        self.start_controller()
        self.start_with("w", block("worker-tart-volumes"))
        for volume, words in (
                ("{source: /Volumes/other}", "volume '/Volumes/other' is not allowed"),
                ("{source: /Volumes/SSD}", "volume '/Volumes/SSD' is not allowed"),
                ("{source: /var/src}", "volume '/var/src' must be read-only"),
                ("{source: /var/src/inside, readonly: true}",
                 "volume '/var/src/inside' is not allowed")):
            with self.subTest(volume):
                config = block("tasks-tart").replace(
                    "      password: admin\n",
                    f"      password: admin\n      volumes:\n        - {volume}\n")
                task = self.wait_build(self.submit(config), "failed")["tasks"][0]
                self.assertIn(words, task["reason"])

    def test_the_documents_log_file_is_written_and_only_warnings_reach_it(self):
        self.start_controller()
        path = self.scratch / "worker.log"
        worker = self.start_with("w", block("worker-log").replace("cirrus-worker.log", str(path)))
        build = self.submit("task:\n  persistent_worker: {}\n  script: echo x\n")
        self.wait_build(build, "completed")
        self.assertNotIn("started task", worker.log())
        self.assertNotIn("started task", path.read_text() if path.exists() else "")


@unittest.skipIf(os.geteuid() != 0, "the stand-in VMs need root for their namespaces")
@unittest.skipIf(MISSING, f"missing for the stand-in VMs: {MISSING}")
@unittest.skipUnless(ssh_port_is_free(), "an SSH server listens on port 22 of every address")
class DocumentMachines(DocumentCase):
    """What needs a VM, with stand-ins for `tart` and `vetu` and the document's own images."""

    def setUp(self):
        super().setUp()
        programs = self.scratch / "programs"
        programs.mkdir()
        for name in ("tart", "vetu"):
            (programs / name).symlink_to(STAND_IN)
        self.programs = programs

    def environment(self, **extra):
        environment = super().environment(**extra)
        environment["CIRRUS_VM_HOME"] = str(self.scratch / "vms")
        environment["PATH"] = f"{self.programs}:{environment['PATH']}:/usr/sbin:/sbin"
        return environment

    def tearDown(self):
        super().tearDown()
        self.assertEqual(processes_with(str(self.scratch / "vms")), [])

    def trace(self):
        path = self.scratch / "trace"
        return [line.split("\x1f") for line in path.read_text().splitlines()]

    def test_three_tasks_on_two_vms_never_exceed_two(self):
        self.start_controller()
        self.start_with("mac-mini-1", block("worker-resources"))
        source = self.scratch / "source"
        source.mkdir()
        (source / ".cirrus.yml").write_text(block("tasks-resources"))
        meeting = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(meeting.close)
        (source / "Makefile").write_text(
            "SHELL = /bin/bash\ntest build release:\n\t@echo target $@\n"
            f"\t@read word < /dev/tcp/127.0.0.1/{meeting.getsockname()[1]}\n"
            ".PHONY: test build release\n")
        done = self.cli("build", "submit", str(source), check=0)
        build = re.search(r"\b(\d+)\b", done.stdout).group(1)
        # Whoever is first goes on when a second one is there, however slow the machine is.
        meeting.settimeout(PATIENCE)
        here = [meeting.accept()[0] for _ in range(2)]
        for task in here:
            task.sendall(b"go\n")
            task.close()
        last = meeting.accept()[0]
        last.sendall(b"go\n")
        last.close()
        ended = self.wait_build(build, "completed")
        self.assertEqual(sorted(task["name"] for task in ended["tasks"]),
                         ["Build", "Release", "Test"])
        # A VM lives from its `run` to its `delete`; the trace has them in their order.
        running, most = set(), 0
        for words in self.trace():
            if words[1] == "run":
                running.add(words[-1])
            if words[1] == "delete":
                running.discard(words[-1])
            most = max(most, len(running))
        self.assertEqual(most, 2)

    def test_the_documents_tart_and_vetu_tasks_run(self):
        self.start_controller()
        self.start_with("w", block("worker-all-isolations"))
        for name in ("tasks-tart", "tasks-vetu"):
            with self.subTest(name):
                config = block(name).replace("script: uname -a", "script: uname -a; whoami")
                task = self.wait_build(self.submit(config), "completed")["tasks"][0]
                log = self.log(task["id"]).decode()
                self.assertIn("Linux", log)
                self.assertTrue(log.endswith("\nadmin\n"), log)

    def test_softnet_is_forced_as_the_document_says(self):
        self.start_controller()
        self.start_with("w", block("worker-tart-images"))
        self.wait_build(self.submit(block("tasks-tart")), "completed")
        [run] = [words for words in self.trace() if words[1] == "run"]
        self.assertIn("--net-softnet", run)

    def test_the_documents_standby_is_what_the_documents_task_gets(self):
        self.start_controller()
        worker = self.start_with("w", block("worker-standby"))
        eventually(lambda: "standby instance ready" in worker.log(), "a VM stands by")
        build = self.submit(block("tasks-standby") + "task:\n  script: echo $CIRRUS_VM_ID\n")
        task = self.wait_build(build, "completed")["tasks"][0]
        self.assertIn("-standby-", self.log(task["id"]).decode())
        self.assertIn("standby instance taken", worker.log())

    def test_any_other_task_ends_what_stands_by(self):
        self.start_controller()
        worker = self.start_with("w", block("worker-standby"))
        eventually(lambda: "standby instance ready" in worker.log(), "a VM stands by")
        build = self.submit(block("tasks-vetu").replace("uname -a", "echo $CIRRUS_VM_ID"))
        task = self.wait_build(build, "completed")["tasks"][0]
        self.assertNotIn("-standby-", self.log(task["id"]).decode())
        self.assertNotIn("standby instance taken", worker.log())


if __name__ == "__main__":
    unittest.main()
