"""T06: a secret of a task is nowhere to be read, however it is printed. SPDX-License-Identifier: MIT"""
import base64
import json
import pathlib
import shlex
import threading
import unittest
import urllib.parse
import urllib.request

from harness import Case, decode_events, eventually, log_bytes

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"
ONE_LINE = 'pa$$ "w"/ord_%2 of\'mine'
# As keys are. The two overlap in `mine`.
LINES = "mine-BEGIN KEY\nMIIabcdefghij0123456789\nxyzxyzxyzxyz\nEND KEY"

# Runs in the task. `say` prints and goes on to a line of its own.
PRINTER = r"""
import base64, json, os, sys, time, urllib.parse, shlex
one, lines = os.environ["ONE"], os.environ["LINES"]
def say(text, pieces=1):
    data = text if isinstance(text, bytes) else text.encode()
    size = max(1, -(-len(data) // pieces))
    for at in range(0, len(data), size):
        os.write(1, data[at:at + size])
        if pieces > 1: time.sleep(0.002)
    os.write(1, b"\n")
for secret in (one, lines):
    for cut in range(1, len(secret)):
        os.write(1, secret[:cut].encode()); time.sleep(0.001); os.write(1, secret[cut:].encode() + b"|\n")
    say(secret, len(secret))
    say(secret.replace("\n", "\r\n"), 7)
    say(json.dumps(secret)); say(json.dumps({"k": "x" + secret}).replace("/", "\\/"))
    say(urllib.parse.quote(secret, safe="")); say(urllib.parse.quote_plus(secret))
    say(shlex.quote(secret))
    for before in (b"", b"x", b"xx"):
        for after in (b"", b"y"):
            whole = before + secret.encode() + after
            say(base64.b64encode(whole), 3); say(base64.urlsafe_b64encode(whole))
middle = len(one) // 2
say(one[:middle] + "\x1b[01;31m\x1b[K" + one[middle:] + "\x1b[m\x1b[K", 5)
say("\x1b[1m".join(one))
say(one + lines[4:])  # the end of one is the beginning of the other
sys.stderr.write(one[3:] + "\n" + one[:-3] + "\nthe end\n")
"""


def readable_forms(secret):
    """What nobody may find."""
    forms = {secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe=""),
             urllib.parse.quote_plus(secret), base64.b64encode(secret.encode()).decode(),
             base64.urlsafe_b64encode(secret.encode()).decode(), secret.replace("\n", "\r\n")}
    for before in range(3):
        whole = base64.b64encode(b"x" * before + secret.encode() + b"y").decode()
        forms.add(whole[4:-4])
    return {form.strip().encode() for form in forms}


class Masking(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.start_worker()

    def seal(self, value):
        return self.cli("secret", "encrypt", "--repo", "test/repo", check=0,
                        input=value).stdout.strip()

    def check(self, data, where):
        shown = data.replace(b"\x1b[01;31m\x1b[K", b"").replace(b"\x1b[1m", b"")
        for secret in (ONE_LINE, LINES):
            for form in readable_forms(secret):
                self.assertNotIn(form, shown, where)
        for line in LINES.strip().split("\n"):
            self.assertNotIn(line.encode(), shown, where)

    def follow(self, task_id, into):
        request = urllib.request.Request(
            self.controller.ready["http_url"] + f"/api/v1/tasks/{task_id}/logs/main?follow=1")
        token = pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=60) as stream:
            for name, data in decode_events(stream):
                if name == "end":
                    return
                if name == "log":
                    into.append(log_bytes(data))

    def test_T06_a_secret_is_hidden_however_it_is_printed(self):
        (self.scratch / "printer.py").write_text(PRINTER)
        gate = self.scratch / "gate"
        build = self.submit(NONE + f"""task:
  name: t
  env:
    ONE: {json.dumps(self.seal(ONE_LINE))}
    LINES: {json.dumps(self.seal(LINES))}
  script:
    - while [ ! -e {gate} ]; do sleep 0.01; done
    - python3 {self.scratch}/printer.py
  report_script: |
    python3 -c 'import json, os; print(json.dumps({{"level": "failure", "message": "no " + os.environ["ONE"], "raw_details": os.environ["LINES"]}}))' > r.json
  out_artifacts: {{path: r.json, format: cirrus}}
  x_cache: {{folder: "/$ONE/..", fingerprint_key: k}}
""")
        task = self.wait_task(build, "t", "executing")
        live = []
        reader = threading.Thread(target=self.follow, args=(task["id"], live))
        eventually(lambda: b"while" in self.log_or_empty(task["id"]), "the script runs")
        reader.start()
        gate.touch()
        self.wait_build(build, "completed")
        reader.join(60)
        log = self.log(task["id"])
        self.assertTrue(log.endswith(b"the end\n"))
        self.assertGreater(log.count(b"HIDDEN-BY-CIRRUS-CI"), 80)
        self.check(log, "the stored log")
        self.assertEqual(b"".join(live), log)
        self.check(self.cli("task", "logs", task["id"], check=0).stdout.encode(), "the download")
        annotations = self.api("GET", f"/api/v1/tasks/{task['id']}/annotations", raw=True)
        self.assertIn(b"no HIDDEN-BY-CIRRUS-CI", annotations)
        self.check(annotations, "annotations")
        for step in ("out", "x"):
            self.check(self.log(task["id"], step), step)

    def test_T06_the_reason_of_a_failure_shows_none(self):
        build = self.submit(NONE + f"""task:
  name: t
  env:
    ONE: {json.dumps(self.seal("hunter2-hunter2"))}
    CIRRUS_VAULT_URL: http://127.0.0.1:9
    CIRRUS_VAULT_TOKEN: x
    VALUE: "VAULT[secret/$ONE key=]"
  script: echo never
""")
        task = self.wait_build(build, "failed")["tasks"][0]
        self.assertIn("HIDDEN-BY-CIRRUS-CI", task["reason"])
        self.check(json.dumps(self.build(build)).encode(), "the build")
        self.assertNotIn("hunter2", json.dumps(self.build(build)))


if __name__ == "__main__":
    unittest.main()
