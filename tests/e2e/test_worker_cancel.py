"""T18: however a task hides its processes and whatever is left to find them by, all of them end.

SPDX-License-Identifier: MIT
Each case runs with control groups of version 2, with version 1's freezer, and with neither: the
worker gets a mount namespace of its own in which the others are unmounted.
"""
import os
import pathlib
import re
import shutil
import signal
import unittest

from harness import Case, Daemon, eventually, processes_with

# Four ways to hide. Those that clear their environment can be found by their argument alone.
HIDE = """
    trap '' TERM INT HUP
    bash -c 'trap "" TERM; exec -a %(mark)s-child sleep 1000' &
    setsid bash -c 'trap "" TERM; exec -a %(mark)s-session sleep 1000' &
    (setsid bash -c 'trap "" TERM; (exec -a %(mark)s-twice sleep 1000) & exit 0' &)
    %(bare)s
    echo hidden
    sleep 1000"""
NO_ENVIRONMENT = """(env -i setsid bash -c 'trap "" TERM; (exec -a %(mark)s-bare sleep 1000) & exit 0' &)"""


def mounts(kind):
    """Mount points of a kind of control group."""
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[2] == kind]


def has_freezer():
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    return any(line.split()[2] == "cgroup" and "freezer" in line.split()[3].split(",")
               for line in lines)


class CancelCase(Case):
    unmounted = ()

    def setUp(self):
        super().setUp()
        self.start_controller()
        self.mark = f"{self.cookie}-{type(self).__name__}"
        (self.scratch / "w.yml").write_text("cancel-grace: 5s\n")
        arguments = ["worker", "run", "--name", "w", "-f", str(self.scratch / "w.yml"),
                     "--token-file", self.controller.ready["registration_token_file"],
                     "--rpc-endpoint", self.controller.ready["rpc_endpoint"],
                     "--data-dir", str(self.scratch / "w"), "--resources", "cpu=4"]
        (self.scratch / "programs").mkdir()
        environment = self.environment()
        environment["PATH"] = f"{self.scratch}/programs:{environment['PATH']}"
        self.worker = Daemon(self.scratch, "worker", arguments, environment)
        if self.unmounted:
            places = " ".join(self.unmounted)
            self.worker.arguments = [
                "unshare", "--mount", "sh", "-c", f"umount -l {places} && exec \"$@\"", "sh",
                *self.worker.arguments]
        self.daemons.append(self.worker)
        self.worker.start()

    def tearDown(self):
        super().tearDown()
        for pid in processes_with(self.mark):
            os.kill(pid, signal.SIGKILL)

    def hide(self, more="", after="", bare=True):
        text = HIDE % {"mark": self.mark,
                       "bare": NO_ENVIRONMENT % {"mark": self.mark} if bare else ""}
        build = self.submit("persistent_worker:\n  isolation:\n    none: {}\n"
                            f"task:\n  name: t\n{more}  script: |{text}\n{after}")
        task = self.task(build, "t")
        eventually(lambda: b"hidden\n" in self.log_or_empty(task["id"]), "all are hidden")
        ways = ["child", "session", "twice"] + (["bare"] if bare else [])
        eventually(lambda: all(processes_with(f"{self.mark}-{way}") for way in ways),
                   "all processes run")
        return build, task

    def all_gone(self):
        eventually(lambda: not processes_with(self.mark), "every process is gone")
        directory = self.scratch / "w" / "tasks"
        eventually(lambda: not [p for p in directory.iterdir() if p.is_dir()],
                   "the task's directory is gone")

    def agent(self):
        """The parent of the script."""
        [child] = processes_with(f"{self.mark}-child")
        script = parent_of(child)
        return parent_of(script)


def parent_of(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return int(text.rsplit(")", 1)[1].split()[1])


class Hiding:
    """The cases; a mixin, so that each class below runs them its own way, under names of its own."""

    def t18_a_cancelled_task_leaves_nothing_and_its_last_step_runs(self):
        done = self.scratch / "done"
        build, _ = self.hide(after=f"  always:\n    last_script: touch {done}\n")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        self.all_gone()
        self.assertTrue(done.exists(), "what must always run did not run within the grace")

    def t18_a_killed_agent_leaves_nothing(self):
        build, _ = self.hide(bare=self.finds_all)
        os.kill(self.agent(), signal.SIGKILL)
        task = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn("agent process exited unexpectedly", task["reason"])
        self.all_gone()

    def t18_worker_and_agent_killed_together_leave_nothing(self):
        build, _ = self.hide(bare=self.finds_all)
        agent = self.agent()
        self.worker.kill()
        os.kill(agent, signal.SIGKILL)
        self.assertTrue(processes_with(f"{self.mark}-twice"), "nothing was left to find")
        self.worker.start()
        self.wait_build(build, "failed")
        self.all_gone()


class CancelByGroup(Hiding, CancelCase):
    finds_all = True

    def test_t18_a_cancelled_task_leaves_nothing_and_its_last_step_runs(self):
        self.t18_a_cancelled_task_leaves_nothing_and_its_last_step_runs()

    def test_t18_a_killed_agent_leaves_nothing(self):
        self.t18_a_killed_agent_leaves_nothing()

    def test_t18_worker_and_agent_killed_together_leave_nothing(self):
        self.t18_worker_and_agent_killed_together_leave_nothing()

    def test_t18_a_timeout_leaves_nothing_and_on_timeout_runs(self):
        done = self.scratch / "done"
        build, _ = self.hide("  timeout_in: 3s\n",
                             f"  on_timeout:\n    late_script: touch {done}\n")
        task = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn(b"Timed out!", self.log(task["id"]))
        self.all_gone()
        self.assertTrue(done.exists(), "the step for time-outs did not run")

    def test_t18_cancelled_while_it_clones(self):
        source = self.scratch / "source"
        source.mkdir()
        (source / ".cirrus.yml").write_text("persistent_worker:\n  isolation:\n    none: {}\n"
                                            "task:\n  name: t\n  script: echo never\n")
        # A `git` that never comes to an end, and ignores what it is told.
        git = self.scratch / "programs" / "git"
        git.write_text(f"#!/bin/bash\ntrap '' TERM INT\nexec -a {self.mark}-git sleep 1000\n")
        git.chmod(0o755)
        done = self.cli("build", "submit", str(source), check=0)
        build = re.search(r"\b(\d+)\b", done.stdout).group(1)
        eventually(lambda: processes_with(f"{self.mark}-git"), "it clones")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        self.all_gone()

    def test_t18_cancelled_while_it_uploads(self):
        build = self.submit("persistent_worker:\n  isolation:\n    none: {}\ntask:\n  name: t\n"
                            f"  env:\n    MARK: {self.mark}\n"
                            "  script: truncate -s 8G big\n  big_artifacts:\n    path: big\n")
        task = self.task(build, "t")
        eventually(lambda: b"big" in self.log_or_empty(task["id"], "big"), "the upload begins")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        self.all_gone()

    def test_t18_killed_when_the_grace_is_over(self):
        """What must always run does not end; a stop order has a limit all the same."""
        (self.scratch / "w.yml").write_text("cancel-grace: 1s\n")
        self.worker.signal(signal.SIGHUP)
        eventually(lambda: "cancel-grace" in self.worker.log(), "the grace is shorter")
        build, _ = self.hide(after="  always:\n    last_script: sleep 1000\n")
        self.cli("build", "cancel", build, check=0)
        self.wait_build(build, "aborted")
        self.all_gone()


@unittest.skipIf(os.geteuid() != 0, "unmounting control groups needs root")
@unittest.skipUnless(mounts("cgroup2") and has_freezer() and shutil.which("unshare"),
                     "this machine has no freezer beside control groups of version 2")
class CancelByFreezer(Hiding, CancelCase):
    finds_all = True
    unmounted = tuple(mounts("cgroup2"))

    def test_t18_a_cancelled_task_leaves_nothing_and_its_last_step_runs(self):
        self.t18_a_cancelled_task_leaves_nothing_and_its_last_step_runs()

    def test_t18_a_killed_agent_leaves_nothing(self):
        self.t18_a_killed_agent_leaves_nothing()

    def test_t18_worker_and_agent_killed_together_leave_nothing(self):
        self.t18_worker_and_agent_killed_together_leave_nothing()


@unittest.skipIf(os.geteuid() != 0, "unmounting control groups needs root")
@unittest.skipUnless(shutil.which("unshare"), "unshare is missing")
class CancelByCookie(Hiding, CancelCase):
    # A process that cleared its environment is known by its parents alone: a live agent finds it,
    # and once the agent is dead nobody can.
    finds_all = False
    unmounted = tuple(mounts("cgroup2") + mounts("cgroup"))

    def test_t18_a_cancelled_task_leaves_nothing_and_its_last_step_runs(self):
        self.t18_a_cancelled_task_leaves_nothing_and_its_last_step_runs()

    def test_t18_a_killed_agent_leaves_nothing(self):
        self.t18_a_killed_agent_leaves_nothing()

    def test_t18_worker_and_agent_killed_together_leave_nothing(self):
        self.t18_worker_and_agent_killed_together_leave_nothing()


if __name__ == "__main__":
    unittest.main()
