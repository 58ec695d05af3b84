"""`cirrus run`: one local build without a controller elsewhere.

SPDX-License-Identifier: MIT
"""
import json
import subprocess
import unittest

from harness import CIRRUS, PATIENCE, Case, processes_with


class Run(Case):
    def setUp(self):
        super().setUp()
        self.project = self.scratch / "project"
        self.project.mkdir()

    def configure(self, text):
        (self.project / ".cirrus.yml").write_text(text)

    def run_here(self, *arguments, check=None, **more):
        environment = self.environment(XDG_STATE_HOME=str(self.scratch / "state"), **more)
        done = subprocess.run([CIRRUS, "run", *arguments], env=environment, cwd=self.project,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE * 2)
        if check is not None:
            self.assertEqual(done.returncode, check, f"{done.stdout}\n{done.stderr}")
        return done

    def git(self, *arguments):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments],
                       cwd=self.project, check=True, capture_output=True,
                       env=self.environment())

    def test_prints_plain_lines_and_leaves_nothing_behind(self):
        self.configure("task:\n  name: hello\n  persistent_worker: {}\n  main_script: echo it ran\n")
        done = self.run_here(check=0)
        self.assertIn("\nit ran\n", done.stdout)
        self.assertTrue(done.stdout.endswith("build completed\n"), done.stdout)
        self.assertNotIn("\x1b", done.stdout)
        self.assertEqual(processes_with(str(self.scratch)), [])
        self.assertEqual(list((self.scratch / "tmp").glob("cirrus-run*")), [])

    def test_fails_when_a_task_fails_and_still_shows_its_log(self):
        self.configure("task:\n  name: a\n  persistent_worker: {}\n  x_script: echo before; exit 3\n"
                       "task:\n  name: b\n  depends_on: a\n  persistent_worker: {}\n"
                       "  x_script: echo never\n")
        done = self.run_here(check=1)
        self.assertIn("[a] before\n", done.stdout)
        self.assertNotIn("never", done.stdout)
        self.assertIn("build failed", done.stdout)

    def test_works_on_a_copy_of_what_git_would_take_and_with_dirty_in_the_directory(self):
        self.configure("task:\n  persistent_worker: {}\n"
                       "  main_script: ls; cat new.txt; echo made > product\n")
        (self.project / ".gitignore").write_text("ignored.txt\nproduct\n")
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "one")
        (self.project / "new.txt").write_text("not committed yet\n")
        (self.project / "ignored.txt").write_text("x\n")
        before = subprocess.run(["git", "status", "--porcelain"], cwd=self.project,
                                capture_output=True, env=self.environment()).stdout
        done = self.run_here(check=0)
        self.assertIn("not committed yet", done.stdout)
        self.assertNotIn("ignored.txt", done.stdout)
        self.assertFalse((self.project / "product").exists())
        after = subprocess.run(["git", "status", "--porcelain"], cwd=self.project,
                               capture_output=True, env=self.environment()).stdout
        self.assertEqual(before, after)
        done = self.run_here("--dirty", check=0)
        self.assertIn("ignored.txt", done.stdout)
        self.assertEqual((self.project / "product").read_text(), "made\n")

    def test_runs_named_tasks_only_with_variables_given(self):
        self.configure("env: {GREETING: none}\n"
                       "persistent_worker: {labels: {nobody: has-this}}\n"
                       "task: {name: First, x_script: echo first}\n"
                       "task: {name: Second, depends_on: First, x_script: 'echo $GREETING $PASSED'}\n")
        done = self.run_here("second", "-e", "GREETING=hi there", "-e", "PASSED", check=0,
                             PASSED="along")
        self.assertIn("\nhi there along\n", done.stdout)
        self.assertNotIn("first", done.stdout)
        missing = self.run_here("third", check=1)
        self.assertIn("there is no task 'third'; there are: First, Second", missing.stderr)

    def test_a_background_script_is_heard_beside_the_others(self):
        self.configure("task:\n  name: t\n  persistent_worker: {}\n"
                       "  server_background_script: echo serving; touch ready; exec sleep 60\n"
                       "  use_script: until [ -e ready ]; do sleep 0.02; done; echo used\n")
        done = self.run_here(check=0)
        self.assertIn("serving\n", done.stdout)
        self.assertIn("used\n", done.stdout)

    def test_saves_artifacts(self):
        self.configure("task:\n  name: Make\n  persistent_worker: {}\n"
                       "  build_script: mkdir -p out/deep; echo one > out/1; echo two > out/deep/2\n"
                       "  things_artifacts:\n    path: 'out/**'\n")
        self.run_here("--artifacts-dir", str(self.scratch / "saved"), check=0)
        saved = self.scratch / "saved" / "Make" / "things"
        self.assertEqual((saved / "out/1").read_text(), "one\n")
        self.assertEqual((saved / "out/deep/2").read_text(), "two\n")

    def test_says_where_a_configuration_is_wrong_and_that_secrets_are_elsewhere(self):
        self.configure("task:\n  persistent_worker: {}\n  env:\n    TOKEN: ENCRYPTED[abc]\n"
                       "  main_script: echo token=${TOKEN:-unset}\n")
        done = self.run_here(check=0)
        self.assertIn("token=unset", done.stdout)
        self.assertIn(".cirrus.yml:4: secret 'TOKEN' stays unset here", done.stderr)
        self.configure("task:\n  nothing: [\n")
        done = self.run_here(check=1)
        self.assertIn(".cirrus.yml:", done.stderr)
        (self.project / ".cirrus.yml").unlink()
        self.assertIn("there is no .cirrus.yml", self.run_here(check=1).stderr)

    def test_ends_a_task_that_this_machine_cannot_run(self):
        self.configure("task:\n  name: mac\n  macos_instance: {image: x}\n  x_script: true\n")
        done = self.run_here(check=1)
        self.assertIn("persistent workers only", done.stdout)

    def test_json_output_is_the_build(self):
        self.configure("task:\n  name: j\n  persistent_worker: {}\n  x_script: true\n")
        build = json.loads(self.run_here("--output", "json", check=0).stdout)
        self.assertEqual(build["schema_version"], 1)
        self.assertEqual(build["tasks"][0]["status"], "completed")

    def test_a_tree_is_drawn_where_it_is_asked_for(self):
        self.configure("task:\n  name: t\n  persistent_worker: {}\n  x_script: echo why; false\n")
        done = self.run_here("--output", "interactive", check=1)
        self.assertIn("\x1b[", done.stdout)
        self.assertIn("==> t: x <==\n", done.stdout)
        self.assertIn("\nwhy\n", done.stdout)

    def test_an_interrupt_cancels_and_leaves_no_process(self):
        self.configure("task:\n  persistent_worker: {}\n  x_script: echo started; sleep 300\n")
        run = subprocess.Popen([CIRRUS, "run"], cwd=self.project, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env=self.environment(XDG_STATE_HOME=str(self.scratch / "state")))
        for line in run.stdout:
            if line == "started\n":
                break
        run.send_signal(2)
        output, errors = run.communicate(timeout=PATIENCE)
        self.assertEqual(run.returncode, 1, output + errors)
        self.assertIn("build aborted", output)
        self.assertEqual(processes_with(str(self.scratch)), [])


if __name__ == "__main__":
    unittest.main()
