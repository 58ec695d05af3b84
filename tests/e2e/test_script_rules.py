"""What users' scripts and logs rely on, tried with a real controller, worker and agent.

SPDX-License-Identifier: MIT
Each test names a rule of the reference agent that files in the wild depend on. What is compared is
whole logs wherever that is possible: a changed echo is a changed cache key.
"""
import hashlib
import json
import os
import re
import unittest

from harness import SOURCE, Case, eventually

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"


class Rules(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.worker = self.start_worker()

    def run_task(self, steps, status="completed", name="t"):
        task = self.wait_build(self.submit(NONE + f"task:\n  name: {name}\n" + steps), status)["tasks"][0]
        return task

    def main(self, steps, status="completed"):
        return self.log(self.run_task(steps, status)["id"]).decode()

    def steps(self, task):
        return {step["name"]: step["status"] for step in task["steps"]}

    # Echo and exit ------------------------------------------------------------------------

    def test_every_line_is_echoed_as_the_shell_reads_it(self):
        log = self.main("  script: |\n    # a comment\n    X=1\n\n    if true; then\n      echo in $X\n"
                        "    fi\n    cat <<END\n    here $X\n    END\n    echo \"$X\" # why\n")
        self.assertEqual(log, "# a comment\nX=1\n\nif true; then\n  echo in $X\nfi\nin 1\n"
                              "cat <<END\nhere $X\nEND\nhere 1\necho \"$X\" # why\n1\n\n")

    def test_exit_status_one_says_nothing_others_are_named_after_a_newline(self):
        self.assertEqual(self.main("  script: exit 1\n", "failed"), "exit 1\n")
        self.assertEqual(self.main("  script: printf x; exit 2\n", "failed"),
                         "printf x; exit 2\nx\nExit status: 2")
        self.assertEqual(self.main("  script: no-such-program\n", "failed").split("\n")[-1],
                         "Exit status: 127")

    def test_signals_have_the_names_of_the_reference(self):
        for number, words in (("KILL", "killed"), ("TERM", "terminated"), ("ABRT", "aborted"),
                              ("INT", "interrupt"), ("HUP", "hangup"), ("PIPE", "broken pipe"),
                              ("FPE", "floating point exception"), ("BUS", "bus error"),
                              ("USR1", "user defined signal 1"), ("ALRM", "alarm clock"),
                              ("ILL", "illegal instruction")):
            log = self.main(f"  script: ulimit -c 0; kill -{number} $$; sleep 5\n", "failed")
            self.assertTrue(log.endswith(f"\nSignaled to exit ({words})!"), log)

    def test_a_failing_command_or_pipeline_ends_the_script(self):
        for line in ("false", "false | true", "(exit 1)", "X=$(false)"):
            log = self.main(f"  script:\n    - {json.dumps(line)}\n    - echo never\n", "failed")
            self.assertEqual(log, line + "\n")
        log = self.main("  script:\n    - false || echo saved\n    - if false; then :; fi; echo on\n")
        self.assertTrue(log.endswith("on\n"))

    # Shells -------------------------------------------------------------------------------

    def test_the_shell_is_bash_unless_told_otherwise(self):
        self.worker.stop()
        self.worker.environment["SHELL"] = "/bin/of-the-worker"
        self.worker.start()
        self.assertIn("\nbash 1\n", self.main("  script: echo ${BASH_VERSION:+bash} ${BASHPID:+1}\n"))
        shell = "  env: {CIRRUS_SHELL: %s}\n"
        log = self.main(shell % "sh" + "  script: echo ${BASH_VERSION:-none} $SHELL\n")
        self.assertRegex(log, r"\n(none|5\S+) sh\n")
        # With arguments, and by its path.
        log = self.main(shell % "'/bin/bash -u'" + "  script: echo $UNSET\n", "failed")
        self.assertIn("UNSET: unbound variable", log)
        log = self.main(shell % "python3" + "  script: print(1)\n", "failed")
        self.assertIn("Exit status: 1" if "Exit" in log else "SyntaxError", log)

    def test_a_script_has_no_input_no_terminal_and_a_session_of_its_own(self):
        log = self.main("  script:\n    - cat\n    - tty || true\n    - test -t 1 || echo no terminal\n"
                        "    - test $(ps -o sid= -p $$) = $$ && echo leader\n    - echo 1; echo 2 >&2; echo 3\n")
        self.assertIn("\nnot a tty\n", log)
        self.assertIn("\nno terminal\n", log)
        self.assertIn("\nleader\n", log)
        self.assertTrue(log.endswith("\n1\n2\n3\n"), "the order of both outputs is kept")

    def test_nothing_but_cirrus_env_and_files_carries_over(self):
        task = self.run_task("  a_script:\n    - X=1; export Y=2; cd /; f() { :; }\n    - touch $CIRRUS_WORKING_DIR/f\n"
                             "  b_script: echo \"[$X$Y]\"; pwd; ls; type f 2>/dev/null || echo no f\n")
        log = self.log(task["id"], "b").decode().split("\n")
        self.assertEqual((log[1], log[3], log[4]), ("[]", "f", "no f"))
        self.assertNotEqual(log[2], "/")

    def test_a_working_directory_that_was_removed_is_made_again(self):
        log = self.run_task("  a_script: cd /; rm -rf $CIRRUS_WORKING_DIR\n  b_script: pwd; ls -A\n")
        self.assertEqual(self.steps(log), {"a": "completed", "b": "completed"})

    # Variables ----------------------------------------------------------------------------

    def test_variables_are_expanded_by_the_rules_of_the_reference(self):
        self.worker.stop()
        self.worker.environment["FROM_WORKER"] = "worker"
        self.worker.start()
        variables = {
            "A": "one", "B": "$A two", "C": "${B} three", "D": "%A% percent", "E": "${NOPE:default}",
            "F": "${NOPE:-dash}", "G": "pa$$word", "H": "x$1y", "I": "cost $(5) $/", "J": "Contains $J",
            "K": "${}end", "L": "open ${A", "M": "back\\$A", "N": "$FROM_WORKER", "O": "[$NOPE]",
            "PATH": "/opt/first:$PATH", "FROM_WORKER": "task", "P": "100% sure",
        }
        wanted = {
            "A": "one", "B": "one two", "C": "one two three", "D": "one percent", "E": "default",
            "F": "-dash", "G": "paword", "H": "xy", "I": "cost $(5) $/", "J": "Contains $J",
            "K": "end", "L": "open A", "M": "back\\one", "N": "worker", "O": "[]",
            "FROM_WORKER": "task", "P": "100% sure",
        }
        env = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in variables.items())
        (self.scratch / "show.py").write_text(
            "import json, os\nprint('SEEN' + json.dumps(dict(os.environ)))\n")
        log = self.main(f"  env:\n{env}  script: python3 {self.scratch}/show.py\n")
        seen = json.loads(re.search("^SEEN(.*)$", log, re.M).group(1))
        self.assertEqual({name: seen.get(name) for name in wanted}, wanted)
        self.assertTrue(seen["PATH"].startswith("/opt/first:/"))
        self.assertEqual(seen["CI"] + seen["CIRRUS_CI"] + seen["CONTINUOUS_INTEGRATION"], "true" * 3)
        # docs/reference/variables.md names all there are.
        ours = {name: value for name, value in seen.items()
                if name.startswith(("CI", "ACTIONS_", "OMNI_", "CONTINUOUS_")) or name == "OS"}
        with open(SOURCE / "docs" / "reference" / "variables.md", encoding="utf-8") as file:
            told = file.read()
        self.assertEqual([name for name in ours if f"`{name}`" not in told], [])
        self.assertEqual({name: ours[name] for name in (
            "CIRRUS_OS", "OS", "CIRRUS_CPU", "CIRRUS_RESOLUTION_STRATEGY", "CIRRUS_TASK_NAME",
            "CI_NODE_INDEX", "CI_NODE_TOTAL", "CIRRUS_BRANCH", "CIRRUS_REPO_FULL_NAME")}, {
                "CIRRUS_OS": "linux", "OS": "linux", "CIRRUS_CPU": "1",
                "CIRRUS_RESOLUTION_STRATEGY": "SAME_SHA", "CIRRUS_TASK_NAME": "t",
                "CI_NODE_INDEX": "0", "CI_NODE_TOTAL": "1", "CIRRUS_BRANCH": "main",
                "CIRRUS_REPO_FULL_NAME": "test/repo"})

    def test_cirrus_env_hands_variables_on(self):
        """Whatever the step ends with; the whole is expanded again; the last line wins."""
        task = self.run_task(
            "  env: {BASE: base}\n  a_script: |\n    printf 'ONE=1\\r\\nTWO==2\\nTHREE=$BASE/$ONE\\n' >> $CIRRUS_ENV\n"
            "    printf 'ONE=again\\nQUOTED=\"q\"\\nSPACE= s \\n\\n' >> $CIRRUS_ENV\n"
            "    printf 'PATH=/opt/mine:%s' \"$PATH\" >> $CIRRUS_ENV\n    exit 3\n"
            "  always:\n    b_script: echo \"$ONE|$TWO|$THREE|$QUOTED|$SPACE|${PATH%%:*}\"; test -f $CIRRUS_ENV;"
            " test ! -s $CIRRUS_ENV\n", "failed")
        self.assertEqual(self.log(task["id"], "b").decode().split("\n")[1],
                         "again|=2|base/again|\"q\"| s |/opt/mine")

    def test_sensitive_values_are_hidden_from_then_on_whatever_the_switch_says(self):
        task = self.run_task("  env: {CIRRUS_ENV_SENSITIVE: 'false'}\n"
                             "  a_script: echo CODE=abcd1234 >> $CIRRUS_ENV\n  b_script: echo $CODE\n")
        self.assertEqual(self.log(task["id"], "b"), b"echo $CODE\nHIDDEN-BY-CIRRUS-CI\n")

    # Order and time -----------------------------------------------------------------------

    def test_blocks_run_where_they_stand(self):
        task = self.run_task("""  early_always: &x
  always:
    first_script: echo first
  on_failure:
    before_script: echo too early
  a_script: 'false'
  on_failure:
    after_script: echo after
  b_script: echo never
  always:
    last_script: 'false'
  on_timeout:
    late_script: echo never
""".replace("  early_always: &x\n", ""), "failed")
        self.assertEqual(self.steps(task), {
            "first": "completed", "before": "skipped", "a": "failed", "after": "completed",
            "b": "skipped", "last": "failed", "late": "skipped"})

    def test_a_timeout_kills_at_once_and_its_last_words_are_known(self):
        task = self.run_task("  timeout_in: 2s\n  a_script: trap '' TERM; sleep 1000\n"
                             "  on_timeout:\n    b_script: echo late\n  on_failure:\n    c_script: echo failed\n"
                             "  d_script: echo never\n  always:\n    e_script: echo always\n", "failed")
        self.assertEqual(self.steps(task), {"a": "failed", "b": "completed", "c": "completed",
                                            "d": "skipped", "e": "completed"})
        log = self.log(task["id"], "a").decode()
        self.assertTrue(log.startswith("trap '' TERM; sleep 1000\n"))
        self.assertTrue(log.endswith("\nTimed out!"))
        self.assertIn("sleep 1000", log.split("What was running")[1])

    def test_a_cancelled_script_is_told_and_what_must_always_run_does(self):
        build = self.submit(NONE + "task:\n  name: t\n  a_script: echo begun; sleep 1000\n"
                            "  on_failure:\n    b_script: echo never\n  always:\n    c_script: echo tidy\n")
        task = self.wait_task(build, "t", "executing")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"], "a"), "it runs")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        eventually(lambda: self.log_or_empty(task["id"], "a").endswith(b"\nContext canceled!"),
                   "the script's last words")
        eventually(lambda: self.log_or_empty(task["id"], "c") == b"echo tidy\ntidy\n", "it tidied up")

    def test_stamps_stand_before_lines_and_nowhere_else(self):
        log = self.main("  env: {CIRRUS_LOG_TIMESTAMP: 'true'}\n  script: printf 'a\\r\\n\\nb'; sleep 0.05; echo c\n")
        self.assertRegex(log, r"^\[\d\d:\d\d:\d\d\.\d{3}\] printf.*\n\[[\d:.]+\] a\r\n\[[\d:.]+\] \n\[[\d:.]+\] bc\n$")

    # Caches and files ---------------------------------------------------------------------

    def test_keys_of_caches_are_of_all_that_the_fingerprint_says(self):
        script = ["echo one", "echo two >&2"]
        lines = "".join(f"      - {line}\n" for line in script)
        task = self.run_task(f"  env: {{CIRRUS_LOG_TIMESTAMP: 'true'}}\n  deps_cache:\n    folder: deps\n"
                             f"    fingerprint_script:\n{lines}  plain_cache: {{folder: deps}}\n"
                             "  script: mkdir deps; touch deps/x\n")
        digest = hashlib.sha256(b"echo one\none\necho two >&2\ntwo\n").hexdigest()
        self.assertIn(f"Cache miss for 'deps-{digest}'".encode(), self.log(task["id"], "deps"))
        digest = hashlib.sha256(b"t0").hexdigest()
        self.assertIn(f"Cache miss for 'plain-{digest}'".encode(), self.log(task["id"], "plain"))

    def test_restored_files_are_new_and_as_they_were(self):
        cache = ("  x_cache:\n    folders: [out, '*/gen']\n    fingerprint_key: k\n")
        self.run_task(cache + "  script:\n    - mkdir -p out/empty src/gen; echo x > out/f; chmod 750 out/f\n"
                      "    - ln -s f out/link; touch -d 2001-01-01 out/f; echo g > src/gen/g\n")
        log = self.main(cache + "  script: cat out/link src/gen/g; stat -c %a out/f; test -d out/empty;"
                        " test $(($(date +%s) - $(stat -c %Y out/f))) -lt 300 && echo new\n")
        self.assertTrue(log.endswith("\nx\ng\n750\nnew\n"), log)

    def test_a_cached_folder_of_home(self):
        cache = "  env: {HOME: /nonexistent}\n  x_cache:\n    folder: ~/.deps\n    fingerprint_key: home\n"
        home = self.scratch / "home"
        home.mkdir()
        cache = cache.replace("/nonexistent", str(home))
        self.run_task(cache + "  script: mkdir ~/.deps; echo kept > ~/.deps/f\n")
        os.rename(home / ".deps", home / "old")
        self.assertTrue(self.main(cache + "  script: cat ~/.deps/f\n").endswith("\nkept\n"))

    def test_files_are_written_with_their_directories_and_not_from_sealed_values(self):
        log = self.main("  env: {CONTENT: \"a $B\\nb\", B: x, SEALED: 'ENCRYPTED[!abc!]'}\n"
                        "  a_file: {path: sub/dir/f, variable_name: CONTENT}\n"
                        "  b_file: {path: sealed, variable_name: SEALED}\n"
                        "  script: cat sub/dir/f; echo; stat -c %a sub/dir/f; ls\n")
        self.assertTrue(log.endswith("\na x\nb\n644\nsub\n"), log)


if __name__ == "__main__":
    unittest.main()
