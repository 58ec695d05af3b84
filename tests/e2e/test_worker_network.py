"""T20, T24: a worker behind networks that delay, cut, swallow and reset. SPDX-License-Identifier: MIT"""
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from harness import Case, Daemon, eventually, processes_with
from http2_relay import ENHANCE_YOUR_CALM, NO_ERROR, Http2Relay
from relay import Relay

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources: {cpu: 1}\n"
# Three steps, so that results and logs of several streams are in flight.
COUNT = NONE + """task:
  name: t
  env:
    BOOK: %(book)s
  script: |
    echo ran >> $BOOK
    for i in $(seq 1 %(lines)d); do echo line $i; done
  slow_script: for i in $(seq 1 20); do echo slow $i; sleep 0.05; done
  check_script: echo after
"""


class NetworkCase(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.book = self.scratch / "book"

    def relay(self, host="127.0.0.1"):
        address, port = self.controller.ready["rpc_endpoint"].split("//")[1].split(":")
        relay = Relay((address, int(port)), host)
        self.addCleanup(relay.close)
        return relay

    def start_behind(self, relay, name="w", prefix=(), wait=True):
        worker = Daemon(self.scratch, f"worker-{name}", [
            "worker", "run", "--name", name, "--token-file",
            self.controller.ready["registration_token_file"], "--rpc-endpoint", relay.url,
            "--data-dir", str(self.scratch / name), "--resources", "cpu=4"], self.environment())
        worker.arguments = [*prefix, *worker.arguments]
        self.daemons.append(worker)
        return worker.start(wait)

    def count(self, lines=500):
        return self.submit(COUNT % {"book": self.book, "lines": lines})

    def check(self, build, lines=500, patience=None):
        ended = self.wait_build(build, "completed", patience)
        self.assertEqual(len(ended["tasks"]), 1, "the task was run again")
        task = ended["tasks"][0]
        self.assertEqual(self.book.read_text(), "ran\n", "the script ran more than once")
        for step, word, number in (("main", "line", lines), ("slow", "slow", 20)):
            log = self.log(task["id"], step).decode()
            self.assertEqual([line for line in log.splitlines() if line.startswith(word + " ")],
                             [f"{word} {n}" for n in range(1, number + 1)])
        self.assertTrue(self.log(task["id"], "check").endswith(b"after\n"))


class Network(NetworkCase):
    def test_t20_connections_cut_in_the_middle_of_messages(self):
        relay = self.relay()
        relay.cut_randomly(400, 6000)
        self.start_behind(relay)
        self.check(self.count())
        self.assertGreater(relay.made, 5, "the relay cut nothing")

    def test_t20_connections_reset_again_and_again(self):
        relay = self.relay()
        relay.cut_randomly(2000, 9000, seed=2)
        relay.resets = True
        self.start_behind(relay)
        self.check(self.count())
        self.assertGreater(relay.made, 3, "the relay reset nothing")

    def test_t20_a_proxy_that_closes_every_connection_after_a_while(self):
        relay = self.relay()
        relay.lifetime = 0.5
        self.start_behind(relay)
        self.check(self.count())
        self.assertGreater(relay.made, 2)

    def test_t20_a_round_trip_of_two_seconds(self):
        relay = self.relay()
        relay.delay = 1
        self.start_behind(relay)
        self.check(self.count(lines=50), lines=50)

    def test_t20_a_connection_that_went_silent_is_found_and_replaced(self):
        relay = self.relay()
        self.start_behind(relay)
        build = self.submit(NONE + "task:\n  name: t\n  script: echo begun; sleep 1000\n")
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        relay.black_hole()
        # The stop order can only arrive on a new connection: the old ones carry nothing, and no
        # end of them is ever seen.
        self.cli("build", "cancel", build, check=0)
        mark = str(self.scratch / "w")
        eventually(lambda: not [p for p in (self.scratch / "w" / "tasks").iterdir() if p.is_dir()],
                   f"the worker hears of the stop order ({mark})", patience=45)
        self.wait_build(build, "aborted")

    def test_t20_one_way_only(self):
        for direction in ("up", "down"):
            with self.subTest(direction):
                relay = self.relay()
                worker = self.start_behind(relay, name=direction)
                eventually(lambda: "registered on upstream" in worker.log(), "it is registered")
                relay.silent_directions = {direction}
                build = self.submit(NONE.replace("persistent_worker:\n", "persistent_worker:\n"
                                                 f"  labels: {{name: {direction}}}\n")
                                    + "task:\n  name: t\n  script: echo hello\n")
                eventually(lambda: "failed to poll" in worker.log(), "it is noticed", patience=60)
                relay.silent_directions = set()
                task = self.wait_build(build, "completed")["tasks"][0]
                self.assertTrue(self.log(task["id"]).endswith(b"hello\n"))

    def test_t19_an_outage_in_the_middle_of_a_task(self):
        relay = self.relay()
        self.start_behind(relay)
        gate = self.scratch / "gate"
        build = self.submit(NONE + "task:\n  name: t\n  script: echo begun; "
                            f"while [ ! -e {gate} ]; do sleep 0.02; done; seq 1 300\n")
        task = self.task(build, "t")
        eventually(lambda: b"begun\n" in self.log_or_empty(task["id"]), "the script runs")
        relay.refuses = True
        relay.break_all(reset=True)
        gate.touch()
        # The script ends while nobody can be told.
        eventually(lambda: list((self.scratch / "w" / "tasks").glob("*/results/finished")),
                   "the result is on the worker's disk")
        relay.refuses = False
        self.wait_build(build, "completed")
        numbers = [line for line in self.log(task["id"]).decode().splitlines() if line.isdigit()]
        self.assertEqual(numbers, [str(n) for n in range(1, 301)])

    def test_a_dead_and_a_slow_upstream_delay_no_other(self):
        silent, slow = self.relay(), self.relay()
        silent.silent_directions = {"up", "down"}
        slow.delay = 2
        token = pathlib.Path(self.controller.ready["registration_token_file"]).read_text().strip()
        settings = self.scratch / "w.yml"
        settings.write_text("name: w\nresources: {cpu: 4}\nupstreams:\n" + "".join(
            f"  - {{token: {token}, endpoint: '{url}'}}\n" for url in (
                silent.url, "http://127.0.0.1:1", slow.url,
                self.controller.ready["rpc_endpoint"])))
        worker = Daemon(self.scratch, "worker", ["worker", "run", "-f", str(settings),
                                                 "--data-dir", str(self.scratch / "w")],
                        self.environment())
        self.daemons.append(worker)
        worker.start()
        # A silent upstream takes 25 s to be noticed; ten tasks one after the other take no second.
        for _ in range(10):
            self.wait_build(self.submit(NONE + "task:\n  name: t\n  script: 'true'\n"),
                            "completed", patience=20)

    def test_t24_a_herd_of_workers_comes_back_after_a_restart(self):
        for number in range(12):
            worker = Daemon(self.scratch, f"worker-{number}", [
                "worker", "run", "--name", f"w{number}", "--token-file",
                self.controller.ready["registration_token_file"], "--rpc-endpoint",
                self.controller.ready["rpc_endpoint"], "--data-dir",
                str(self.scratch / f"d{number}"), "--resources", "cpu=1"], self.environment())
            self.daemons.append(worker)
            worker.start(wait=False)
        eventually(lambda: self.online() == 12, "all are there")
        self.controller.kill()
        self.restart_controller()
        # Each gets a task that only it may run.
        build = self.submit("".join(
            f"task:\n  name: t{n}\n  persistent_worker:\n    labels: {{name: w{n}}}\n"
            "    isolation: {none: {}}\n  script: 'true'\n" for n in range(12)))
        self.wait_build(build, "completed")

    def online(self):
        return len(self.api("GET", "/api/v1/workers")["workers"])

    def test_t24_a_worker_that_drains_while_it_is_given_a_task_loses_none(self):
        for number in range(5):
            with self.subTest(number):
                relay = self.relay()
                worker = self.start_behind(relay, name=f"drained{number}")
                builds = [self.submit(NONE + "task:\n  name: t\n  script: 'true'\n")
                          for _ in range(number + 1)]
                worker.signal(signal.SIGTERM)
                self.assertEqual(worker.wait(), 0)
                rest = self.start_behind(relay, name=f"rest{number}")
                for build in builds:
                    self.wait_build(build, "completed")
                rest.signal(signal.SIGTERM)
                rest.wait()


class GoAway(NetworkCase):
    """A proxy of HTTP/2 that ends every connection in an orderly way, again and again."""

    NAMES = ("a", "b", "c", "d")

    def storm(self, code, debug=b""):
        address, port = self.controller.ready["rpc_endpoint"].split("//")[1].split(":")
        relay = Http2Relay((address, int(port)))
        self.addCleanup(relay.close)
        worker = self.start_behind(relay)
        eventually(lambda: "registered on upstream" in worker.log(), "it is registered")
        relay.begin_storm(code, debug)
        build = self.submit(NONE + "".join(
            f"task:\n  name: {name}\n  main_script: |\n    echo {name} >> {self.book}\n"
            f"    for i in $(seq 1 60); do echo {name} $i; sleep 0.05; done\n"
            "  check_script: echo after\n" for name in self.NAMES))
        self.wait_build(build, "completed")
        relay.end_storm()
        # It is there after the storm, too.
        after = self.wait_build(self.submit(NONE + "task:\n  name: t\n  script: echo calm\n"),
                                "completed")
        self.assertTrue(self.log(after["tasks"][0]["id"]).endswith(b"calm\n"))
        self.assertGreater(relay.sent, 20, "there was no storm")
        self.assertGreater(relay.made, 5, "no connection was given up")
        ended = self.build(build)
        self.assertEqual({task["attempt"] for task in ended["tasks"]}, {1})
        self.assertEqual(sorted(self.book.read_text().split()), sorted(self.NAMES),
                         "a script ran more than once")
        for task in ended["tasks"]:
            lines = self.log(task["id"]).decode().splitlines()
            self.assertEqual([line for line in lines if line.startswith(task["name"] + " ")],
                             [f"{task['name']} {n}" for n in range(1, 61)])
            self.assertTrue(self.log(task["id"], "check").endswith(b"after\n"))

    def test_t20_a_storm_of_goaways(self):
        self.storm(NO_ERROR)

    def test_t20_a_storm_of_goaways_that_say_enhance_your_calm(self):
        self.storm(ENHANCE_YOUR_CALM, b"too_many_pings")


def namespaces_are_allowed():
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("iptables"):
        return False
    probe = subprocess.run(["unshare", "--net", "iptables", "-A", "OUTPUT", "-m", "statistic",
                            "--mode", "random", "--probability", "0.1", "-j", "DROP"],
                           capture_output=True)
    return probe.returncode == 0


@unittest.skipUnless(namespaces_are_allowed(), "no network namespaces with iptables here")
class Loss(NetworkCase):
    """The worker in a network namespace of its own that loses packets, both ways."""

    def setUp(self):
        super().setUp()
        number = os.getpid() % 250
        self.space = f"cirrus-{os.getpid()}"
        self.near, self.far = f"10.254.{number}.1", f"10.254.{number}.2"
        link = f"cv{os.getpid()}"
        for command in (f"ip netns add {self.space}",
                        f"ip link add {link} type veth peer name inside netns {self.space}",
                        f"ip addr add {self.near}/30 dev {link}", f"ip link set {link} up",
                        f"ip -n {self.space} addr add {self.far}/30 dev inside",
                        f"ip -n {self.space} link set inside up",
                        f"ip -n {self.space} link set lo up"):
            subprocess.run(command.split(), check=True, capture_output=True)
        self.addCleanup(subprocess.run, ["ip", "netns", "del", self.space], check=True)

    def lose(self, share):
        for chain, flag in (("INPUT", "-i"), ("OUTPUT", "-o")):
            subprocess.run(["ip", "netns", "exec", self.space, "iptables", "-A", chain, flag,
                            "inside", "-m", "statistic", "--mode", "random", "--probability",
                            str(share), "-j", "DROP"], check=True, capture_output=True)

    def test_t20_three_packets_in_ten_are_lost(self):
        relay = self.relay(self.near)
        self.lose(0.3)
        self.start_behind(relay, prefix=("ip", "netns", "exec", self.space))
        self.check(self.count(lines=100), lines=100, patience=150)


if __name__ == "__main__":
    unittest.main()
