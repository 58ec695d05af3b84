"""Throwaway container engines and workers on them. SPDX-License-Identifier: MIT

A test is skipped by name where no engine can run (tests/engines/run_engine says why).
"""
import subprocess

from harness import SOURCE, Case, Daemon, eventually


def task(script, name="t", image="cirrus.test/busybox:1", more=""):
    return (f"task:\n  name: {name}\n  persistent_worker:\n    isolation:\n      container:\n"
            f"        image: {image}\n        cpu: 24\n        memory: 128G\n{more}"
            f"  script: {script}\n")


class EngineCase(Case):
    def setUp(self):
        super().setUp()
        self.engines = []

    def stop_programs(self):
        super().stop_programs()
        for engine in self.engines:
            if engine.poll() is None:
                engine.terminate()
                engine.wait(30)

    def start_engine(self, kind):
        directory = self.scratch / "engine"
        directory.mkdir()
        output = open(self.scratch / "engine.log", "wb")
        engine = subprocess.Popen([str(SOURCE / "tests/engines/run_engine"), kind, str(directory)],
                                  stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        output.close()

        def ready():
            if engine.poll() == 77:
                self.skipTest((self.scratch / "engine.log").read_text().strip())
            self.assertIsNone(engine.poll(), (self.scratch / "engine.log").read_text())
            return (directory / "ready").exists()

        self.engines.append(engine)
        eventually(ready, f"{kind} is ready")
        self.socket = directory / "engine.sock"
        return engine

    def start_worker_on_engine(self, kind, name="w", settings="", program=None, wait=True,
                               **environment):
        path = self.scratch / f"{name}.yml"
        path.write_text(settings)
        worker = Daemon(self.scratch, f"worker-{name}-{len(self.daemons)}", [
            "worker", "run", "--name", name, "-f", str(path), "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint",
            self.controller.ready["rpc_endpoint"], "--data-dir", str(self.scratch / name)],
            self.environment(CIRRUS_CONTAINER_BACKEND=kind,
                             DOCKER_HOST=f"unix://{self.socket}",
                             CONTAINER_HOST=f"unix://{self.socket}", **environment), program)
        self.daemons.append(worker)
        return worker.start(wait)

    def in_engine(self, path, method="GET", *more):
        """What the engine answers."""
        answer = subprocess.run(["curl", "-sS", "-X", method, *more, "--unix-socket",
                                 str(self.socket), f"http://engine/v1.41{path}"],
                                capture_output=True, check=True)
        return answer.stdout.decode()
