"""Commands and completion read lists to their end, whatever a page holds. SPDX-License-Identifier: MIT

A stand-in for a controller answers with pages of two entries: five thousand of everything would say
no more.
"""
import http.server
import json
import threading
import time
import unittest
import urllib.parse

from harness import Case

WORKER = {"pool": "default", "state": "idle", "disabled": False, "draining": False,
          "connected": True, "labels": {}, "resources": {}, "resources_in_use": {}, "tasks": [],
          "last_seen_ms_ago": 5, "conflict": ""}
POOL = {"paused": False, "hold_reference_polls": True, "lost_after_ms": 600000,
        "untrusted_isolations": ["any"], "workers": 0, "connected": 0}
TOKEN = {"role": "reader", "repositories": [], "trusted": False, "created_at": None,
         "revoked_at": None}
FINDING = {"level": "notice", "raw_details": "", "path": "a.c", "start_line": 1, "end_line": 1,
           "start_column": 0, "end_column": 0}
NUMBERS = range(1, 6)


def artifact(name, *files):
    return {"name": name, "type": "", "format": "",
            "files": [{"path": path, "size": 1} for path in files]}


LISTS = {
    "/api/v1/workers": ("workers", [WORKER | {"name": f"w{n}"} for n in NUMBERS]),
    "/api/v1/pools": ("pools", [POOL | {"name": f"p{n}"} for n in NUMBERS]),
    "/api/v1/registration-tokens": ("tokens", [TOKEN | {"id": f"r{n}"} for n in NUMBERS]),
    "/api/v1/tokens": ("tokens", [TOKEN | {"id": f"{n:02}", "name": f"t{n}"} for n in NUMBERS]),
    "/api/v1/caches/acme/app": ("caches", [
        {"key": f"k{n}", "size": n, "created_at": "", "used_at": "", "task_id": "1"}
        for n in NUMBERS]),
    "/api/v1/tasks/7/annotations": ("annotations", [FINDING | {"message": f"m{n}"}
                                                    for n in NUMBERS]),
    # The files of `out` are on three pages, those of `report` begin on the last of them.
    "/api/v1/tasks/7/artifacts": ("artifacts", [
        artifact("a"), artifact("out", "1"), artifact("out", "2", "3"), artifact("out", "4"),
        artifact("out", "5"), artifact("report", "x")]),
}


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # the name is that of the standard library
        self.server.asked.append(self.path)
        time.sleep(self.server.delay)
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        field, entries = LISTS[url.path]
        # A place may need escapes.
        first = int(query.get("after", "at &0=").split("&")[1].rstrip("="))
        more = first + 2 < len(entries)
        following = query.get("after") if self.server.circular else f"at &{first + 2}="
        body = json.dumps({"schema_version": 1, field: entries[first:first + 2],
                           "next_after": following or "at &2=" if more else None}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Pages(Case):
    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.server.asked, self.server.delay, self.server.circular = [], 0, False
        self.server.handle_error = lambda *_: None  # whoever has enough hangs up
        serving = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        serving.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(serving.join)
        self.addCleanup(self.server.shutdown)
        token = self.scratch / "token"
        token.write_text("0123456789abcdef\n")
        self.access = {"CIRRUS_API_URL": f"http://127.0.0.1:{self.server.server_port}",
                       "CIRRUS_API_TOKEN_FILE": str(token)}

    def run_command(self, *arguments, check=0):
        return self.cli(*arguments, environment=self.access, check=check)

    def test_commands_print_all_pages_as_one_list(self):
        for command, field, name in (("worker list", "workers", "name"),
                                     ("pool list", "pools", "name"),
                                     ("pool token list default", "tokens", "id"),
                                     ("token list", "tokens", "name"),
                                     ("cache list acme/app", "caches", "key"),
                                     ("task annotations 7", "annotations", "message")):
            with self.subTest(command):
                del self.server.asked[:]
                shown = self.run_command(*command.split(), "--output", "json").stdout
                answer = json.loads(shown)
                self.assertEqual([entry[name][1:] for entry in answer[field]],
                                 [str(n) for n in NUMBERS])
                self.assertEqual(sorted(answer), sorted(["schema_version", field]))
                self.assertEqual(len(self.server.asked), 3)
                text = self.run_command(*command.split()).stdout
                for entry in answer[field]:
                    self.assertIn(entry[name], text)

    def test_an_artifact_that_goes_on_is_one(self):
        answer = json.loads(self.run_command("artifact", "list", "7", "--output", "json").stdout)
        self.assertEqual([(one["name"], [file["path"] for file in one["files"]])
                          for one in answer["artifacts"]],
                         [("a", []), ("out", list("12345")), ("report", ["x"])])
        text = self.run_command("artifact", "list", "7").stdout
        self.assertEqual([line for line in text.splitlines() if not line.startswith(" ")],
                         ["a", "out", "report"])

    def test_what_is_on_a_later_page_is_found_by_its_name(self):
        self.assertIn("w5", self.run_command("worker", "show", "w5").stdout)
        missing = self.run_command("worker", "show", "w6", check=1)
        self.assertIn("no worker 'w6'", missing.stderr)
        missing = self.run_command("token", "revoke", "t6", check=1)
        self.assertIn("no API token 't6'", missing.stderr)
        self.assertEqual(len(self.server.asked), 9, "all pages were looked at")

    def test_completion_offers_what_is_on_every_page(self):
        for words, offered in ((("worker", "show"), "w"), (("pool", "show"), "p"),
                               (("token", "revoke"), "t"), (("pool", "token", "revoke"), "r"),
                               (("cache", "delete", "acme/app"), "k")):
            with self.subTest(" ".join(words)):
                shown = self.run_command("__complete", "--", *words, "").stdout.split()
                for number in NUMBERS:
                    self.assertIn(f"{offered}{number}", shown)
        shown = self.run_command("__complete", "--", "artifact", "get", "7", "").stdout.split()
        self.assertEqual(shown, ["a", "out", "report"])

    def test_completion_waits_no_longer_for_many_pages_than_for_one(self):
        self.server.delay = 0.7
        shown = self.run_command("__complete", "--", "worker", "show", "").stdout.split()
        self.assertEqual(shown[:2], ["w1", "w2"], "what came in time is offered")
        self.assertNotIn("w5", shown)

    def test_pages_that_go_round_in_circles_are_an_error(self):
        self.server.circular = True
        failed = self.run_command("pool", "list", check=1)
        self.assertIn("'/api/v1/pools?limit=5000' has no end", failed.stderr)


if __name__ == "__main__":
    unittest.main()
