"""A task in a guest with its own kernel, emulated by QEMU.

SPDX-License-Identifier: MIT
Wants `qemu-system-x86_64`, a static `busybox`, `cpio`, and a Linux kernel with its modules: that of
CIRRUS_QEMU_ROOT, into which a `linux-image-*-cloud-amd64` package was unpacked, or this machine's.
The guest is a busybox with this machine's OpenSSH server, all in memory.
"""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from harness import eventually
from vm_case import VmCase

ROOT = pathlib.Path(os.environ.get("CIRRUS_QEMU_ROOT", "/"))
KERNELS = sorted((ROOT / "boot").glob("vmlinuz-*"))
# In the order in which they need each other; some kernels have them built in.
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "failover", "net_failover", "virtio_net")
MISSING = [p for p in ("qemu-system-x86_64", "busybox", "cpio", "gzip", "openssl", "ssh-keygen")
           if not shutil.which(p)] + ([] if KERNELS else [f"a kernel below {ROOT}"])

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /run/sshd /tmp /home/admin
mount -t devpts devpts /dev/pts
chmod 1777 /tmp
chown 4321:4321 /home/admin
for module in MODULES; do [ ! -e /modules/$module.ko ] || insmod /modules/$module.ko; done
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
exec /usr/sbin/sshd -D -e -f /etc/sshd.conf
"""

SSHD = """Port 22
HostKey /etc/host_key
UsePAM no
PasswordAuthentication yes
PidFile none
UseDNS no
Subsystem sftp internal-sftp
"""


def libraries(program):
    told = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", told)


def make_guest(directory):
    """`kernel` and `initrd`."""
    root = directory / "root"
    for name in ("bin", "dev", "etc", "home", "modules", "proc", "root", "sys", "tmp", "usr/sbin"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
    shutil.copy("/usr/sbin/sshd", root / "usr/sbin/sshd")
    for library in libraries("/usr/sbin/sshd"):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    version = KERNELS[-1].name.removeprefix("vmlinuz-")
    for name in MODULES:
        for found in (ROOT / "lib/modules" / version).rglob(f"{name}.ko"):
            shutil.copy(found, root / "modules" / found.name)
    password = subprocess.run(["openssl", "passwd", "-6", "admin"], check=True,
                              capture_output=True, text=True).stdout.strip()
    etc = root / "etc"
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/bin/false\n"
                                "admin:x:4321:4321::/home/admin:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nadmin:x:4321:\n")
    (etc / "shadow").write_text(f"root:*:19000::::::\nadmin:{password}:19000:0:99999:7:::\n")
    (etc / "sshd.conf").write_text(SSHD)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(etc / "host_key")],
                   check=True, stdin=subprocess.DEVNULL)
    (root / "init").write_text(INIT.replace("MODULES", " ".join(MODULES)))
    (root / "init").chmod(0o755)
    (root / "tmp").chmod(0o1777)
    subprocess.run("find . | cpio -o -H newc --quiet --owner 0:0 | gzip -1 > ../initrd", shell=True,
                   check=True, cwd=root)
    shutil.copy(KERNELS[-1], directory / "kernel")


@unittest.skipIf(MISSING, f"missing for a QEMU guest: {MISSING}")
class QemuGuest(VmCase):
    def setUp(self):
        super().setUp()
        guest = self.scratch / "guest"
        guest.mkdir()
        make_guest(guest)
        self.variables["CIRRUS_VM_QEMU"] = str(guest)

    def test_a_task_runs_under_a_kernel_of_its_own(self):
        """Cloned, cached, stored and ended through SSH alone: this guest reaches nothing else."""
        worker = self.start_worker()
        source = self.scratch / "source"
        source.mkdir()
        (source / "file").write_text("from the repository\n")
        (source / ".cirrus.yml").write_text(self.config(
            "  deps_cache:\n    folder: deps\n    fingerprint_key: k\n"
            "    populate_script: mkdir deps; echo one > deps/x\n"
            "  script: uname -r; cat file deps/x; sleep 8; echo done | tee out\n"
            "  out_artifacts:\n    path: out\n"))
        git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b"]
        for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "one"]):
            subprocess.run([*git, *arguments], check=True)
        self.cli("build", "submit", str(source), "--repo", "test/vm", "--output", "json", check=0)
        build = self.api("GET", "/api/v1/builds?limit=1")["builds"][0]
        task = self.task(build["id"], "t")
        eventually(lambda: b"one\n" in self.log_or_empty(task["id"]), "the script runs", 120)
        # A worker that dies finds the guest and its agent again.
        worker.kill()
        worker.start()
        self.wait_build(build["id"], "completed")
        kernel = KERNELS[-1].name.removeprefix("vmlinuz-")
        self.assertTrue(self.log(task["id"]).decode().endswith(
            f"{kernel}\nfrom the repository\none\ndone\n"))
        self.assertEqual(self.api("GET", f"/api/v1/tasks/{task['id']}/artifacts/out/out",
                                  raw=True), b"done\n")
        self.no_vm_is_left()


if __name__ == "__main__":
    unittest.main()
