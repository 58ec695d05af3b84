"""What tests of virtual machines share: real SSH to stand-ins of `tart` and `vetu`.

SPDX-License-Identifier: MIT
"""
import os
import pathlib
import random
import shutil
import socket
import subprocess
import unittest

from harness import Case, eventually, processes_with

STAND_IN = pathlib.Path(__file__).resolve().parent / "vm" / "stand_in.py"
MISSING = [p for p in ("sshd", "unshare", "setpriv", "ssh-keygen", "openssl")
           if not shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin")]


def free_port():
    """Not of those that the system gives to whoever connects: between this and its use there is time."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


@unittest.skipIf(os.geteuid() != 0, "the stand-in VMs need root for their namespaces")
@unittest.skipIf(MISSING, f"missing for the stand-in VMs: {MISSING}")
class VmCase(Case):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.variables = {"CIRRUS_VM_HOME": str(self.scratch / "vms")}
        programs = self.scratch / "programs"
        programs.mkdir()
        for name in ("tart", "vetu"):
            (programs / name).symlink_to(STAND_IN)
        self.programs = programs
        self.start_controller()

    def environment(self, **extra):
        environment = super().environment(**extra)
        environment.update(self.variables)
        environment["PATH"] = f"{self.programs}:{environment['PATH']}:/usr/sbin:/sbin"
        return environment

    def tearDown(self):
        super().tearDown()
        self.assertEqual(processes_with(str(self.scratch / "vms")), [])

    def config(self, steps, tool="vetu", more="", **fields):
        lines = "".join(f"      {key}: {value}\n" for key, value in fields.items())
        return (f"persistent_worker:\n  isolation:\n    {tool}:\n      image: guest-{self.port}\n"
                f"      user: admin\n      password: admin\n      port: {self.port}\n{lines}"
                f"task:\n  name: t\n{more}{steps}")

    def vms(self):
        home = self.scratch / "vms"
        return sorted(p.name for p in home.iterdir()) if home.exists() else []

    def no_vm_is_left(self):
        eventually(lambda: self.vms() == [], "every VM is gone")

    def trace(self):
        path = self.scratch / "trace"
        return [line.split("\x1f") for line in path.read_text().splitlines()]

    def finish(self, config, status="completed"):
        return self.wait_build(self.submit(config), status)["tasks"][0]

    def standby_file(self):
        file = self.scratch / "worker.yml"
        file.write_text(f"standby:\n  isolation:\n    vetu:\n      image: guest-{self.port}\n"
                        f"      user: admin\n      password: admin\n      port: {self.port}\n")
        return file

    def standby(self, name="w1"):
        worker = self.start_worker(name=name, extra=("--file", str(self.standby_file())))
        eventually(lambda: "standby instance ready" in worker.log(), "a VM stands by")
        return worker

    # The guest's processes as the host sees them.

    def descendants(self, pid):
        found = []
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child)] + self.descendants(int(child))
        return found

    def connections_of(self, run):
        found = []
        for pid in self.descendants(run):
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            if command.startswith(b"sshd: admin"):
                found.append(pid)
        self.assertTrue(found)
        return found

    def touch_in_guest(self, run, path):
        pid = self.descendants(run)[0]
        root = pathlib.Path(f"/proc/{pid}/root")
        (root / path.lstrip("/")).touch()
