"""However much a task prints, stores and reports, its agent stays small. SPDX-License-Identifier: MIT"""
import re
import unittest

from harness import Case

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"
LIMIT = 128 << 10  # KiB
PEAK = "  always:\n    peak_script: grep VmHWM /proc/$PPID/status\n"


class Memory(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.start_worker()

    def peak(self, steps, status="completed"):
        """KiB of the agent's largest resident size; it is the parent of the task's scripts."""
        task = self.wait_build(self.submit(NONE + "task:\n  name: t\n" + steps + PEAK), status,
                               patience=180)["tasks"][0]
        peak = int(re.search(rb"VmHWM:\s+(\d+) kB", self.log(task["id"], "peak")).group(1))
        self.assertLess(peak, LIMIT)
        return task

    def test_a_log_without_a_newline(self):
        self.peak("  script: head -c 300M /dev/zero | tr '\\0' x\n")

    def test_a_log_of_many_lines_with_secrets_to_hide(self):
        self.peak("  env: {X_TOKEN: hunter22-hunter22}\n"
                  "  script: (yes 'a line with hunter22-hunter22 in it' || true) | head -c 100M\n")

    def test_a_cache_and_an_artifact_of_many_bytes(self):
        task = self.peak("  x_cache:\n    folder: data\n    fingerprint_key: big\n"
                         "    reupload_on_changes: true\n"
                         "  script: mkdir data; truncate -s 2G data/big; truncate -s 300M artifact\n"
                         "  out_artifacts: {path: artifact}\n  upload_caches: x\n")
        self.assertIn(b"Stored 1 artifact (300.0 MiB)", self.log(task["id"], "out"))

    def test_a_cache_and_artifacts_of_many_files(self):
        self.peak("  x_cache:\n    folder: data\n    fingerprint_key: many\n"
                  "  script:\n    - mkdir data; cd data; for d in $(seq 200); do mkdir $d; done\n"
                  "    - for d in $(seq 200); do (cd $d; seq 500 | xargs touch; echo $d > x); done\n"
                  "  upload_caches: x\n  out_artifacts: {path: data/1*/**}\n")

    def test_a_report_of_the_largest_size(self):
        task = self.peak(
            "  script:\n"
            "    - (echo '<testsuite>'; (yes '<testcase name=\"n\"><failure>f</failure></testcase>'"
            " || true) | head -c 16000000 | head -n -1; echo '</testsuite>') > r.xml\n"
            "  out_artifacts: {path: r.xml, format: junit}\n")
        self.assertIn(b"Annotations: 5000, and", self.log(task["id"], "out"))

    def test_a_report_of_the_largest_size_in_json(self):
        (self.scratch / "write.py").write_text(
            "import json\nissues = [{'FromLinter': 'errcheck', 'Text': 'not checked ' + 'x' * 40,"
            " 'Pos': {'Filename': 'a/b/c.go', 'Line': n, 'Column': 1}} for n in range(105000)]\n"
            "print(json.dumps({'Issues': issues}))\n")
        task = self.peak(f"  script: python3 {self.scratch}/write.py > r.json; ls -l\n"
                         "  out_artifacts: {path: r.json, format: golangci}\n")
        self.assertIn(b"Annotations: 5000, and 100000 left out", self.log(task["id"], "out"))


if __name__ == "__main__":
    unittest.main()
