#!/usr/bin/env python3
"""Stands in for `tart` and `vetu`: a "VM" is a real sshd in namespaces of its own.

SPDX-License-Identifier: MIT
Linked under either name into a directory on the worker's PATH. Its guests share the machine's
files read-only (an overlay), its kernel and its loopback; each listens on the port its image is
named after (`guest-2222`), or for any other image on port 22 of an address of its own, where
`admin`/`admin` may log in. Needs root.

CIRRUS_VM_HOME   where its VMs are
CIRRUS_VM_FAIL   `verb:words`: this verb fails with these words
CIRRUS_VM_TMP    more mount options of the guests' /tmp
CIRRUS_VM_SSHD   a line for the guests' SSH server
CIRRUS_VM_UNAME  what `uname -s -m` says in guests
CIRRUS_VM_QEMU   a directory with `kernel` and `initrd`: the VMs are emulated machines
CIRRUS_VM_AGENTS a directory whose agents are in the guests' image
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import time

HOME = pathlib.Path(os.environ["CIRRUS_VM_HOME"])
QEMU = os.environ.get("CIRRUS_VM_QEMU", "")

BOOT = """set -e
V=$1 PORT=$2 ADDRESS=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$V/disk"
mkdir "$V/disk/upper" "$V/disk/work" "$V/disk/root"
R=$V/disk/root
mount -t overlay -o "lowerdir=/,upperdir=$V/disk/upper,workdir=$V/disk/work" overlay "$R"
mount -t proc proc "$R/proc"
mount --rbind /dev "$R/dev"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o "mode=1777$CIRRUS_VM_TMP" tmpfs "$R/tmp"
mkdir -p "$R/run/sshd" "$R/home/admin"
sed -i '/^admin:/d' "$R/etc/passwd" "$R/etc/shadow"
echo 'admin:x:4321:4321::/home/admin:/bin/bash' >> "$R/etc/passwd"
echo "admin:$(openssl passwd -6 admin):19000:0:99999:7:::" >> "$R/etc/shadow"
echo 'echo welcome to the guest' > "$R/home/admin/.bash_profile"
echo 'export FROM_PROFILE=yes' >> "$R/home/admin/.bash_profile"
for agent in ${CIRRUS_VM_AGENTS:+"$CIRRUS_VM_AGENTS"/cirrus-agent-*}; do
  install -D "$agent" "$R/home/admin/.cache/cirrus/agents/$(sha256sum < "$agent" | cut -d' ' -f1)"
done
if [ -n "$CIRRUS_VM_UNAME" ]; then
  printf '#!/bin/sh\necho %s\n' "$CIRRUS_VM_UNAME" > "$R/usr/local/bin/uname"
  chmod 755 "$R/usr/local/bin/uname"
fi
chown -R 4321:4321 "$R/home/admin"
cp "$V/key" "$R/run/key"
chmod 600 "$R/run/key"
cat > "$R/run/sshd.conf" <<END
Port $PORT
ListenAddress $ADDRESS
HostKey /run/key
UsePAM no
PasswordAuthentication yes
PidFile none
Subsystem sftp internal-sftp
$CIRRUS_VM_SSHD
END
exec setpriv --bounding-set=-sys_time,-sys_boot chroot "$R" /usr/sbin/sshd -D -e -f /run/sshd.conf
"""


def fail(words, code=1):
    print(words, file=sys.stderr)
    sys.exit(code)


def running(vm):
    """Whether the VM's `run` holds its lock."""
    with open(vm / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def existing(name):
    vm = HOME / name
    if not vm.is_dir():
        fail(f"the specified VM \"{name}\" does not exist", 2)
    return vm


def port_and_address(vm):
    """As the image's name says; any other name means port 22 of an address made of the VM's."""
    port = re.search(r"-([0-9]+)$", (vm / "image").read_text())
    if port:
        return port.group(1), "127.0.0.1"
    digest = hashlib.sha256(vm.name.encode()).digest()
    return "22", f"127.78.{digest[0]}.{1 + digest[1] % 254}"


def take(lock):
    """The lock for a `run`; somebody's look (`running`) has it for a moment, another `run` longer."""
    patience = time.monotonic() + 10
    while time.monotonic() < patience:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def run(vm):
    lock = open(vm / "lock", "a")
    if not take(lock):
        fail("the VM is already running", 2)
    (vm / "pid").write_text(str(os.getpid()))
    os.set_inheritable(lock.fileno(), True)
    port, address = port_and_address(vm)
    if QEMU:
        emulate(port)
    (vm / "disk").mkdir(exist_ok=True)
    for name in ("TMP", "SSHD", "UNAME", "AGENTS"):
        os.environ.setdefault(f"CIRRUS_VM_{name}", "")
    os.execvp("unshare", ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork",
                          "--kill-child=SIGKILL", "sh", "-c", BOOT, "guest", str(vm), port, address])


def emulate(port):
    """A machine with its own kernel and no way out; its SSH server is on a port of this loopback."""
    os.execvp("qemu-system-x86_64", [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "pc-q35-7.2", "-cpu", "max",
        "-smp", "1", "-m", "512", "-display", "none", "-nodefaults", "-no-reboot",
        "-kernel", f"{QEMU}/kernel", "-initrd", f"{QEMU}/initrd", "-append",
        "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on",
        "-netdev", f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", "virtio-net-pci,netdev=n0", "-serial", "stdio"])


def stop(vm):
    if not running(vm):
        fail("the VM is not running", 2)
    # A guest without an init of its own has nothing to be asked; `unshare` ignores other signals.
    pid = int((vm / "pid").read_text())
    guests = []
    with contextlib.suppress(OSError):
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        guests = [os.pidfd_open(int(child)) for child in children]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    # What is inside dies after it; until then the guest's port is taken.
    for guest in guests:
        select.select([guest], [], [], 10)
    while running(vm):
        time.sleep(0.01)


def main():
    HOME.mkdir(parents=True, exist_ok=True)
    tool, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
    with open(HOME.parent / "trace", "a") as trace:
        print(tool, *arguments, sep="\x1f", file=trace)
    verb, name = arguments[0], arguments[-1]
    failing, _, words = os.environ.get("CIRRUS_VM_FAIL", "").partition(":")
    if verb == failing:
        fail(words)
    if verb == "pull":
        return
    if verb == "clone":
        vm = HOME / name
        vm.mkdir()
        (vm / "image").write_text(arguments[1])
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(vm / "key")],
                       check=True, stdin=subprocess.DEVNULL)
    elif verb == "set":
        existing(arguments[1])
    elif verb == "run":
        run(existing(name))
    elif verb == "ip":
        vm = existing(name)
        if not running(vm):
            fail("no IP address found, is your VM running?")
        print(port_and_address(vm)[1])
    elif verb == "stop":
        stop(existing(name))
    elif verb == "delete":
        vm = existing(name)
        if running(vm):
            fail("the VM is running")
        shutil.rmtree(vm)
    elif verb == "list":
        for vm in sorted(HOME.iterdir()):
            print(vm.name)
    else:
        fail(f"unknown command {verb}", 64)


main()
