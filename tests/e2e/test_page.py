"""The read-only page in a real browser.

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import sqlite3
import unittest
import urllib.request

import browser
from harness import Case, eventually

# Colours, a lone carriage return, markup and links as a task may write them.
LOG = r"""
printf '\033[1;32mall green\033[0m and \033[31mred\033[0m\n'
printf '<img src=x onerror="window.pwned=1"><script>window.pwned=2</script>\n'
printf '\033]8;;javascript:window.pwned=3\033\\a link\033]8;;\033\\ after\n'
printf 'progress 10%%\rprogress 100%%\n'
for i in $(seq 5 60); do echo "line $i"; done
"""

HOSTILE = "<b onmouseover=pwned>name</b>"


@unittest.skipIf(browser.PROGRAM is None, "needs chromium (packaging/apt/test.txt)")
class Page(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.tab = browser.Browser()
        self.addCleanup(self.tab.close)
        self.url = self.controller.ready["http_url"]
        self.token = pathlib.Path(self.controller.ready["admin_token_file"]).read_text().strip()

    def sign_in(self, address="#/"):
        made = self.api("POST", "/api/v1/tokens", {"name": "page", "role": "reader"})
        self.tab.open(f"{self.url}/{address}")
        self.tab.type("#token", made["token"])
        self.tab.press("Enter")
        self.tab.wait("document.querySelector('#login').hidden")

    def text(self):
        return self.tab.evaluate("document.body.innerText")

    def config(self):
        script = "".join(f"      {line}\n" for line in LOG.strip().splitlines())
        return (f"task:\n  name: {json.dumps(HOSTILE)}\n  persistent_worker: {{resources: {{cpu: 1}}}}\n"
                f"  main_script: |\n      set +v\n{script}"
                "task:\n  name: test\n  depends_on: \"" + HOSTILE + "\"\n"
                "  persistent_worker: {resources: {cpu: 1}}\n  unit_script: echo ok\n"
                "  broken_script: echo not so good; exit 1\n"
                "task:\n  name: deploy\n  depends_on: test\n  persistent_worker: {}\n"
                "  ship_script: echo shipped\n"
                "task:\n  name: on a plan 9 box\n  persistent_worker: {labels: {os: plan9}}\n"
                "  x_script: true\n")

    def test_T14_from_a_list_of_builds_to_a_line_of_a_log_nothing_of_a_task_runs(self):
        tab = self.tab
        self.start_worker("mac-mini-1", labels=["rack=7"])
        tab.open(self.url)
        tab.type("#token", "wrong")
        tab.press("Enter")
        tab.wait("document.body.innerText.includes('not known here')")
        tab.screenshot("sign-in")
        self.sign_in("?again#/")
        tab.wait("document.body.innerText.includes('No builds yet')")
        build = self.submit(self.config(), message="Teach the parser to count\n\nBody")
        self.wait_task(build, "test", "failed")
        tab.wait("document.body.innerText.includes('Teach the parser')", "the build appears by itself")
        tab.screenshot("builds")
        tab.click(f'a[href="#/builds/{build}"]')
        tab.wait("document.querySelector('#view h1')?.textContent.includes('Build')")
        tab.wait("document.body.innerText.includes('no worker has label os=plan9')"
                 " || /plan9/.test(document.querySelector('tbody').innerText)", "a waiting reason")
        self.assertEqual(tab.evaluate("document.querySelectorAll('svg.graph path').length"), 2)
        tab.wait("document.activeElement.tagName === 'H1'", "the heading is read out")
        tab.screenshot("build")
        tab.scheme("dark")
        tab.screenshot("build-dark")
        first = self.task(build, HOSTILE)["id"]
        tab.click(f'tbody a[href="#/tasks/{first}"]')
        tab.wait("document.querySelectorAll('.log li').length >= 60", "the log is shown")
        self.assertEqual(tab.evaluate("document.querySelector('#L2 .f2.b').textContent"), "all green")
        self.assertEqual(tab.evaluate("document.querySelector('#L5 > span').textContent"),
                         "progress 100%")
        # T14: what a task writes or is called is text and nothing else.
        tab.wait("document.querySelector('#L3').innerText.includes('<img src=x onerror')",
                 "the line is laid out")
        self.assertEqual(tab.evaluate("document.querySelector('#L4 > span').textContent"),
                         "a link after")
        self.assertEqual(tab.evaluate("document.querySelectorAll('main img, main script, main b').length"), 0)
        self.assertIn(HOSTILE, tab.evaluate("document.querySelector('#view h1').textContent"))
        self.assertIsNone(tab.evaluate("window.pwned"))
        tab.type("input[type=search]", "line 4")
        tab.wait("document.body.innerText.includes('of 10 lines')", "matches are counted")
        tab.press("Enter")
        tab.wait("document.body.innerText.includes('2 of 10 lines')")
        tab.screenshot("log-dark")
        tab.scheme("light")
        tab.click("#L20 > a")
        tab.wait(f"location.hash === '#/tasks/{first}/main/L20'")
        tab.open(f"{self.url}/?again#/tasks/{first}/main/L20-L22")
        tab.wait("document.querySelectorAll('.log li.marked').length === 3", "a permalink is marked")
        tab.screenshot("log")
        failed = self.task(build, "test")["id"]
        tab.open(f"{self.url}/?more#/tasks/{failed}")
        tab.wait("document.querySelector('.log')?.innerText.includes('not so good')",
                 "the failed step is the one that is shown")
        tab.open(f"{self.url}/?workers#/workers")
        tab.wait("document.body.innerText.includes('mac-mini-1')")
        tab.wait("document.body.innerText.includes('rack=7')")
        tab.screenshot("workers")
        tab.size(400, 800)
        tab.screenshot("workers-narrow")
        self.assertLessEqual(tab.evaluate("document.documentElement.scrollWidth"), 400)
        tab.click("#forget")
        tab.wait("!document.querySelector('#login').hidden")
        self.assertIsNone(tab.evaluate("sessionStorage.getItem('cirrus-token')"))
        wrong = [m for m in tab.messages if "401" not in m]
        self.assertEqual(wrong, [], "the console stays clean")

    def test_a_log_and_the_fleet_are_shown_while_they_happen(self):
        tab = self.tab
        gate = self.scratch / "gate"
        build = self.submit("task:\n  name: live\n  persistent_worker: {}\n  main_script: |\n    set +v\n"
                            f"    echo waiting; until [ -e {gate} ]; do sleep 0.05; done; echo opened\n")
        self.sign_in("#/workers")
        tab.wait("document.body.innerText.includes('No workers yet')")
        self.start_worker("late")
        tab.wait("document.body.innerText.includes('late')", "a new worker appears by itself")
        tab.wait("[...document.querySelectorAll('.badge')].some(b => b.textContent === 'busy')")
        task = self.task(build, "live")["id"]
        tab.evaluate(f"location.hash = '#/tasks/{task}'")
        tab.wait("document.querySelector('.log')?.innerText.includes('waiting')")
        # The controller goes and comes back: the page goes on where it was.
        self.controller.kill()
        tab.wait("!document.querySelector('#connection').hidden", "the loss is told")
        self.restart_controller()
        tab.wait("document.querySelector('#connection').hidden", "the page is back")
        gate.touch()
        tab.wait("document.querySelector('.log')?.innerText.includes('opened')")
        tab.wait("document.querySelector('#view h1 .badge').textContent === 'completed'")
        self.assertEqual(tab.evaluate("document.querySelectorAll('.log li').length"), 3)

    def told(self, *wanted):
        """All that a screen reader is told, once it is told of `wanted`.

        The browser makes that tree from the page in its own time."""
        def look():
            told = self.tab.accessible()
            missing[:] = [one for one in wanted if one not in told]
            return told if not missing else None
        missing = []
        try:
            return eventually(look, "the tree is whole")
        except AssertionError:
            self.fail(f"a screen reader is not told of {missing}")

    def test_a_screen_reader_is_told_what_is_there(self):
        self.start_worker("w1")
        build = self.submit("task:\n  name: one\n  persistent_worker: {}\n  x_script: echo hi\n")
        self.wait_build(build, "completed")
        self.sign_in()
        self.tab.wait("document.querySelectorAll('tbody tr').length === 1")
        self.told(("navigation", "Main"), ("main", ""), ("heading", "Builds"),
                  ("table", "Newest builds"), ("columnheader", "Status"), ("link", build))
        task = self.task(build, "one")["id"]
        self.tab.evaluate(f"location.hash = '#/tasks/{task}'")
        self.tab.wait("document.querySelectorAll('.log li').length === 2")
        told = self.told(("navigation", "Steps"), ("log", "Log of x"),
                         ("searchbox", "Search the log"), ("link", "Line 1"))
        unnamed = [role for role, name in told if role in ("link", "button", "searchbox", "checkbox")
                   and not name.strip()]
        self.assertEqual(unnamed, [])

    def banner(self):
        return ("(document.querySelector('#troubles').hidden ? '' :"
                " document.querySelector('#troubles').innerText)")

    def test_a_disk_that_is_too_full_is_said_wherever_one_looks(self):
        tab = self.tab
        self.start_worker("w1")
        build = self.submit("task:\n  name: t\n  persistent_worker: {}\n  main_script: echo hi\n")
        self.wait_build(build, "completed")
        self.sign_in("#/workers")
        tab.wait("document.body.innerText.includes('w1')")
        self.assertEqual(tab.evaluate(self.banner()), "")
        # As if the disk had filled up: more has to stay free than any disk has.
        self.controller.kill()
        self.controller.arguments += ["--uploads-least-free", "999999999"]
        self.restart_controller()
        full = f"{self.banner()}.includes('caches and artifacts are refused until 999999999 MB are free')"
        tab.wait(full, "the fleet's view says so by itself")
        self.assertEqual(tab.evaluate("document.querySelector('#troubles').getAttribute('role')"),
                         "status")
        tab.screenshot("disk-full")
        tab.evaluate("location.hash = '#/'")
        tab.wait("document.querySelector('#view h1').textContent === 'Builds'")
        tab.wait(full, "the list of builds, too")
        task = self.task(build, "t")["id"]
        for address in (f"#/tasks/{task}", f"#/builds/{build}"):
            tab.open(f"{self.url}/?fresh{address[2]}{address}")
            tab.wait(f"{self.banner()}.includes('MB free and caches and artifacts need')", address)
        tab.evaluate("location.hash = '#/'")
        tab.wait(full)
        self.controller.kill()
        del self.controller.arguments[-2:]
        self.restart_controller()
        tab.wait(f"{self.banner()} === ''", "it goes by itself")

    def test_where_old_builds_were_removed_the_list_says_so(self):
        tab = self.tab
        self.start_worker("w1")
        config = "task:\n  name: t\n  persistent_worker: {}\n  main_script: echo hi\n"
        for _ in range(3):
            self.wait_build(self.submit(config), "completed")
        self.sign_in()
        tab.wait("document.querySelectorAll('tbody tr').length === 3")
        self.assertTrue(tab.evaluate("document.querySelector('#removed').hidden"))
        self.controller.stop()
        with sqlite3.connect(self.scratch / "controller" / "controller.db") as store:
            store.execute("UPDATE builds SET finished_ms = 1000")
        store.close()
        self.restart_controller()
        eventually(lambda: len(self.api("GET", "/api/v1/builds")["builds"]) == 1, "two builds go")
        tab.open(f"{self.url}/?again#/")
        tab.wait("!document.querySelector('#removed').hidden")
        self.assertRegex(tab.evaluate("document.querySelector('#removed').innerText"),
                         r"^2 older builds were removed, the last on 2\d{3}-\d\d-\d\d: "
                         r"finished builds are kept for 365 days\.$")
        self.assertEqual(tab.evaluate("document.querySelectorAll('tbody tr').length"), 1)
        tab.screenshot("builds-removed")
        # Whoever kept a link to one is told, too.
        tab.evaluate("location.hash = '#/builds/1'")
        tab.wait("/build 1 of test\\/repo was removed on/.test(document.body.innerText)")

    def test_an_untrusted_build_and_a_pool_for_trusted_ones_are_shown_as_such(self):
        tab = self.tab
        self.api("POST", "/api/v1/pools", {"name": "release", "untrusted_isolations": []})
        self.api("POST", "/api/v1/pools/default", {"untrusted_isolations": ["container", "vetu"]})
        made = self.api("POST", "/api/v1/tokens", {"name": "fork", "role": "submitter",
                                                   "repositories": ["*"]})
        request = urllib.request.Request(
            f"{self.url}/api/v1/builds", json.dumps({
                "config": "task:\n  name: t\n  persistent_worker: {}\n  x_script: y\n"}).encode(),
            {"Authorization": f"Bearer {made['token']}"})
        with urllib.request.urlopen(request) as answer:
            build = json.loads(answer.read())["build"]["id"]
        self.sign_in("#/workers")
        tab.wait("document.body.innerText.includes('untrusted builds in container, vetu')")
        tab.wait("document.body.innerText.includes('trusted builds only')")
        tab.evaluate("location.hash = '#/'")
        tab.wait("document.querySelector('tbody tr')?.innerText.includes('not trusted')")
        tab.evaluate(f"location.hash = '#/builds/{build}'")
        tab.wait("document.body.innerText.includes(\"no pool lets such builds use isolation 'none'\")")
        tab.wait("document.body.innerText.includes('no secrets, and only pools that take it')")
        tab.screenshot("untrusted")

    def test_T14_the_page_is_locked_down(self):
        with urllib.request.urlopen(self.url + "/") as answer:
            headers = answer.headers
        policy = headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(headers["Referrer-Policy"], "no-referrer")
        self.assertIsNone(headers["Set-Cookie"])
        # A log that is opened by itself is text in a box of its own.
        self.start_worker("w1")
        build = self.submit("task:\n  name: t\n  persistent_worker: {}\n"
                            "  x_script: echo '<script>alert(1)</script>'\n")
        self.wait_build(build, "completed")
        request = urllib.request.Request(
            f"{self.url}/api/v1/tasks/{self.task(build, 't')['id']}/logs/x",
            headers={"Authorization": f"Bearer {self.token}", "Accept": "text/html"})
        with urllib.request.urlopen(request) as answer:
            self.assertEqual(answer.headers["Content-Type"], "text/plain; charset=utf-8")
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
            self.assertIn("sandbox", answer.headers["Content-Security-Policy"])


if __name__ == "__main__":
    unittest.main()
