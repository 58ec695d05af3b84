"""Caches and artifacts through worker and controller. SPDX-License-Identifier: MIT"""
import hashlib
import os
import re
import signal
import unittest

from harness import Case, eventually

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"
CACHE = NONE + """task:
  name: build
  deps_cache:
    folder: deps
    fingerprint_key: deps-v1
    populate_script: mkdir deps && echo made by $CIRRUS_BUILD_ID > deps/file
  script: cat deps/file
"""


def bytes_below(directory):
    total = 0
    for path in directory.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_size
        except OSError:
            pass
    return total


class Blobs(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.worker = self.start_worker()

    def finish(self, config, status="completed", **fields):
        return self.wait_build(self.submit(config, **fields), status)["tasks"][0]

    def test_a_cache_is_stored_by_one_build_and_restored_by_the_next(self):
        first = self.finish(CACHE)
        self.assertIn(b"Cache miss for 'deps-v1'", self.log(first["id"], "deps"))
        self.assertIn(b"Stored the cache 'deps-v1'",
                      self.log(first["id"], "Upload 'deps' cache".replace(" ", "%20")))
        second = self.finish(CACHE)
        restored = self.log(second["id"], "deps")
        self.assertIn(b"Cache hit for 'deps-v1'", restored)
        self.assertIn(f"stored by task {first['id']}".encode(), restored)
        self.assertEqual(self.log(first["id"]), self.log(second["id"]))
        # Another repository has caches of its own.
        other = self.finish(CACHE, repository="test/other")
        self.assertIn(b"Cache miss", self.log(other["id"], "deps"))
        listed = self.cli("cache", "list", "test/repo", check=0).stdout
        self.assertIn("deps-v1", listed)

    def test_save_on_always_stores_the_cache_of_a_task_that_failed_or_was_cancelled(self):
        def cached(key, script, save_on="always"):
            return (NONE + f"task:\n  name: t\n  x_cache:\n    folder: deps\n    fingerprint_key: {key}\n"
                    f"    save_on: {save_on}\n  script: mkdir deps; echo {key} > deps/f; {script}\n")

        def is_stored(key):
            return key in self.cli("cache", "list", "test/repo", check=0).stdout
        self.finish(cached("by-default", "false", "success"), "failed")
        self.assertFalse(is_stored("by-default"))
        self.finish(cached("failed", "false"), "failed")
        self.assertTrue(is_stored("failed"))
        build = self.submit(cached("cancelled", "echo begun; sleep 1000"))
        task = self.wait_task(build, "t", "executing")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        eventually(lambda: is_stored("cancelled"), "the cache of a cancelled task is stored")

    @unittest.skipIf(os.geteuid() != 0, "another user needs root")
    def test_what_cannot_be_read_is_named_and_costs_no_more_than_it_must(self):
        self.worker.stop()
        settings = self.scratch / "w.yml"
        settings.write_text("task-user: nobody\n")
        self.scratch.chmod(0o755)
        (self.scratch / "tmp").chmod(0o1777)
        self.start_worker("other", extra=("--file", str(settings)))
        cache = NONE + "task:\n  name: t\n  x_cache: {folder: d, fingerprint_key: k}\n  script: "
        upload = "Upload%20'x'%20cache"
        task = self.finish(cache + "mkdir d; echo x > d/f; chmod 0 d/f\n")
        self.assertIn(b"cannot read 'f': Permission denied", self.log(task["id"], upload))
        task = self.finish(cache + "mkdir -p d/sub; touch d/f; chmod 0 d/sub\n")
        self.assertRegex(self.log(task["id"], upload), b"cannot look through '.*/d/sub': Permission")
        task = self.finish(NONE + "task:\n  name: t\n  script: touch f; chmod 0 f\n"
                           "  a_artifacts: {path: f}\n", "failed")
        self.assertRegex(self.log(task["id"], "a"), b"cannot open '.*/f': Permission denied")
        task = self.finish(NONE + "task:\n  name: t\n  env: {V: x, CIRRUS_WORKING_DIR: /proc/no}\n"
                           "  script: echo never\n", "failed")
        self.assertIn("making the working directory '/proc/no'", task["reason"])

    def test_artifacts_are_what_the_task_wrote(self):
        task = self.finish(NONE + """task:
  name: build
  script:
    - mkdir -p out/sub "out/sp ace"
    - head -c 3000000 /dev/urandom > out/big
    - sha256sum out/big | cut -d' ' -f1
    - echo text > "out/sp ace/n%2e.txt"
    - ': > out/empty'
  out_artifacts:
    path: out/**
    type: application/octet-stream
""")
        digest = re.search(rb"^[0-9a-f]{64}$", self.log(task["id"]), re.M).group().decode()
        target = self.scratch / "artifacts"
        self.cli("artifact", "get", task["id"], "out", "--into", str(target), check=0)
        files = {str(p.relative_to(target)): p.read_bytes()
                 for p in target.rglob("*") if p.is_file()}
        names = {name.split("out/", 1)[1]: data for name, data in files.items()}
        self.assertEqual(sorted(names), ["big", "empty", "sp ace/n%2e.txt"])
        self.assertEqual(names["sp ace/n%2e.txt"], b"text\n")
        self.assertEqual(names["empty"], b"")
        self.assertEqual(hashlib.sha256(names["big"]).hexdigest(), digest)

    def test_an_artifact_outside_of_the_working_directory_fails_the_task(self):
        task = self.finish(NONE + "task:\n  name: t\n  out_artifacts:\n    path: /etc/hostname\n",
                           "failed")
        self.assertIn(b"outside of the working directory", self.log(task["id"], "out"))

    def test_ten_thousand_small_artifacts(self):
        task = self.finish(NONE + """task:
  name: many
  script:
    - mkdir out && cd out
    - seq 10000 | xargs touch
  out_artifacts:
    path: out/*
""")
        self.assertIn(b"Stored 10000 artifacts", self.log(task["id"], "out"))
        listed = self.cli("artifact", "list", task["id"], check=0).stdout
        self.assertIn("10000", listed)

    def test_a_worker_that_is_killed_during_a_cache_upload_leaves_a_whole_cache(self):
        self.killed_during("worker", """  x_cache:
    folder: data
    fingerprint_key: big
  script: mkdir data && head -c 300000000 /dev/urandom > data/big && sha256sum < data/big
""")
        self.check_cache()

    def test_a_controller_that_is_killed_during_a_cache_upload_leaves_a_whole_cache(self):
        self.killed_during("controller", """  x_cache:
    folder: data
    fingerprint_key: big
  script: mkdir data && head -c 300000000 /dev/urandom > data/big && sha256sum < data/big
""")
        self.check_cache()

    def test_an_agent_that_is_killed_during_a_cache_upload_leaves_no_cache(self):
        pid = self.scratch / "agent"
        build = self.submit(NONE + f"""task:
  name: upload
  x_cache:
    folder: data
    fingerprint_key: big
  script: mkdir data && head -c 300000000 /dev/urandom > data/big && echo $PPID > {pid}
""")
        caches = self.scratch / "controller"
        before = bytes_below(caches)
        eventually(lambda: bytes_below(caches) > before + 20_000_000, "the upload is under way")
        os.kill(int(pid.read_text()), signal.SIGKILL)
        self.wait_build(build, "failed")
        eventually(lambda: bytes_below(caches) < before + 20_000_000, "the half of it is gone")
        task = self.finish(NONE + "task:\n  name: t\n  x_cache:\n    folder: data\n"
                           "    fingerprint_key: big\n")
        self.assertIn(b"Cache miss for 'big'", self.log(task["id"], "x"))

    def test_a_worker_that_is_killed_during_an_artifact_upload_leaves_whole_artifacts(self):
        self.check_artifacts("worker")

    def test_a_controller_that_is_killed_during_an_artifact_upload_leaves_whole_artifacts(self):
        self.check_artifacts("controller")

    def check_artifacts(self, whom):
        task = self.killed_during(whom, """  script:
    - head -c 300000000 /dev/urandom > big && sha256sum < big
  out_artifacts:
    path: big
""")
        target = self.scratch / "artifacts"
        self.cli("artifact", "get", task["id"], "out", "--into", str(target), check=0)
        [path] = [p for p in target.rglob("big")]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.assertIn(digest.encode(), self.log(task["id"]))

    def killed_during(self, whom, steps):
        """Runs a task and kills a program in the middle of its upload; the task completes."""
        build = self.submit(NONE + "task:\n  name: upload\n" + steps)
        data = self.scratch / "controller"
        before = bytes_below(data)
        eventually(lambda: bytes_below(data) > before + 20_000_000, "the upload is under way")
        if whom == "worker":
            self.worker.kill()
            self.worker.start()
        else:
            self.controller.kill()
            self.restart_controller()
        return self.wait_build(build, "completed")["tasks"][0]

    def check_cache(self):
        task = self.finish(NONE + """task:
  name: check
  x_cache:
    folder: data
    fingerprint_key: big
  script: sha256sum < data/big
""")
        digest = self.log(task["id"]).split(b"\n")[-2].split()[0]
        builds = self.api("GET", "/api/v1/builds")
        first = min((b for b in builds["builds"]), key=lambda b: int(b["id"]))
        uploader = self.build(first["id"])["tasks"][0]
        self.assertIn(digest, self.log(uploader["id"]))


if __name__ == "__main__":
    unittest.main()
