"""Attack and fault cases on the controller's side, by their numbers.

SPDX-License-Identifier: MIT
"""
import pathlib
import random
import socket
import threading
import unittest
import urllib.error

from harness import Case, Daemon, eventually

FAKETIME = next(iter(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


class Relay:
    """A TCP relay that breaks connections after a random number of bytes, in mid-message."""

    def __init__(self, port, seed, most=200_000):
        self.port_behind = port
        self.random = random.Random(seed)
        self.most = most
        self.calm = False
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port_behind))
            except OSError:
                return
            budget = [self.random.randrange(2_000, self.most)]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, target, budget),
                                 daemon=True).start()

    def _copy(self, source, target, budget):
        try:
            while True:
                piece = source.recv(4096)
                if not piece:
                    break
                if not self.calm:
                    budget[0] -= len(piece)
                    if budget[0] < 0:
                        self.cuts += 1
                        target.sendall(piece[:len(piece) // 2])
                        break
                target.sendall(piece)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class Cases(Case):
    def test_T12_names_and_messages_are_data_and_run_nothing(self):
        self.start_controller()
        self.start_worker("w1")
        witness = self.scratch / "pwned"
        hostile = [f"$(touch {witness})", f"`touch {witness}`", f"a;touch {witness}",
                   "--upload-pack=touch pwned", "@file", "\u202egnp.exe", "a\nb\nc",
                   "'\"\\ {HOME} %s %n", "-n -e"]
        for text in hostile:
            try:
                build = self.submit(
                    "task:\n  name: t\n  persistent_worker: {}\n  main_script: |\n    set +v\n"
                    "    printf '%s|%s|%s' \"$CIRRUS_CHANGE_MESSAGE\" \"$GIVEN\" \"$CIRRUS_BRANCH\"\n",
                    message=text, environment={"GIVEN": text}, branch="b")
            except urllib.error.HTTPError as refused:
                self.fail(f"{text!r}: {refused.read()}")
            self.wait_build(build, "completed")
            log = self.log(self.task(build, "t")["id"]).decode()
            self.assertEqual(log, f"set +v\n{text}|{text}|b")
        for branch in ("a b", "a\nb", "../x", "a..b", "x.lock", "a\x7fb", "@{", "~1"):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                self.submit("task:\n  persistent_worker: {}\n  x_script: true\n", branch=branch)
            self.assertEqual(refused.exception.code, 400, branch)
            refused.exception.close()
        self.assertFalse(witness.exists())

    def test_T12_a_pushed_repository_runs_nothing_on_the_controller(self):
        self.start_controller()
        self.start_worker("w1")
        witness = self.scratch / "pwned"
        project = self.scratch / "project"
        project.mkdir()
        (project / ".cirrus.yml").write_text(
            "task:\n  name: t\n  persistent_worker: {}\n  main_script: ls -a\n")
        (project / ".gitattributes").write_text("* filter=evil diff=evil export-subst\n")
        (project / ".gitmodules").write_text(
            f'[submodule "x"]\n\tpath = x\r\n\turl = --upload-pack=touch {witness}\n')
        hooks = project / "hooks"
        hooks.mkdir()
        for name in ("post-receive", "update", "post-checkout"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {witness}\n")
            (hooks / name).chmod(0o755)
        self.cli("build", "submit", str(project), "--follow")
        self.assertFalse(witness.exists())

    def test_T15_bombs_hit_limits_and_the_controller_stays_responsive(self):
        self.start_controller()
        self.start_worker("w1")
        aliases = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
        matrix = "task:\n  persistent_worker: {}\n  x_script: true\n  env:\n" + "".join(
            f"    V{i}:\n      matrix: [{','.join(map(str, range(100)))}]\n" for i in range(3))
        bombs = [aliases + "task:\n  env: {A: *a11}\n  x_script: true\n", matrix, "[" * 100_000,
                 "task: {x_script: " + "a" * 7_000_000 + "}\n"]
        answers = []

        def throw(bomb):
            try:
                self.submit(bomb)
                answers.append(201)
            except urllib.error.HTTPError as refused:
                answers.append(refused.code)
                refused.close()

        threads = [threading.Thread(target=throw, args=(bomb,)) for bomb in bombs * 4]
        for thread in threads:
            thread.start()
        build = self.submit("task:\n  name: t\n  persistent_worker: {}\n  main_script: echo ok\n")
        self.wait_build(build, "completed")
        for thread in threads:
            thread.join()
        self.assertEqual(set(answers), {422}, answers)
        self.assertLess(self.resident(), 700_000, "KiB: bounded whatever was thrown")

    def resident(self):
        status = pathlib.Path(f"/proc/{self.controller.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def test_T20_a_network_that_breaks_connections_loses_and_doubles_nothing(self):
        self.start_controller()
        port = int(self.controller.ready["rpc_endpoint"].rsplit(":", 1)[1])
        relay = Relay(port, seed=20)
        self.addCleanup(relay.close)
        self.controller.ready["rpc_endpoint"] = f"http://127.0.0.1:{relay.port}"
        self.start_worker("w1", resources=("cpu=4",))
        builds = [self.submit(
            "task:\n  name: t\n  persistent_worker: {resources: {cpu: 1}}\n  main_script: |\n    set +v\n"
            "    for i in $(seq 20000); do echo \"line $i\"; done\n") for _ in range(6)]
        expected = b"set +v\n" + "".join(f"line {i}\n" for i in range(1, 20001)).encode()
        for build in builds:
            self.wait_build(build, "completed", patience=180)
            task = self.task(build, "t")
            self.assertEqual(task["attempt"], 1)
            self.assertEqual(self.log(task["id"]), expected)
        self.assertGreater(relay.cuts, 5, "connections were cut")

    @unittest.skipIf(FAKETIME is None, "needs libfaketime (packaging/apt/test.txt)")
    def test_T21_a_clock_that_jumps_years_ends_no_task(self):
        offset = self.scratch / "offset"
        offset.write_text("+0\n")
        arguments = ["controller", "run", "--data-dir", str(self.scratch / "controller"),
                     "--rpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"]
        environment = self.environment(
            LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(offset), FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1")
        self.controller = Daemon(self.scratch, "controller", arguments, environment)
        self.daemons.append(self.controller)
        self.controller.start()
        self.start_worker("w1")
        gate = self.scratch / "gate"
        build = self.submit(
            "task:\n  name: t\n  persistent_worker: {}\n  main_script: |\n    set +v\n"
            f"    echo before; until [ -e {gate} ]; do sleep 0.05; done; echo after\n")
        task = self.wait_task(build, "t", "executing")["id"]
        for jump in ("+4y", "-4y", "+1d"):
            offset.write_text(jump + "\n")
            # Something that needs the loop to have run with the new time.
            other = self.submit("task:\n  persistent_worker: {labels: {a: b}}\n  x_script: true\n")
            eventually(lambda: self.build(other)["tasks"][0]["waiting_reason"], "it is judged")
            self.assertEqual(self.task(build, "t")["status"], "executing", jump)
            workers = self.api("GET", "/api/v1/workers")["workers"]
            self.assertEqual(workers[0]["state"], "busy", jump)
        gate.touch()
        self.wait_build(build, "completed")
        self.assertEqual(self.task(build, "t")["attempt"], 1)
        self.assertEqual(self.log(task), b"set +v\nbefore\nafter\n")

    def test_T23_a_storm_of_log_bytes_reaches_every_reader_in_order(self):
        self.start_controller()
        self.start_worker("w1")
        size = 48 << 20
        build = self.submit(
            "task:\n  name: t\n  persistent_worker: {}\n  main_script: |\n    set +v\n"
            f"    head -c {size} /dev/zero | tr '\\0' '\\377'; printf 'END'\n")
        task = self.wait_task(build, "t", "executing", "completed")["id"]
        token = pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()
        address = self.controller.ready["http_url"].split("//")[1].split(":")
        # These ask for everything and read nothing: they must cost no memory and stop nobody.
        lazy = []
        for _ in range(50):
            reader = socket.create_connection((address[0], int(address[1])))
            reader.sendall(f"GET /api/v1/tasks/{task}/logs/main?follow=1 HTTP/1.1\r\nHost: x\r\n"
                           f"Authorization: Bearer {token}\r\n\r\n".encode())
            lazy.append(reader)
        self.wait_build(build, "completed", patience=180)
        self.assertLess(self.resident(), 400_000, "KiB: a slow reader waits, the controller does not")
        log = self.log(task)
        self.assertEqual(len(log), len("set +v\n") + size + 3)
        self.assertEqual(log[-3:], b"END")
        self.assertEqual(log.count(b"\xff"), size, "bytes are kept as they are")
        for reader in lazy:
            reader.close()


if __name__ == "__main__":
    unittest.main()
