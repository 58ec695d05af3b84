"""`cirrus validate`: what it prints and how it ends. SPDX-License-Identifier: MIT"""
import json
import subprocess

from harness import CIRRUS, SOURCE, Case

GOOD = """container: {image: a}
task:
  name: $N on $CIRRUS_BRANCH
  only_if: $CIRRUS_CI == 'true'
  skip: "!changesInclude('*.md')"
  script: make
"""
BROKEN = """container: {image: a}
task:
  name: x
  timeout_in: soon
"""


class Validate(Case):
    def validate(self, *arguments, text=None, code=0, stdin=None):
        if text is not None:
            (self.scratch / ".cirrus.yml").write_text(text)
        done = subprocess.run([CIRRUS, "validate", *arguments], cwd=self.scratch,
                              env=self.environment(), input=stdin or "", capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def test_a_good_file_lists_its_tasks(self):
        done = self.validate("-e", "N=Tests", "-e", "CIRRUS_BRANCH=a=b", text=GOOD)
        self.assertIn("Tests on a=b", done.stdout)
        self.assertEqual(done.stderr, "")

    def test_json_is_the_task_list_and_the_issues(self):
        done = self.validate("--output", "json", "-e", "N=Tests", "-e", "CIRRUS_BRANCH=main",
                             "--affected-files", "src/a.c,README.md",
                             text=GOOD + "  depend_on: a\n")
        report = json.loads(done.stdout)
        self.assertEqual(report["schema_version"], 1)
        self.assertEqual(report["tasksCountBeforeFiltering"], 1)
        task = report["tasks"][0]
        self.assertEqual(task["name"], "Tests on main")
        self.assertNotIn("status", task, "README.md was changed, so it is not skipped")
        self.assertEqual([c["name"] for c in task["commands"]], ["clone", "main"])
        self.assertTrue(task["instance"]["@type"].endswith(".ContainerInstance"))
        issue = report["issues"][0]
        self.assertEqual((issue["level"], issue["line"], issue["column"]), ("WARNING", 7, 3))
        self.assertIn("depends_on", issue["message"])
        skipped = json.loads(self.validate("--output", "json", "--affected-files", "a.c").stdout)
        self.assertEqual(skipped["tasks"][0]["status"], "SKIPPED")

    def test_an_error_shows_place_line_and_caret(self):
        done = self.validate(text=BROKEN, code=1)
        self.assertIn(".cirrus.yml:4:3: 'timeout_in'", done.stdout)
        self.assertIn("    timeout_in: soon\n    ^\n", done.stdout)

    def test_an_error_is_an_issue_in_json(self):
        report = json.loads(self.validate("--output", "json", text=BROKEN, code=1).stdout)
        self.assertEqual(report["tasks"], [])
        self.assertEqual([(i["level"], i["path"], i["line"]) for i in report["issues"]],
                         [("ERROR", ".cirrus.yml", 4)])

    def test_sarif_names_file_and_region(self):
        report = json.loads(self.validate("--output", "sarif", text=BROKEN, code=1).stdout)
        self.assertEqual(report["version"], "2.1.0")
        run = report["runs"][0]
        self.assertEqual(run["tool"]["driver"]["name"], "cirrus validate")
        result = run["results"][0]
        self.assertEqual(result["level"], "error")
        place = result["locations"][0]["physicalLocation"]
        self.assertEqual(place["artifactLocation"]["uri"], ".cirrus.yml")
        self.assertEqual(place["region"], {"startLine": 4, "startColumn": 3})
        clean = json.loads(self.validate("--output", "sarif", text=GOOD).stdout)
        self.assertEqual(clean["runs"][0]["results"], [])

    def test_the_schema_is_json(self):
        schema = json.loads(self.validate("--schema").stdout)
        self.assertIn("^(.*)task$", schema["patternProperties"])
        self.assertIn("gce_instance", schema["properties"])
        reference = self.validate("--schema", "--reference").stdout
        self.assertNotIn("save_on", reference)

    def test_files_are_found_named_or_given_on_standard_input(self):
        (self.scratch / "ci").mkdir()
        (self.scratch / "ci" / "Dockerfile").write_text("FROM a\n")
        (self.scratch / "ci" / "x.yml").write_text("task: {container: {dockerfile: Dockerfile}}\n")
        self.validate("-f", "ci/x.yml")
        self.assertIn("<stdin>:4:3", self.validate("-f", "-", stdin=BROKEN, code=1).stdout)
        self.assertIn("'.cirrus.yml'", self.validate(code=2).stderr)
        self.assertIn("'ci'", self.validate("-f", "ci", code=2).stderr)
        (self.scratch / ".cirrus.yaml").write_text(BROKEN)
        self.assertIn(".cirrus.yaml:4:3", self.validate(text=GOOD, code=1).stdout)

    def test_a_file_without_end_is_too_large(self):
        self.assertIn("larger than 1048576 bytes", self.validate("-f", "/dev/zero", code=1).stdout)

    def test_wrong_usage_is_exit_2(self):
        for arguments, part in ((("-e", "novalue"), "NAME=VALUE"), (("-e", "=x"), "NAME=VALUE"),
                                (("--output", "xml"), "xml"), (("--nonsense",), "--nonsense")):
            with self.subTest(arguments):
                self.assertIn(part, self.validate(*arguments, text=GOOD, code=2).stderr)

    def test_scripts_that_would_generate_tasks_are_reported(self):
        (self.scratch / ".cirrus.star").write_text("def main(): return []\n")
        done = self.validate(text=GOOD, code=1)
        self.assertIn(".cirrus.star:1:1", done.stdout)
        self.assertIn("not supported yet", done.stdout)

    def test_of_all_public_configurations_one_has_a_misspelt_field(self):
        found = []
        for path in sorted((SOURCE / "tests/corpus/data/real-world").glob("*.yml")):
            (self.scratch / "x.yml").write_bytes(path.read_bytes())
            done = subprocess.run([CIRRUS, "validate", "--output", "json", "-f", "x.yml"],
                                  cwd=self.scratch, env=self.environment(), capture_output=True,
                                  text=True, timeout=60)
            # Their Dockerfiles are not here, so some end with an error.
            found += [issue["message"] for issue in json.loads(done.stdout)["issues"]
                      if "did you mean" in issue["message"]]
        self.assertEqual(found, ["'native_unit_test_scipt' means nothing here; did you mean "
                                 "'native_unit_test_script'?"])
