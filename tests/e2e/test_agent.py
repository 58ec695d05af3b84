"""What a task's agent offers its scripts, with real tools. SPDX-License-Identifier: MIT"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

import piped_shell
from harness import SOURCE, Case, eventually

SCCACHE = shutil.which("sccache", path=SOURCE / "build" / "tools" / "bin")
NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"


def indented(lines):
    return "".join(f"    - {json.dumps(line)}\n" for line in lines)


class HttpCache(Case):
    """Conformance list, row 27: the cache on loopback, used by what uses it."""

    def setUp(self):
        super().setUp()
        self.start_controller()
        self.worker = self.start_worker()

    def run_script(self, *lines, status="completed", **more):
        task = self.wait_build(self.submit(NONE + "task:\n  name: t\n  script:\n" +
                                           indented(lines), **more), status)["tasks"][0]
        return self.log(task["id"]).decode()

    def test_curl_puts_what_the_next_build_gets(self):
        url = "http://$CIRRUS_HTTP_CACHE_HOST"
        self.run_script(f"head -c 2000000 /dev/zero | tr '\\0' x > f; "
                        f"curl -sf -T f {url}/name-key", f"curl -sf -X POST -d hello {url}/greeting")
        log = self.run_script(f"curl -sf {url}/name-key | wc -c", f"curl -sf {url}/greeting; echo",
                              f"curl -sf -X DELETE {url}/greeting",
                              f"curl -s -o /dev/null -w '%{{http_code}}\\n' {url}/greeting")
        self.assertIn("2000000\n", log)
        self.assertIn("\nhello\n", log)
        self.assertTrue(log.endswith("\n404\n"))
        # Another repository does not see it.
        log = self.run_script(f"curl -s -o /dev/null -w '%{{http_code}}\\n' {url}/name-key",
                              repository="test/other")
        self.assertTrue(log.endswith("\n404\n"))

    def test_bazel_and_gradle_routes(self):
        url = "http://$CIRRUS_HTTP_CACHE_HOST"
        digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        lines = [f"echo action | curl -sf -T - {url}/ac/{digest}",
                 f"curl -sf -X PUT --data-binary blob {url}/cas/{digest}",
                 f"curl -sf -I {url}/cas/{digest} | head -1",
                 f"curl -sf {url}/ac/{digest}; curl -sf {url}/cas/{digest}; echo",
                 f"curl -sf -X PUT --data-binary gradle {url}/0123456789abcdef; "
                 f"curl -sf {url}/0123456789abcdef; echo"]
        log = self.run_script(*lines)
        self.assertIn("HTTP/1.1 200 OK", log)
        self.assertIn("\naction\nblob\n", log)
        self.assertIn("\ngradle\n", log)

    @unittest.skipUnless(shutil.which("ccache"), "ccache is not installed")
    def test_ccache_hits_in_the_second_build(self):
        lines = ["export CCACHE_DIR=$PWD/own CCACHE_REMOTE_STORAGE=http://$CIRRUS_HTTP_CACHE_HOST/cc"
                 " CCACHE_REMOTE_ONLY=1",
                 "echo 'int f(void) { return 42; }' > f.c; ccache gcc -c f.c -o f.o",
                 "ccache -s -v | tr -s ' '"]
        self.assertRegex(self.run_script(*lines), r"Remote storage:(.|\n)*Hits: 0 / ")
        self.assertRegex(self.run_script(*lines), r"Remote storage:(.|\n)*Hits: [1-9]")

    def sccache(self, settings):
        """Compiles with a server that knows nothing yet; what it says of its hits and its place."""
        log = self.run_script(
            f"export SCCACHE_SERVER_UDS=$PWD/s HOME=$PWD {settings}",
            "echo 'int f(void) { return 42; }' > f.c",
            f"{SCCACHE} gcc -c f.c -o f.o",
            # It writes behind the compiler's back: its own mark, and what was compiled.
            f"for i in $(seq 400); do {SCCACHE} --show-stats > stats;"
            " curl -sf http://$CIRRUS_HTTP_CACHE_HOST/metrics/cache > counts;"
            " grep -q '^stored 2' counts && break; grep -Eq '^Cache hits +1' stats && break;"
            " sleep 0.02; done; cat stats counts")
        place = re.search(r"Cache location +(\S+)", log).group(1)
        self.assertRegex(log, "Cache write errors +0")
        self.assertRegex(log, "Cache read errors +0")
        return int(re.search("Cache hits +([0-9]+)", log).group(1)), place

    @unittest.skipUnless(SCCACHE, "sccache is not installed (scripts/setup)")
    def test_sccache_by_webdav_hits_in_the_second_build(self):
        settings = "SCCACHE_WEBDAV_ENDPOINT=http://$CIRRUS_HTTP_CACHE_HOST/sc"
        self.assertEqual(self.sccache(settings), (0, "webdav,"))
        self.assertEqual(self.sccache(settings), (1, "webdav,"))

    @unittest.skipUnless(SCCACHE, "sccache is not installed (scripts/setup)")
    def test_sccache_by_the_actions_protocol_hits_in_the_second_build(self):
        self.assertEqual(self.sccache("SCCACHE_GHA_ENABLED=on"), (0, "ghac,"))
        self.assertEqual(self.sccache("SCCACHE_GHA_ENABLED=on"), (1, "ghac,"))

    def test_two_tasks_at_once_have_places_and_caches_of_their_own(self):
        """Conformance list, row 28."""
        both = "".join(
            f"task:\n  name: {name}\n  env: {{BOOK: {self.scratch}}}\n  script: pwd > $BOOK/{name};"
            f" echo $CIRRUS_HTTP_CACHE_HOST >> $BOOK/{name}; echo {name} > mine;"
            f" while [ ! -s $BOOK/{other} ]; do sleep 0.01; done; sleep 0.1; cat mine\n"
            for name, other in (("one", "two"), ("two", "one")))
        build = self.wait_build(self.submit(NONE + both), "completed")
        for task in build["tasks"]:
            self.assertTrue(self.log(task["id"]).endswith(f"\n{task['name']}\n".encode()))
        one, two = ((self.scratch / name).read_text().split() for name in ("one", "two"))
        self.assertNotEqual(one[0], two[0])
        self.assertNotEqual(one[1], two[1])

    def test_the_actions_protocol_as_a_script_speaks_it(self):
        call = ('curl -sf -H "Authorization: Bearer $ACTIONS_RUNTIME_TOKEN" '
                '"${ACTIONS_CACHE_URL}_apis/artifactcache/')
        log = self.run_script(
            f'{call}cache?keys=deps&version=1" -o miss -w "%{{http_code}}\n"',
            f'id=$({call}caches" -d \'{{"key":"deps","version":"1"}}\' | tr -dc 0-9)',
            f'{call}caches/$id" -X PATCH -H "Content-Range: bytes 0-4/*" -d hello',
            f'{call}caches/$id" -d \'{{"size":5}}\'')
        self.assertIn("\n204\n", log)
        log = self.run_script(
            f'url=$({call}cache?keys=other,de&version=1" | python3 -c '
            '\'import json,sys; print(json.load(sys.stdin)["archiveLocation"])\')',
            'curl -sf "$url"; echo')
        self.assertTrue(log.endswith("\nhello\n"), log)

    def test_t04_a_task_reaches_no_cache_of_another_task_and_none_after_its_end(self):
        build = self.submit(NONE + "task:\n  name: t\n  script:\n" + indented(
            ["echo host=$CIRRUS_HTTP_CACHE_HOST token=x${ACTIONS_RUNTIME_TOKEN}",
             "while [ ! -e go ]; do sleep 0.05; done"]))
        task = self.task(build, "t")
        eventually(lambda: b"host=127" in self.log_or_empty(task["id"]), "the script runs")
        log = self.log_or_empty(task["id"]).decode()
        host = log.split("host=")[2].split()[0]
        self.assertIn("token=xHIDDEN-BY-CIRRUS-CI", log)

        def status(path, *arguments):
            return subprocess.run(
                ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *arguments,
                 f"http://{host}/{path}"], capture_output=True, text=True,
                check=False).stdout
        self.assertEqual(status("nothing"), "404")
        self.assertEqual(status("_apis/artifactcache/cache?keys=a&version=1"), "401")
        self.assertEqual(status("_apis/artifactcache/cache?keys=a&version=1", "-H",
                                "Authorization: Bearer guess"), "401")
        if os.geteuid() == 0:
            # Somebody else on this machine.
            other = subprocess.run(
                ["setpriv", "--reuid=65534", "--clear-groups", "curl", "-s", "-o", "/dev/null",
                 "-w", "%{http_code}", f"http://{host}/nothing"], capture_output=True, text=True,
                check=False)
            self.assertEqual(other.stdout, "403")
        self.api("POST", f"/api/v1/tasks/{task['id']}/cancel")
        self.wait_build(build)
        eventually(lambda: status("nothing") == "000", "nobody listens after the task's end")


class Mirror(Case):
    """Clones through the worker's mirror."""

    def setUp(self):
        super().setUp()
        self.start_controller()
        self.worker = self.start_worker()
        self.source = self.scratch / "source"
        self.source.mkdir()
        self.git("init", "-q", "-b", "main")
        for number in range(3):
            (self.source / "file").write_text(f"{number}\n")
            (self.source / ".cirrus.yml").write_text(
                NONE + "env:\n  CIRRUS_CLONE_DEPTH: 1\ntask:\n  name: t\n"
                "  script: cat file; git rev-list --count HEAD; git remote get-url origin\n")
            self.git("add", "-A")
            self.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", f"c{number}")

    def git(self, *arguments):
        subprocess.run(["git", "-C", str(self.source), *arguments], check=True)

    def build_once(self):
        out = self.cli("build", "submit", str(self.source), "--repo", "test/mirrored",
                       "--output", "json", check=0).stdout
        answer = json.loads(out)
        build_id = answer.get("build", answer)["id"]
        return self.wait_build(build_id, "completed")["tasks"][0]

    def test_a_clone_comes_through_the_mirror(self):
        task = self.build_once()
        self.assertIn(b"2\n", self.log(task["id"]))
        clone = self.log(task["id"], "clone").decode()
        self.assertNotIn("mirror is of no help", clone)
        mirrors = list((self.scratch / "w1" / "mirrors").glob("*.shallow"))
        self.assertEqual(len(mirrors), 1)
        # What comes next needs only what is new.
        (self.source / "file").write_text("3\n")
        task = self.build_once()
        self.assertIn(b"3\n", self.log(task["id"]))
        self.assertNotIn("mirror is of no help", self.log(task["id"], "clone").decode())

    def test_a_commit_that_is_no_tip_any_more_comes_through_the_mirror(self):
        first = self.build_once()
        (self.source / "file").write_text("3\n")
        self.assertIn(b"3\n", self.log(self.build_once()["id"]))
        self.cli("task", "rerun", first["id"], check=0)
        again = eventually(lambda: [task for task in self.build(first["build_id"])["tasks"]
                                    if task["attempt"] == 2 and task["status"] == "completed"],
                           "it ran again")[0]
        self.assertTrue(self.log(again["id"]).decode().startswith(
            "cat file; git rev-list --count HEAD; git remote get-url origin\n2\n1\n"))
        self.assertNotIn("mirror is of no help", self.log(again["id"], "clone").decode())

    def test_a_mirror_that_is_broken_costs_a_line_and_no_task(self):
        task = self.build_once()
        [mirror] = (self.scratch / "w1" / "mirrors").glob("*.shallow")
        shutil.rmtree(mirror / "objects")
        task = self.build_once()
        self.assertIn("The worker's mirror is of no help here",
                      self.log(task["id"], "clone").decode())
        self.assertIn(b"2\n", self.log(task["id"]))

    def test_without_mirrors_tasks_clone_themselves(self):
        self.worker.stop()
        file = self.scratch / "worker.yml"
        file.write_text("git-mirror: false\n")
        worker = self.start_worker(name="plain", extra=("--file", str(file)))
        task = self.build_once()
        self.assertIn(b"2\n", self.log(task["id"]))
        self.assertFalse((self.scratch / "plain" / "mirrors").exists())


class Reports(Case):
    def test_annotations_and_figures_are_kept_and_shown(self):
        self.start_controller()
        self.start_worker()
        build = self.submit(NONE + """task:
  name: t
  script:
    - printf '<testsuite><testcase name="ok"/><testcase name="bad"><failure>a.c:3 no</failure></testcase></testsuite>' > r.xml
    - touch a.c
  tests_artifacts:
    path: r.xml
    format: junit
""")
        task = self.wait_build(build, "completed")["tasks"][0]
        self.assertIn(b"Annotations: 1; 1 passed.", self.log(task["id"], "tests"))
        found = self.api("GET", f"/api/v1/tasks/{task['id']}/annotations")["annotations"]
        self.assertEqual([(a["level"], a["message"], a["path"], a["start_line"]) for a in found],
                         [("failure", "bad", "a.c", 3)])
        printed = self.cli("task", "annotations", task["id"], check=0).stdout
        self.assertEqual(printed, "a.c:3: failure: bad\n")
        report = self.api("GET", f"/api/v1/tasks/{task['id']}/report")
        self.assertGreater(report["resources"]["cpu_total"], 0)
        self.assertGreater(len(report["resources"]["memory"]), 0)


class TaskShell(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.start_worker()

    def test_a_person_looks_around_in_a_running_task(self):
        build = self.submit(NONE + "task:\n  name: t\n  env: {WHO: the-task}\n  script:\n" + indented(
            ["echo begun; while [ ! -e go ]; do sleep 0.05; done; cat go"]))
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        shell = self.cli("task", "shell", task["id"], check=0,
                         input="echo I am in $WHO; echo from the shell > go\nexit\n")
        self.assertIn("I am in the-task", shell.stdout)
        self.wait_build(build, "completed")
        self.assertTrue(self.log(task["id"]).endswith(b"from the shell\n"))
        audit = json.dumps(self.api("GET", "/api/v1/audit"))
        self.assertIn("task.shell", audit)

    def test_a_task_waits_for_a_person_after_its_failure(self):
        build = self.submit(NONE + "task:\n  name: t\n  env: {CIRRUS_TERMINAL_EXPIRATION_WINDOW: 1}\n"
                            "  script: test -e mended\n")
        self.wait_build(build, "failed")
        failed = self.task(build, "t")["id"]
        told = self.cli("task", "rerun", failed, "--terminal", check=0).stdout
        task = self.task(build, "t")["id"]
        self.assertIn(f"cirrus task shell {task}", told)
        eventually(lambda: b"Waiting for somebody" in self.log_or_empty(task, "terminal"),
                   "the failed task waits")
        shell = self.cli("task", "shell", task, check=0, input="echo I am here\nexit\n")
        self.assertIn("I am here", shell.stdout)
        self.wait_build(build, "failed")
        self.assertEqual([step["status"] for step in self.task(build, "t")["steps"]],
                         ["failed", "completed"])

    def running_task(self):
        build = self.submit(NONE + "task:\n  name: t\n  script: echo begun; sleep 1000\n")
        task = self.task(build, "t")["id"]
        eventually(lambda: b"begun\n" in self.log_or_empty(task), "the script runs")
        return task

    def test_what_is_piped_in_is_done_to_its_end(self):
        piped_shell.check_ends(self, self.running_task())

    def test_a_shell_ends_though_standard_input_stays_open(self):
        piped_shell.check_open_input(self, self.running_task())

    def test_a_shell_that_does_not_end_is_given_up(self):
        piped_shell.check_gives_up(self, self.running_task())

    def test_there_is_no_shell_in_a_task_that_does_not_run(self):
        build = self.wait_build(self.submit(NONE + "task:\n  name: t\n  script: echo\n"))
        answer = self.cli("task", "shell", build["tasks"][0]["id"])
        self.assertNotEqual(answer.returncode, 0)
        self.assertIn("not being executed", answer.stderr + answer.stdout)


if __name__ == "__main__":
    unittest.main()
