"""The packages, made, checked by lintian, installed into a fresh root and used there.

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
PACKAGES = pathlib.Path(os.environ.get("CIRRUS_PACKAGES", BUILD / "packages")).resolve()


def missing(*programs, root=False):
    absent = [program for program in programs if shutil.which(program) is None]
    if root and os.geteuid() != 0:
        absent.append("root")
    return absent


MISSING = missing("cpack", "dpkg-deb")
# What apt says when there is no mirror to be had, which says nothing about the package.
NO_MIRROR = re.compile(r"Temporary failure resolving|Could not resolve|Could not connect|"
                       r"Connection (?:failed|timed out|refused)|Unable to connect")

# What somebody does after installing: a service file's command, a worker, a build.
USE = r"""
set -eu
cd /root
cirrus --version
id cirrus-controller >/dev/null
test "$(stat -c '%a %U' /var/lib/cirrus/controller)" = "700 cirrus-controller"
man -w cirrus-build >/dev/null 2>&1 || test -e /usr/share/man/man1/cirrus-build.1.gz
command -v docker podman && exit 1
cirrus controller validate -f /etc/cirrus/controller.yml
su -s /bin/sh cirrus-controller -c 'cd / && exec cirrus controller run \
  --file /etc/cirrus/controller.yml --rpc-address 127.0.0.1:0 --http-address 127.0.0.1:0 \
  --ready-file /var/lib/cirrus/controller/ready.json' >controller.log 2>&1 &
controller=$!
ready=/var/lib/cirrus/controller/ready.json
until [ -e $ready ]; do
  kill -0 $controller || { cat controller.log; exit 1; }
  sleep 0.1
done
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" $ready; }
cirrus worker run --name fresh --token-file "$(field registration_token_file)" \
  --rpc-endpoint "$(field rpc_endpoint)" --resources cpu=2 >worker.log 2>&1 &
worker=$!
export CIRRUS_API_URL="$(field http_url)" CIRRUS_API_TOKEN_FILE="$(field admin_token_file)"
mkdir project
printf 'task:\n  name: t\n  persistent_worker: {resources: {cpu: 1}}\n  main_script: cat file\n' \
  >project/.cirrus.yml
echo "it runs in a fresh root" >project/file
cirrus build submit project --follow || { cat *.log; exit 1; }
cirrus task logs 1 main
cirrus run -C project --output simple
cirrus worker doctor >doctor.txt || true
kill $worker
wait $worker
kill $controller
wait $controller || true
"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, **options)


@unittest.skipIf(MISSING, f"needs {', '.join(MISSING)} (packaging/apt/test.txt)")
class Making(unittest.TestCase):
    def test_they_are_made(self):
        shutil.rmtree(PACKAGES, ignore_errors=True)
        PACKAGES.mkdir(parents=True)
        done = run("cpack", "-B", PACKAGES, cwd=BUILD)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        shutil.rmtree(PACKAGES / "_CPack_Packages", ignore_errors=True)
        self.assertEqual(sorted(path.suffix for path in PACKAGES.iterdir()), [".deb", ".gz"])


@unittest.skipIf(MISSING, f"needs {', '.join(MISSING)} (packaging/apt/test.txt)")
class Package(unittest.TestCase):
    def setUp(self):
        self.deb = next(PACKAGES.glob("*.deb"))
        self.tarball = next(PACKAGES.glob("*.tar.gz"))
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="cirrus-package-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def needs(self, *programs, root=False):
        absent = missing(*programs, root=root)
        if absent:
            self.skipTest(f"needs {', '.join(absent)} (packaging/apt/test.txt)")

    def test_lintian_finds_nothing(self):
        self.needs("lintian")
        done = run("lintian", "--allow-root", "--fail-on", "error,warning", self.deb)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_units_are_valid(self):
        self.needs("systemd-analyze")
        root = self.scratch / "root"
        self.assertEqual(run("dpkg-deb", "-x", self.deb, root).returncode, 0)
        units = sorted((root / "usr/lib/systemd/system").glob("*.service"))
        self.assertEqual([unit.name for unit in units],
                         ["cirrus-controller.service", "cirrus-worker.service"])
        for unit in units:
            text = unit.read_text().replace("/usr/bin/cirrus", "/bin/true")
            copy = self.scratch / unit.name
            copy.write_text(re.sub(r"(?m)^(User|Group|Documentation)=.*\n", "", text))
            done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", copy)
            self.assertEqual(done.returncode, 0, unit.name + done.stdout + done.stderr)

    def test_a_plain_install_stays_below_its_prefix(self):
        prefix = self.scratch / "prefix"
        done = run("cmake", "--install", BUILD, "--prefix", prefix)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        outside = [line for line in done.stdout.splitlines()
                   if line.startswith("-- Installing: ") and str(prefix) not in line]
        self.assertEqual(outside, [])
        done = run(prefix / "bin/cirrus", "--version")
        self.assertIn("cirrus 0.", done.stdout, done.stderr)
        for place in ("share/man/man1/cirrus-build.1.gz", "share/zsh/vendor-completions/_cirrus",
                      "share/bash-completion/completions/cirrus",
                      "share/fish/vendor_completions.d/cirrus.fish",
                      "lib/systemd/system/cirrus-controller.service",
                      "share/cirrus/monitoring/alerts.yml"):
            self.assertTrue((prefix / place).is_file(), place)

    def test_the_tarball_runs_where_it_was_unpacked(self):
        done = run("tar", "-xzf", self.tarball, "-C", self.scratch, "--strip-components=1")
        self.assertEqual(done.returncode, 0, done.stderr)
        agents = list((self.scratch / "libexec/cirrus/agents").glob("cirrus-agent-linux-*"))
        self.assertEqual(len(agents), 1)
        self.assertLess(agents[0].stat().st_size, 24 << 20, "it is stripped")
        done = run(self.scratch / "bin/cirrus", "--version")
        self.assertIn("cirrus 0.", done.stdout, done.stderr)
        self.assertTrue((self.scratch / "share/doc/cirrus/INSTALL.md").exists())

    def make_root(self, root):
        """A minimal Debian with the package; skips the test if there is no mirror."""
        for last in (False, True):  # mirrors have bad moments
            made = run(
                "mmdebstrap", "--variant=minbase", "--include=ca-certificates", "--quiet",
                f"--customize-hook=copy-in {self.deb} /root",
                "--customize-hook=chroot \"$1\" apt-get install -y -q --no-install-recommends "
                f"/root/{self.deb.name}", "bookworm", root)
            said = made.stdout[-3000:] + made.stderr[-3000:]
            if made.returncode == 0:
                return
            shutil.rmtree(root, ignore_errors=True)
            if last and NO_MIRROR.search(said):
                self.skipTest("needs a Debian mirror: " + said[-300:])
        self.fail(said)

    def test_a_fresh_root_runs_a_task_after_installing_it(self):
        self.needs("mmdebstrap", "unshare", root=True)
        root = self.scratch / "root"
        self.make_root(root)
        used = run(
            "unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c",
            f"mount -t proc proc {root}/proc && mount -t tmpfs none {root}/tmp && "
            f"mount --rbind /dev {root}/dev && exec chroot {root} bash -c \"$0\"", USE,
            timeout=400,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"})
        self.assertEqual(used.returncode, 0, used.stdout[-4000:] + used.stderr[-4000:])
        self.assertEqual(used.stdout.count("it runs in a fresh root"), 2, used.stdout)
        removed = run("chroot", root, "dpkg", "--purge", "cirrus")
        self.assertEqual(removed.returncode, 0, removed.stderr)
        self.assertFalse((root / "usr/bin/cirrus").exists())
        self.assertTrue((root / "var/lib/cirrus/controller/master-key").exists(), "state is kept")


if __name__ == "__main__":
    unittest.main()
