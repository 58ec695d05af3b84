"""Isolation `container` on real engines, each started for one test. SPDX-License-Identifier: MIT

Skipped by name where no engine can run (tests/engines/run_engine says why).
"""
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from engines import EngineCase, task
from harness import Daemon, eventually


class Containers(EngineCase):
    def run_everything(self, kind):
        self.start_engine(kind)
        self.start_controller()
        shared = self.scratch / "shared"
        shared.mkdir()
        worker = self.start_worker_on_engine(kind)
        # The document's example: more CPUs and memory than there are, a read-only volume.
        more = (f"        volumes:\n          - {shared}:/shared\n"
                f"          - {shared}:/shared-ro:ro\n")
        script = ("\n    - echo in $(hostname); pwd\n    - echo made > /shared/made\n"
                  "    - touch /shared-ro/x && echo WRITABLE || echo read-only\n"
                  "    - find / -xdev -name 'task.pb' -o -xdev -name spool | grep . && echo LEAK"
                  " || echo nothing of the worker\n"
                  "    - ls -l /proc/$$/fd | grep -e socket -e \\.sock && echo FDLEAK || echo none\n"
                  "    - touch here && echo working directory is writable")
        build = self.submit(task(script, more=more))
        ended = self.wait_build(build)
        log = self.log_or_empty(ended["tasks"][0]["id"]).decode()
        self.assertEqual(ended["status"], "completed", f"{ended}\n{log}\n{worker.log()}")
        self.assertIn("read-only", log)
        self.assertIn("limited to", log, "what was reduced is said in the task's log")
        self.assertNotIn("\nWRITABLE", log)
        self.assertNotIn("\nLEAK", log)
        self.assertNotIn("\nFDLEAK", log)
        self.assertIn("working directory is writable", log)
        self.assertEqual((shared / "made").read_text(), "made\n")
        # A plain container: the worker says that it has an engine.
        plain = self.wait_build(self.submit(
            "container:\n  image: cirrus.test/busybox:1\ntask:\n  name: t\n  script: pwd\n"),
            "completed")
        self.assertIn("/tmp/cirrus-ci", self.log(plain["tasks"][0]["id"]).decode())
        # A user that is not root has a working directory as well.
        user = self.wait_build(self.submit(task("id -u && touch here",
                                                image="cirrus.test/user:1")), "completed")
        self.assertIn("1000", self.log(user["tasks"][0]["id"]).decode())
        # An image with nothing in it: the agent brings all it needs.
        bare = self.wait_build(self.submit(
            "task:\n  name: t\n  env: {CONTENT: x}\n  persistent_worker:\n    isolation:\n"
            "      container: {image: 'cirrus.test/bare:1'}\n"
            "  note_file: {path: /data/note, variable_name: CONTENT}\n"), "completed")
        self.assertEqual([step["status"] for step in bare["tasks"][0]["steps"]], ["completed"])
        # An image that is nowhere.
        absent = self.wait_build(self.submit(task("never", image="127.0.0.1:1/absent:1")), "failed")
        self.assertIn("127.0.0.1:1/absent:1", str(absent))
        hostile = self.wait_build(self.submit(task("never", image="'--privileged x'")), "failed")
        self.assertIn("image", str(hostile))
        # A stop order.
        long = self.submit(task("sleep 1000"))
        self.wait_task(long, "t", "executing")
        eventually(lambda: "sleep" in self.log_or_empty(self.task(long, "t")["id"]).decode(),
                   "the script runs")
        self.cli("build", "cancel", long, check=0)
        self.wait_build(long, "aborted")
        # A killed worker: its task goes on in its container and is adopted.
        survivor = self.submit(task(
            "\n    - echo before\n    - while [ ! -e /shared/go ]; do sleep 0.1; done\n"
            "    - echo after", more=more))
        eventually(lambda: "before" in self.log_or_empty(self.task(survivor, "t")["id"]).decode(),
                   "the script runs")
        worker.kill()
        (shared / "go").write_text("")
        self.start_worker_on_engine(kind)
        done = self.wait_build(survivor, "completed")
        self.assertIn("after", self.log(done["tasks"][0]["id"]).decode())
        # Nothing is left in the engine.
        eventually(lambda: '"org.cirrus.owner"' not in self.in_engine("/containers/json?all=true"),
                   "no container is left")
        eventually(lambda: '"org.cirrus.owner"' not in self.in_engine("/volumes"),
                   "no volume is left")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_docker(self):
        self.run_everything("docker")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_podman(self):
        self.run_everything("podman")

    def run_what_a_plain_container_has(self, kind):
        self.start_engine(kind)
        self.start_controller()
        worker = self.start_worker_on_engine(kind)
        # Two companions in the task's network: one waited for by its port, one by its command.
        build = self.wait_build(self.submit(
            "container:\n"
            "  image: cirrus.test/busybox:1\n"
            "  additional_containers:\n"
            "    - name: web\n      image: cirrus.test/busybox:1\n      port: 8099\n"
            "      env: {GREETING: hello}\n"
            "      command: sh -c 'sleep 0.5; mkdir /w; echo $GREETING > /w/x;"
            " exec httpd -f -p 8099 -h /w'\n"
            "    - name: slow\n      image: cirrus.test/busybox:1\n"
            "      command: sh -c 'sleep 1; touch /ready; exec sleep 1000'\n"
            "      readiness_command: test -e /ready\n"
            "task:\n  name: t\n  script: wget -q -O - http://localhost:8099/x\n"))
        log = self.log_or_empty(build["tasks"][0]["id"]).decode()
        self.assertEqual(build["status"], "completed", f"{build}\n{log}\n{worker.log()}")
        self.assertIn("\nhello\n", log)
        self.assertIn("Waiting for container 'slow' to be ready.", log)
        # One that ends instead of becoming ready.
        failed = self.wait_build(self.submit(
            "container:\n  image: cirrus.test/busybox:1\n  additional_containers:\n"
            "    - name: db\n      image: cirrus.test/busybox:1\n"
            "      command: sh -c 'echo no disk; exit 3'\n      readiness_command: 'false'\n"
            "task:\n  name: t\n  script: never\n"), "failed")
        self.assertIn("container 'db' ended with exit status 3", str(failed))
        self.assertIn("no disk", str(failed))
        # Privilege is the owner's to give.
        refused = self.wait_build(self.submit(
            "container:\n  image: cirrus.test/busybox:1\n  additional_containers:\n"
            "    - name: db\n      image: cirrus.test/busybox:1\n      privileged: true\n"
            "task:\n  name: t\n  script: never\n"), "failed")
        self.assertIn("privileged", str(refused))
        # Out of memory: the step says so.
        hungry = self.wait_build(self.submit(
            "container:\n  image: cirrus.test/busybox:1\n  memory: 128MB\n"
            "task:\n  name: t\n  script: dd if=/dev/zero of=/dev/null bs=400M count=1\n"), "failed")
        log = self.log(hungry["tasks"][0]["id"]).decode()
        self.assertRegex(log, "The kernel killed a process for want of memory: the limit is 1.. MiB")
        eventually(lambda: '"org.cirrus.owner"' not in self.in_engine("/containers/json?all=true"),
                   "no container is left")

    def run_a_dockerfile(self, kind):
        self.start_engine(kind)
        self.start_controller()
        worker = self.start_worker_on_engine(kind)
        source = self.scratch / "source"
        (source / "ci").mkdir(parents=True)
        (source / "ci" / "Dockerfile").write_text(
            "FROM cirrus.test/busybox:1\nARG WORD\nCOPY hello /hello\n"
            "RUN echo $WORD > /built\n")
        (source / "hello").write_text("copied\n")
        (source / ".cirrus.yml").write_text(
            "container:\n  dockerfile: ci/Dockerfile\n  docker_arguments: {WORD: argument}\n"
            "task:\n  name: t\n  clone_script: true\n  script: cat /hello /built\n")

        def run():
            done = self.cli("build", "submit", str(source), "--output", "json")
            self.assertEqual(done.returncode, 0, done.stderr)
            answer = json.loads(done.stdout)
            build = self.wait_build(answer.get("build", answer)["id"])
            task = build["tasks"][0]["id"]
            logs = (self.log_or_empty(task, "clone") + self.log_or_empty(task)).decode()
            self.assertEqual(build["status"], "completed", f"{build}\n{logs}\n{worker.log()}")
            self.assertIn("copied\nargument\n", logs)
            return logs

        self.assertIn("Building image gcr.io/cirrus-ci-community/", run())
        self.assertNotIn("Building image", run(), "the image is there already")
        (source / "hello").write_text("copied again\n")
        (source / "ci" / "Dockerfile").write_text(
            "FROM cirrus.test/busybox:1\nARG WORD\nCOPY hello /hello\nRUN exit 7\n")
        failed = self.cli("build", "submit", str(source), "--output", "json")
        answer = json.loads(failed.stdout)
        build = self.wait_build(answer.get("build", answer)["id"], "failed")
        self.assertIn("building Dockerfile 'ci/Dockerfile'", build["tasks"][0]["reason"])

    def start_registry(self):
        """A registry on loopback that lets `user` in; the image is pushed to it and forgotten."""
        program = shutil.which("docker-registry")
        if program is None:
            self.skipTest("there is no docker-registry")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        directory = self.scratch / "registry"
        directory.mkdir()
        # The word `pass` by bcrypt.
        (directory / "users").write_text(
            "user:$2b$04$abcdefghijklmnopqrstuufznL8bkzdtHwLhca4To/v9Lo9bA7fR6\n")
        (directory / "config.yml").write_text(
            f"version: 0.1\nlog: {{accesslog: {{disabled: false}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
            f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
            f"auth: {{htpasswd: {{realm: test, path: {directory}/users}}}}\n")
        log = open(directory / "log", "wb")
        registry = subprocess.Popen([program, "serve", str(directory / "config.yml")],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self.addCleanup(lambda: (registry.terminate(), registry.wait(10)))

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        eventually(listens, "the registry listens")
        name = f"127.0.0.1:{port}/a/b"
        login = base64.urlsafe_b64encode(json.dumps(
            {"username": "user", "password": "pass",
             "serveraddress": f"127.0.0.1:{port}"}).encode()).decode()
        self.in_engine(f"/images/cirrus.test%2Fbusybox:1/tag?repo={name}&tag=1", "POST")
        pushed = self.in_engine(f"/images/{name}/push?tag=1", "POST", "-H",
                                f"X-Registry-Auth: {login}")
        self.assertNotIn("errorDetail", pushed)
        self.in_engine(f"/images/{name}:1", "DELETE")
        auth = base64.b64encode(b"user:pass").decode()
        (directory / "config.json").write_text(
            json.dumps({"auths": {f"127.0.0.1:{port}": {"auth": auth}}}))
        return name, directory

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_podman_pulls_with_the_workers_login_and_once_for_all(self):
        self.start_engine("podman")
        name, registry = self.start_registry()
        self.start_controller()
        stranger = self.start_worker_on_engine("podman", "stranger", "labels: {who: stranger}\n")
        self.start_worker_on_engine("podman", "guest", "labels: {who: guest}\n",
                                    DOCKER_CONFIG=str(registry))

        def config(who, names):
            return "".join(
                f"task:\n  name: {one}\n  persistent_worker:\n    labels: {{who: {who}}}\n"
                f"    isolation: {{container: {{image: '{name}:1'}}}}\n  script: echo ran\n"
                for one in names)
        refused = self.wait_build(self.submit(config("stranger", ["t"])), "failed")
        self.assertIn(f"pulling image '{name}:1'", refused["tasks"][0]["reason"])
        stranger.signal(signal.SIGTERM)
        (registry / "log").write_text("")
        build = self.wait_build(self.submit(config("guest", ["a", "b", "c"])), "completed")
        logs = [self.log(task["id"]).decode() for task in build["tasks"]]
        self.assertEqual(sum("Pulling image" in log for log in logs), 1, logs)
        got = re.findall(r'"GET (/v2/a/b/blobs/\S+)', (registry / "log").read_text())
        self.assertEqual(len(got), len(set(got)), "no layer was fetched twice")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_podman_obeys_the_owners_settings_and_survives_an_engine_that_hangs(self):
        engine = self.start_engine("podman")
        self.start_controller()
        shared = self.scratch / "shared"
        shared.mkdir()
        self.start_worker_on_engine(
            "podman", settings="container:\n  network: none\n  pull: never\n"
            f"  socket: {self.socket}\n  ulimits: {{nofile: '512:512', nproc: '4096:4096'}}\n")
        build = self.wait_build(self.submit(task(
            "ulimit -n && ls /sys/class/net")), "completed")
        self.assertIn("\n512\nlo\n", self.log(build["tasks"][0]["id"]).decode() + "\n")
        absent = self.wait_build(self.submit(task("never", image="cirrus.test/absent:1")), "failed")
        self.assertIn("told never to pull", absent["tasks"][0]["reason"])
        # The engine stops answering while a task runs: the task does not notice.
        build = self.submit(task(
            "\n    - while [ ! -e /shared/go ]; do sleep 0.1; done\n    - echo went on",
            more=f"        volumes: ['{shared}:/shared']\n"))
        eventually(lambda: "while" in self.log_or_empty(self.task(build, "t")["id"]).decode(),
                   "the script runs")
        service = int(subprocess.run(["pgrep", "-P", str(engine.pid), "podman"],
                                     capture_output=True, check=True).stdout.split()[0])
        os.kill(service, signal.SIGSTOP)
        try:
            (shared / "go").write_text("")
            done = self.wait_build(build, "completed")
        finally:
            os.kill(service, signal.SIGCONT)
        self.assertIn("went on", self.log(done["tasks"][0]["id"]).decode())
        eventually(lambda: '"org.cirrus.owner"' not in self.in_engine("/containers/json?all=true"),
                   "no container is left")
        # The engine dies while a task runs, and comes back after the task's end.
        (shared / "go").unlink()
        build = self.submit(task(
            "\n    - while [ ! -e /shared/go ]; do sleep 0.1; done\n    - echo went on",
            more=f"        volumes: ['{shared}:/shared']\n"))
        eventually(lambda: "while" in self.log_or_empty(self.task(build, "t")["id"]).decode(),
                   "the script runs")
        os.kill(service, signal.SIGKILL)
        engine.wait(30)
        (shared / "go").write_text("")
        self.wait_build(build, "completed")
        directory = self.socket.parent
        self.socket.unlink(missing_ok=True)
        again = subprocess.Popen(
            ["podman", "system", "service", "--time=0", f"unix://{self.socket}"],
            env={**os.environ, "CONTAINERS_CONF": str(directory / "containers.conf"),
                 "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
                 "CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf")},
            cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

        def end():
            again.terminate()
            again.wait(10)
            mounts = [line.split()[1] for line in open("/proc/mounts", encoding="utf-8")]
            for mount in sorted((m for m in mounts if m.startswith(str(directory))), reverse=True):
                subprocess.run(["umount", "-l", mount], check=False)
        self.addCleanup(end)
        eventually(self.socket.exists, "the engine is back")
        eventually(lambda: '"org.cirrus.owner"' not in self.in_engine("/containers/json?all=true"),
                   "no container is left")

    def run_standby(self, kind):
        self.start_engine(kind)
        self.start_controller()
        shared = self.scratch / "shared"
        shared.mkdir()
        settings = ("resources: {slots: 1}\n"
                    "standby:\n  isolation:\n    container: {image: 'cirrus.test/busybox:1', cpu: 1,"
                    f" memory: 1G, volumes: ['{shared}:/shared']}}\n  resources: {{slots: 1}}\n"
                    "  warmup: {script: echo warm > /tmp/warm}\n")
        worker = self.start_worker_on_engine(kind, settings=settings)

        def config(script, more=""):
            return ("task:\n  name: t\n  persistent_worker:\n    resources: {slots: 1}\n"
                    "    isolation:\n      container: {image: 'cirrus.test/busybox:1', cpu: 1,"
                    f" memory: 1G, volumes: ['{shared}:/shared']{more}}}\n  script:{script}\n")

        def standing():
            return self.in_engine("/containers/json").count('"org.cirrus.task":"standby-')
        eventually(lambda: standing() == 1, "a container stands by")
        build = self.wait_build(self.submit(config(" cat /tmp/warm; touch here")), "completed")
        self.assertIn("\nwarm\n", self.log(build["tasks"][0]["id"]).decode())
        self.assertIn("standby instance taken", worker.log())
        eventually(lambda: standing() == 1, "the next one stands by")
        # A task that asks for something else ends it, because one slot is all there is.
        build = self.wait_build(self.submit(config(
            " test -e /tmp/warm || echo cold").replace("memory: 1G", "memory: 2G")), "completed")
        self.assertIn("\ncold\n", self.log(build["tasks"][0]["id"]).decode())
        # A killed worker: what it stood by with goes, the task that took one over goes on.
        eventually(lambda: standing() == 1, "one stands by again")
        build = self.submit(config(
            "\n    - cat /tmp/warm\n    - while [ ! -e /shared/go ]; do sleep 0.1; done\n"
            "    - echo after"))
        eventually(lambda: "\nwarm\n" in self.log_or_empty(self.task(build, "t")["id"]).decode(),
                   "the script runs")
        worker.kill()
        worker = self.start_worker_on_engine(kind, settings=settings)
        time.sleep(1)
        (shared / "go").write_text("")
        done = self.wait_build(build, "completed")
        self.assertIn("after", self.log(done["tasks"][0]["id"]).decode())
        eventually(lambda: standing() == 1, "one stands by for the new worker")
        worker.signal(signal.SIGTERM)
        worker.wait()
        self.assertNotIn('"org.cirrus.owner"', self.in_engine("/containers/json?all=true"))

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_docker_standby(self):
        self.run_standby("docker")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_podman_standby(self):
        self.run_standby("podman")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_podman_is_started_and_stopped_where_no_engine_runs(self):
        self.start_engine("podman")  # for its images; the worker is not told of it
        engine = self.socket.parent
        self.socket = None
        self.start_controller()
        path = self.scratch / "w.yml"
        path.write_text("")
        worker = Daemon(self.scratch, "worker-alone", [
            "worker", "run", "--name", "w", "-f", str(path), "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint",
            self.controller.ready["rpc_endpoint"], "--data-dir", str(self.scratch / "w")],
            self.environment(CIRRUS_CONTAINER_BACKEND="podman",
                             CONTAINERS_CONF=str(engine / "containers.conf"),
                             CONTAINERS_STORAGE_CONF=str(engine / "storage.conf"),
                             CONTAINERS_REGISTRIES_CONF=str(engine / "registries.conf")))
        self.daemons.append(worker)
        worker.start()
        build = self.wait_build(self.submit(task("echo ran")), "completed")
        self.assertIn("\nran\n", self.log(build["tasks"][0]["id"]).decode())

        def services():
            return subprocess.run(["pgrep", "-f", "podman system service --time=600"],
                                  capture_output=True).stdout.split()
        self.assertEqual(len(services()), 1)
        worker.signal(signal.SIGTERM)
        worker.wait()
        self.assertEqual(services(), [])

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_docker_companions_privilege_and_memory(self):
        self.run_what_a_plain_container_has("docker")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_podman_companions_privilege_and_memory(self):
        self.run_what_a_plain_container_has("podman")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_docker_builds_dockerfiles(self):
        self.run_a_dockerfile("docker")

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_podman_builds_dockerfiles(self):
        self.run_a_dockerfile("podman")

    def test_without_an_engine_the_task_says_what_was_tried(self):
        self.start_controller()
        self.socket = self.scratch / "no-engine.sock"
        self.start_worker_on_engine("docker")
        failed = self.wait_build(self.submit(task("never")), "failed")
        self.assertIn(str(self.socket), str(failed))

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_a_container_without_git_and_without_network_gets_its_sources(self):
        self.start_engine("podman")
        self.start_controller()
        self.start_worker_on_engine("podman", settings="container:\n  network: none\n")
        source = self.scratch / "source"
        (source / "sub dir").mkdir(parents=True)
        (source / "sub dir" / "run.sh").write_text("#!/bin/sh\necho it runs\n")
        (source / "sub dir" / "run.sh").chmod(0o755)
        (source / "link").symlink_to("sub dir/run.sh")
        # What a checkout would run if it ran anything.
        (source / ".gitattributes").write_text("* filter=evil\n")
        (source / ".cirrus.yml").write_text(task(
            "\n    - if which git; then echo HAS GIT; fi\n    - ./link; ls -a .git | head -3"))
        git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
        for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "one"]):
            subprocess.run([*git, *arguments], check=True)
        self.cli("build", "submit", str(source), "--repo", "test/sources", "--output", "json",
                 check=0)
        build = self.api("GET", "/api/v1/builds?limit=1")["builds"][0]
        ended = self.wait_build(build["id"])
        log = self.log_or_empty(ended["tasks"][0]["id"]).decode()
        clone = self.log_or_empty(ended["tasks"][0]["id"], "clone").decode()
        self.assertEqual(ended["status"], "completed", clone + log)
        self.assertIn("There is no git here; the worker clones", clone)
        self.assertIn("\nit runs\n", log)
        self.assertNotIn("\nHAS GIT", log)

    @unittest.skipUnless(os.geteuid() == 0, "engines are started as root only")
    def test_what_a_dead_worker_and_a_dead_agent_left_is_removed_at_the_next_start(self):
        self.start_engine("podman")
        self.start_controller()
        worker = self.start_worker_on_engine("podman")
        build = self.submit(task("sleep 1000"))
        self.wait_task(build, "t", "executing")
        eventually(lambda: "sleep" in self.log_or_empty(self.task(build, "t")["id"]).decode(),
                   "the script runs")
        listed = "/containers/json?all=true"
        [left] = [one["Id"] for one in json.loads(self.in_engine(listed))
                  if "org.cirrus.owner" in one["Labels"]]
        worker.signal(signal.SIGKILL)
        worker.wait()
        for path in (self.scratch / "w" / "tasks").glob("*/task.pb"):
            path.unlink()  # what a lost disk would have done
        self.start_worker_on_engine("podman")
        # The lost task's next attempt may have a container of its own by now.
        eventually(lambda: left not in self.in_engine(listed), "the container is gone")


if __name__ == "__main__":
    unittest.main()
