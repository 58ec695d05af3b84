"""The Debian package, made, checked by lintian, installed into a fresh root and used there.

SPDX-License-Identifier: MIT
The root has Debian's essential packages and nothing else: no container engine, no systemd running.
Needs root, mmdebstrap and a Debian mirror that apt knows; without those it is skipped with the
reason.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ.get("CIRRUS_BUILD", "build/release")).resolve()
SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
MISSING = [program for program in ("cpack", "dpkg-deb", "lintian", "mmdebstrap", "unshare")
           if shutil.which(program) is None]
if os.geteuid() != 0:
    MISSING.append("root")

# What somebody does after installing: a service file's command, a worker, a build.
USE = r"""
set -eu
cd /root
cirrus --version
id cirrus-controller >/dev/null
test "$(stat -c '%a %U' /var/lib/cirrus/controller)" = "700 cirrus-controller"
man -w cirrus-build >/dev/null 2>&1 || test -e /usr/share/man/man1/cirrus-build.1.gz
command -v docker podman && exit 1
su -s /bin/sh cirrus-controller -c 'cd / && exec cirrus controller run \
  --data-dir /var/lib/cirrus/controller --rpc-address 127.0.0.1:0 --http-address 127.0.0.1:0 \
  --ready-file /var/lib/cirrus/controller/ready.json' >controller.log 2>&1 &
ready=/var/lib/cirrus/controller/ready.json
for i in $(seq 300); do [ -e $ready ] && break; sleep 0.1; done
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" $ready; }
cirrus worker run --name fresh --token-file "$(field registration_token_file)" \
  --rpc-endpoint "$(field rpc_endpoint)" --resources cpu=2 >worker.log 2>&1 &
export CIRRUS_API_URL="$(field http_url)" CIRRUS_API_TOKEN_FILE="$(field admin_token_file)"
mkdir project
printf 'task:\n  name: t\n  persistent_worker: {resources: {cpu: 1}}\n  main_script: cat file\n' \
  >project/.cirrus.yml
echo "it runs in a fresh root" >project/file
cirrus build submit project --follow || { cat *.log; exit 1; }
cirrus task logs 1 main
cirrus run -C project --output simple
cirrus worker doctor >doctor.txt || true
kill %1 %2
wait || true
"""


@unittest.skipIf(MISSING, f"needs {', '.join(MISSING)} (packaging/apt/test.txt)")
class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-package-"))
        subprocess.run(["cpack", "-B", str(cls.scratch)], cwd=BUILD, check=True,
                       capture_output=True)
        cls.deb = next(cls.scratch.glob("*.deb"))
        cls.tarball = next(cls.scratch.glob("*.tar.gz"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.scratch, ignore_errors=True)

    def test_lintian_finds_nothing(self):
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning",
                               str(self.deb)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_units_are_valid(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("needs systemd-analyze")
        root = self.scratch / "units"
        subprocess.run(["dpkg-deb", "-x", str(self.deb), str(root)], check=True)
        for unit in (root / "lib/systemd/system").glob("*.service"):
            text = unit.read_text().replace("/usr/bin/cirrus", "/bin/true")
            copy = self.scratch / unit.name
            copy.write_text(re.sub(r"(?m)^(User|Group|Documentation)=.*\n", "", text))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                                   "--recursive-errors=yes", str(copy)],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, unit.name + done.stdout + done.stderr)

    def test_the_tarball_runs_where_it_was_unpacked(self):
        place = self.scratch / "unpacked"
        place.mkdir()
        subprocess.run(["tar", "-xzf", str(self.tarball), "-C", str(place),
                        "--strip-components=1"], check=True)
        self.assertTrue(list((place / "libexec/cirrus/agents").glob("cirrus-agent-linux-*")))
        done = subprocess.run([str(place / "bin/cirrus"), "--version"], check=True,
                              capture_output=True, text=True)
        self.assertIn("cirrus 0.", done.stdout)

    def test_a_fresh_root_runs_a_task_after_installing_it(self):
        root = self.scratch / "root"
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "--quiet",
             f"--customize-hook=copy-in {self.deb} /root",
             f"--customize-hook=chroot \"$1\" apt-get install -y -q --no-install-recommends "
             f"/root/{self.deb.name}", "bookworm", str(root)],
            capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stdout[-3000:] + made.stderr[-3000:])
        used = subprocess.run(
            ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c",
             f"mount -t proc proc {root}/proc && mount -t tmpfs none {root}/tmp && "
             f"mount --rbind /dev {root}/dev && exec chroot {root} bash -c \"$0\"", USE],
            capture_output=True, text=True, timeout=240,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"})
        self.assertEqual(used.returncode, 0, used.stdout[-4000:] + used.stderr[-4000:])
        self.assertEqual(used.stdout.count("it runs in a fresh root"), 2, used.stdout)
        removed = subprocess.run(["chroot", str(root), "dpkg", "--purge", "cirrus"],
                                 capture_output=True, text=True)
        self.assertEqual(removed.returncode, 0, removed.stderr)
        self.assertFalse((root / "usr/bin/cirrus").exists())
        self.assertTrue((root / "var/lib/cirrus/controller/master-key").exists(), "state is kept")


if __name__ == "__main__":
    unittest.main()
