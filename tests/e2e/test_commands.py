"""What people type, and what goes wrong when they mistype. SPDX-License-Identifier: MIT"""
import json
import re
import shutil
import socket
import subprocess
import unittest

from harness import CIRRUS, SOURCE, Case, Daemon


class Submit(Case):
    def setUp(self):
        super().setUp()
        self.standalone = Daemon(
            self.scratch, "standalone",
            ["standalone", "--data-dir", str(self.scratch / "data"), "--rpc-address",
             "127.0.0.1:0", "--http-address", "127.0.0.1:0"], self.environment())
        self.daemons.append(self.standalone)
        self.controller = self.standalone.start()

    def project(self, name="project", config="task:\n  persistent_worker: {}\n  script: cat hello\n"):
        path = self.scratch / name
        path.mkdir()
        (path / ".cirrus.yml").write_text(config)
        (path / "hello").write_text("greetings\n")
        return path

    def git(self, path, *arguments):
        environment = self.environment(
            GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@example.org", GIT_COMMITTER_NAME="a",
            GIT_COMMITTER_EMAIL="a@example.org", GIT_CONFIG_NOSYSTEM="1")
        return subprocess.run(["git", *arguments], cwd=path, env=environment, check=True,
                              capture_output=True, text=True).stdout.strip()

    def test_the_example_of_the_demo_runs_to_its_end(self):
        shutil.copytree(SOURCE / "docs/examples/hello", self.scratch / "hello")
        done = self.cli("build", "submit", str(self.scratch / "hello"), "--follow", check=0)
        self.assertIn("lint (allowed to fail)", done.stdout)
        self.assertIn("failed", done.stdout)
        build = self.build("1")
        self.assertEqual(build["status"], "completed")
        self.assertEqual(len(build["tasks"]), 4)

    def test_a_plain_directory_is_cloned_as_it_is(self):
        path = self.project()
        (path / "untracked").mkdir()
        (path / "untracked" / "file").write_text("x")
        self.cli("build", "submit", str(path), "--follow", check=0)
        build = self.build("1")
        self.assertEqual(build["repository"], "local/project")
        self.assertIn(b"greetings\n", self.log(build["tasks"][0]["id"]))
        self.assertIn(b"", self.log(build["tasks"][0]["id"], "clone"))

    def test_a_work_tree_is_taken_with_changes_and_left_untouched(self):
        path = self.project(config="task:\n  persistent_worker: {}\n  script:\n    - cat hello\n"
                            "    - test ! -e ignored\n    - cat new\n    - git log --oneline\n")
        self.git(path, "init", "-q", "-b", "topic")
        (path / ".gitignore").write_text("ignored\n")
        self.git(path, "add", "-A")
        self.git(path, "commit", "-q", "-m", "the first")
        self.git(path, "remote", "add", "origin", "https://example.org/some/where.git")
        (path / "hello").write_text("changed\n")
        (path / "ignored").write_text("x")
        (path / "new").write_text("brand new\n")
        before = (self.git(path, "status", "--porcelain"), self.git(path, "for-each-ref"))
        done = self.cli("build", "submit", str(path), "--follow")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(before, (self.git(path, "status", "--porcelain"),
                                  self.git(path, "for-each-ref")))
        build = self.build("1")
        self.assertEqual((build["repository"], build["branch"]), ("some/where", "topic"))
        log = self.log(build["tasks"][0]["id"])
        self.assertIn(b"changed\n", log)
        self.assertIn(b"brand new\n", log)
        self.assertIn(b"the first", log)

    def test_the_clone_credential_is_nowhere_a_script_prints(self):
        path = self.project(config="task:\n  persistent_worker: {}\n  script:\n"
                            "    - cat .git/config\n    - env\n    - git fetch origin\n")
        self.cli("build", "submit", str(path), "--follow", check=0)
        task = self.build("1")["tasks"][0]
        log = self.log(task["id"])
        config = log.split(b"cat .git/config\n")[1].split(b"env\n")[0]
        self.assertIn(b"url = http://127.0.0.1", config)
        self.assertNotIn(b"x-access-token", config)
        self.assertIn(b"HIDDEN-BY-CIRRUS-CI", log)

    def test_artifacts_are_listed_and_fetched(self):
        self.cli("build", "submit", str(self.project()), "--follow", check=0)
        task = self.build("1")["tasks"][0]["id"]
        self.assertIn("has no artifacts", self.cli("artifact", "list", task, check=0).stdout)
        # As the controller keeps them.
        place = self.scratch / "data" / "controller" / "artifacts" / task / "out"
        self.assertTrue((self.scratch / "data" / "controller" / "logs").is_dir())
        (place / "files" / "bin").mkdir(parents=True)
        (place / "files" / "bin" / "a b").write_bytes(b"\0" * 300_000 + b"end")
        (place / "files" / "empty").write_bytes(b"")
        files = {"bin/a b": 300_003, "empty": 0}
        (place / "list").write_text(f"1\n{b'out'.hex()}\n\n\n" + "".join(
            f"{size} {path.encode().hex()}\n" for path, size in files.items()))
        listed = json.loads(self.cli("artifact", "list", task, "--output", "json", check=0).stdout)
        self.assertEqual({file["path"]: file["size"] for file in listed["artifacts"][0]["files"]},
                         files)
        into = self.scratch / "into"
        self.cli("artifact", "get", task, "out", "--into", str(into), check=0)
        self.assertTrue((into / "bin" / "a b").read_bytes().endswith(b"\0end"))
        self.assertEqual((into / "empty").read_bytes(), b"")
        again = self.cli("artifact", "get", task, "out", "bin/a b", "--into", str(into))
        self.assertNotEqual(again.returncode, 0)
        self.assertIn("--force", again.stderr)
        self.cli("artifact", "get", task, "out", "bin/a b", "--into", str(into), "--force", check=0)
        self.assertEqual(sorted(path.name for path in (into / "bin").iterdir()), ["a b"])
        self.assertIn("only: out", self.cli("artifact", "get", task, "absent", check=1).stderr)
        self.cli("artifact", "get", task, "out", "absent", check=1)
        # A file that is shorter than its list says is an error, and nothing is left of it.
        (place / "files" / "empty").unlink()
        self.cli("artifact", "get", task, "out", "empty", "--into", str(into), "--force", check=1)

    def test_caches_are_listed_and_deleted(self):
        self.assertEqual(self.cli("cache", "list", "acme/app", check=0).stdout, "")
        empty = json.loads(self.cli("cache", "list", "acme/app", "--output", "json", check=0).stdout)
        self.assertEqual(empty["caches"], [])
        self.cli("cache", "delete", "acme/app", "no such key", check=0)
        self.assertIn("OWNER/NAME", self.cli("cache", "list", "acme", check=2).stderr)

    def test_a_failing_build_is_exit_1_and_json_is_json(self):
        path = self.project(config="task:\n  persistent_worker: {}\n  script: exit 4\n")
        done = self.cli("build", "submit", str(path), "--follow", "--output", "json", check=1)
        build = json.loads(done.stdout)
        self.assertEqual(build["schema_version"], 1)
        self.assertEqual(build["status"], "failed")
        logs = self.cli("task", "logs", build["tasks"][0]["id"], "main", check=0).stdout
        self.assertTrue(logs.endswith("Exit status: 4"), logs)

    def test_a_broken_file_names_its_line(self):
        path = self.project(config="task:\n  persistent_worker: {}\n  script: {a: [}\n")
        done = self.cli("build", "submit", str(path), check=1)
        self.assertRegex(done.stderr, r"\.cirrus\.yml:3:\d+: ")

    def test_the_repositorys_own_configuration_is_accepted(self):
        path = self.scratch / "own"
        path.mkdir()
        shutil.copy(SOURCE / ".cirrus.yml", path)
        done = self.cli("build", "submit", str(path), "-e", "CIRRUS_DOGFOOD=reduced", "--follow")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        names = [task["name"] for task in self.build("1")["tasks"]]
        self.assertIn("reduced", names)


class Mistakes(Case):
    def run_cirrus(self, *arguments, **extra):
        return subprocess.run([CIRRUS, *arguments], env=self.environment(**extra),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def assert_sentence(self, done, code, *parts):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)

    def test_worker_settings(self):
        settings = self.scratch / "w.yml"
        for text, parts in (
                ("token: x\nlables:\n  a: b\n", ("w.yml", "2:1", "lables", "labels")),
                ("token: x\nresources:\n  a: many\n", ("w.yml:3:6", "'a'", "number")),
                ("token: x\nsecurity:\n  allowed-isolations:\n    tart:\n      force-softnt: true\n",
                 ("w.yml", "5:7", "force-softnt", "force-softnet")),
                ("token: x\nlog:\n  level: loud\n", ("w.yml:3:10", "loud")),
                ("token: [x\n", ("w.yml", "line")),
                ("name: y\n", ("token",)),
                ("token: x\nupstreams:\n  - token: y\n", ("upstreams", "token")),
        ):
            settings.write_text(text)
            with self.subTest(text):
                self.assert_sentence(self.run_cirrus("worker", "run", "-f", str(settings)), 1,
                                     *parts)
        self.assert_sentence(self.run_cirrus("worker", "run", "-f", "/no/such/file"), 1,
                             "/no/such/file")
        self.assert_sentence(self.run_cirrus("worker", "run", "--token", "x", "--resources", "a=b"),
                             1, "a=b")
        self.assert_sentence(self.run_cirrus("worker", "run", "--tokn", "x"), 1, "--tokn")

    def test_controller_settings(self):
        settings = self.scratch / "c.yml"
        for text, parts in (
                ("keep-log: 3\n", ("c.yml", "1:1", "keep-log", "did you mean 'keep-logs'")),
                ("data-dir: x\nkeep-logs: many\n", ("c.yml:2:12", "'keep-logs'", "0 to 36500")),
                ("keep-builds: 40000\n", ("c.yml:1:14", "0 to 36500")),
                ("least-free: -1\n", ("c.yml:1:13", "whole number")),
                ("allow-cleartext: perhaps\n", ("c.yml:1:18", "true or false")),
                ("rpc-address: [a]\n", ("c.yml", "1:14", "rpc-address")),
                ("data-dir: x\ndata-dir: y\n", ("c.yml", "2:1", "data-dir")),
                ("- data-dir\n", ("c.yml", "1:1")),
                ("data-dir: [x\n", ("c.yml", "line")),
                ("tls-key: k.pem\n", ("c.yml", "needs both")),
                ("rpc-address: 0.0.0.0:7470\n", ("c.yml", "--allow-cleartext")),
        ):
            settings.write_text(text)
            with self.subTest(text):
                self.assert_sentence(
                    self.run_cirrus("controller", "validate", "-f", str(settings)), 1, *parts)
        self.assert_sentence(self.run_cirrus("controller", "run", "-f", "/no/such/file"), 1,
                             "/no/such/file")
        self.assert_sentence(self.run_cirrus("controller", "validate"), 2, "-f")
        for path in (SOURCE / "packaging/debian/controller.yml", settings):
            settings.write_text("# nothing\n")
            done = self.run_cirrus("controller", "validate", "-f", str(path))
            self.assertEqual((done.returncode, done.stdout), (0, f"{path}: ok\n"), done.stderr)

    def test_a_controllers_settings_file_has_the_options_of_its_command(self):
        flags = set(re.findall(r"--([a-z-]+)",
                               self.run_cirrus("controller", "run", "--help").stdout))
        numbers = {"keep-logs", "keep-artifacts", "keep-builds", "most-builds", "least-free",
                   "uploads-least-free"}
        settings = self.scratch / "c.yml"
        for name in flags - {"help", "file", "ready-file"}:
            value = "7" if name in numbers else "true" if name == "allow-cleartext" else "127.0.0.1:1"
            pair = {"tls-key": "\ntls-certificate: x", "tls-certificate": "\ntls-key: x"}
            settings.write_text(f"{name}: {value}{pair.get(name, '')}\n")
            done = self.run_cirrus("controller", "validate", "-f", str(settings))
            self.assertEqual(done.returncode, 0, name + done.stderr)

    def test_later_settings_of_a_controller_win(self):
        config, place = self.scratch / "config" / "cirrus", self.scratch / "places"
        config.mkdir(parents=True)
        text = f"data-dir: {place}/%s\nrpc-address: 127.0.0.1:0\nhttp-address: 127.0.0.1:0\n"
        (config / "controller.yml").write_text(text % "implicit")
        named = self.scratch / "named.yml"
        named.write_text(text % "named")
        flag, variable = ("--data-dir", str(place / "flag")), str(place / "variable")
        for wanted, arguments, variables in (
                ("implicit", (), {}),
                ("variable", (), {"CIRRUS_CONTROLLER_DATA_DIR": variable}),
                ("flag", flag, {"CIRRUS_CONTROLLER_DATA_DIR": variable}),
                ("named", ("-f", str(named), *flag), {"CIRRUS_CONTROLLER_DATA_DIR": variable}),
                ("named", flag, {"CIRRUS_CONTROLLER_FILE": str(named)})):
            with self.subTest(wanted):
                controller = Daemon(
                    self.scratch, f"controller-{len(self.daemons)}",
                    ["controller", "run", *arguments],
                    self.environment(XDG_CONFIG_HOME=str(self.scratch / "config"), **variables))
                self.daemons.append(controller)
                controller.start()
                self.assertEqual(controller.ready["admin_token_file"],
                                 str(place / wanted / "admin-token"))
                controller.stop()

    def test_every_worker_configuration_of_the_documentation_loads(self):
        for path in sorted((SOURCE / "docs/examples/worker").glob("*.yml")):
            with self.subTest(path.name):
                done = self.run_cirrus("worker", "validate", "-f", str(path), "--token", "x")
                if "token:" in path.read_text():
                    done = self.run_cirrus("worker", "validate", "-f", str(path))
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_usage_errors_are_exit_2(self):
        self.assertEqual(self.run_cirrus("build", "submit", "--nonsense").returncode, 2)
        self.assertEqual(self.run_cirrus("nonsense").returncode, 2)
        self.assert_sentence(self.run_cirrus("build", "list"), 2, "CIRRUS_API_URL")

    def test_a_controller_that_is_not_there_is_exit_3(self):
        token = self.scratch / "token"
        token.write_text("x")
        done = self.run_cirrus("build", "list", "--api-url", "http://127.0.0.1:1",
                               "--api-token-file", str(token))
        self.assert_sentence(done, 3, "127.0.0.1:1")

    def test_a_wrong_token_is_exit_3(self):
        self.start_controller()
        token = self.scratch / "token"
        token.write_text("wrong")
        done = self.run_cirrus("build", "list", "--api-url", self.controller.ready["http_url"],
                               "--api-token-file", str(token))
        self.assertEqual(done.returncode, 3, done.stderr)
        worker = Daemon(self.scratch, "bad-worker",
                        ["worker", "run", "--token", "wrong", "--name", "n", "--rpc-endpoint",
                         self.controller.ready["rpc_endpoint"], "--data-dir",
                         str(self.scratch / "bad")], self.environment())
        self.daemons.append(worker)
        worker.start(wait=False)
        self.assertEqual(worker.wait(), 3, worker.log())

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            data = self.scratch / "c"
            for flags in (("--rpc-address", address, "--http-address", "127.0.0.1:0"),
                          ("--rpc-address", "127.0.0.1:0", "--http-address", address)):
                with self.subTest(flags):
                    done = self.run_cirrus("controller", "run", "--data-dir", str(data), *flags)
                    self.assert_sentence(done, 1, address)

    def test_a_second_controller_on_one_data_directory(self):
        self.start_controller()
        done = self.run_cirrus("controller", "run", "--data-dir", str(self.scratch / "controller"),
                               "--rpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
        self.assert_sentence(done, 1, str(self.scratch / "controller"))

    def test_a_data_directory_that_is_none(self):
        (self.scratch / "file").write_text("x")
        done = self.run_cirrus("controller", "run", "--data-dir", str(self.scratch / "file" / "x"),
                               "--rpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
        self.assert_sentence(done, 1, str(self.scratch / "file"))

    def test_another_machine_without_tls_needs_a_word(self):
        done = self.run_cirrus("controller", "run", "--data-dir", str(self.scratch / "c"),
                               "--rpc-address", "0.0.0.0:0", "--http-address", "127.0.0.1:0")
        self.assert_sentence(done, 1, "--allow-cleartext")
        self.assertFalse((self.scratch / "c").exists(), "something was half-created")

    def test_two_workers_on_one_data_directory(self):
        self.start_controller()
        self.start_worker(name="one", data="shared")
        second = self.start_worker(name="two", data="shared", wait=False)
        self.assertEqual(second.wait(), 1)
        self.assertIn("shared", second.log())

    def test_help_has_examples(self):
        for command in (("worker", "run"), ("worker", "pause"), ("worker", "validate"),
                        ("controller", "run"), ("standalone",), ("build", "submit"),
                        ("build", "show"), ("task", "logs"), ("task", "why")):
            with self.subTest(command):
                done = self.run_cirrus(*command, "--help")
                self.assertEqual(done.returncode, 0)
                self.assertIn("Example", done.stdout)


if __name__ == "__main__":
    unittest.main()
