"""Every command's `--output json`: one object with `schema_version`, and of a change what was changed.

SPDX-License-Identifier: MIT
The table names every command there is: a new one has to be added here.
"""
import json
import re
import unittest

from harness import SOURCE, Case

# They serve until they are ended, print what they are asked for and nothing else, or are a terminal.
OTHERS = {"worker run", "controller run", "standalone", "run", "task logs", "task shell",
          "completion", "help"}

# Command and arguments; fields of the answer; exit code. `{…}` are things made below. A field
# `action` is that of the audit. In this order, because one needs another's doing.
TABLE = [
    ("build submit {project}", ("id", "tasks"), 0),
    ("build list", ("builds", "next_before"), 0),
    ("build show 1", ("id", "status", "tasks"), 0),
    ("build cancel {waiting}", ("action", "build.id={waiting}"), 0),
    ("build rerun {failed}", ("action", "build.id={failed}", "tasks"), 0),
    ("task list 1", ("tasks",), 0),
    ("task show 1", ("id", "steps"), 0),
    ("task why 1", ("reasons",), 0),
    ("task annotations 1", ("annotations",), 0),
    ("task shells 1", ("shells",), 0),
    ("task cancel {waiting_task}", ("action", "task.id={waiting_task}"), 0),
    ("task rerun {waiting_task}", ("action", "task.id={waiting_task}", "id"), 0),
    ("task trigger {manual_task}", ("action", "task.id={manual_task}"), 0),
    ("artifact list 1", ("artifacts",), 0),
    ("artifact get 1 out --into {scratch}/into", ("files", "into"), 0),
    ("cache list a/b", ("caches",), 0),
    ("cache delete a/b key", ("action", "cache.key=key"), 0),
    ("pool create macs", ("action", "pool.name=macs"), 0),
    ("pool list", ("pools",), 0),
    ("pool show macs", ("pool.name=macs", "tokens"), 0),
    ("pool set macs --lost-after 5m", ("action=pool.change", "pool.name=macs"), 0),
    ("pool pause macs", ("action", "pool.name=macs"), 0),
    ("pool resume macs", ("action", "pool.name=macs"), 0),
    ("pool token create macs", ("action", "registration_token.pool=macs", "token", "id"), 0),
    ("pool token list macs", ("tokens",), 0),
    ("pool token rotate macs", ("action", "registration_token.pool=macs", "token"), 0),
    ("pool token revoke {registration}", ("action", "registration_token.id={registration}"), 0),
    ("token create mine", ("action", "api_token.name=mine", "token", "id"), 0),
    ("token list", ("tokens",), 0),
    ("token revoke mine", ("action", "api_token.id"), 0),
    ("audit list", ("audit",), 0),
    ("worker list", ("workers",), 0),
    ("worker show w1", ("worker.name=w1",), 0),
    ("worker cordon w1", ("action", "worker.name=w1", "worker.pool=default"), 0),
    ("worker uncordon w1", ("action", "worker.name=w1"), 0),
    ("worker drain w1", ("worker.name=w1",), 0),
    ("worker pause {as_worker}", ("action", "worker.name=w1"), 0),
    ("worker resume {as_worker}", ("action", "worker.name=w1"), 0),
    ("worker validate {as_worker}", ("worker.name=w1", "warnings"), 0),
    ("worker doctor {as_worker} --data-dir {scratch}/doctor", ("findings", "problems"), None),
    ("worker status --data-dir {scratch}/w1", ("state", "upstreams", "tasks"), 0),
    ("controller validate -f {settings}", ("file", "valid"), 0),
    ("controller backup --data-dir {scratch}/controller {scratch}/copy", ("files", "bytes"), 0),
    ("controller check --data-dir {scratch}/copy", ("faults", "builds"), 0),
    ("context add lab --url {url} --token-file {token_file}",
     ("action", "context.name=lab", "context.current"), 0),
    ("context list", ("contexts",), 0),
    ("context use lab", ("action", "context.name=lab"), 0),
    ("context remove lab", ("action", "context.name=lab"), 0),
    ("secret encrypt --repo a/b", ("encrypted",), 0),
    ("validate -f {project}/.cirrus.yml", (), 0),
]

BUILD = """
task:
  name: t
  persistent_worker: {}
  main_script: echo hello > file
  out_artifacts:
    path: file
"""
WAITING = "task:\n  name: t\n  persistent_worker: {labels: {os: plan9}}\n  main_script: true\n"


class Json(Case):
    def known_commands(self):
        """Those that do something, from the program's own reference."""
        headings = re.findall(r"(?m)^## cirrus ?(.*)$", self.cli("help", "--reference").stdout)
        return {name for name in headings
                if name and not any(other.startswith(name + " ") for other in headings)}

    def command_of(self, line, known):
        words = line.split()
        for count in (3, 2, 1):
            if " ".join(words[:count]) in known:
                return " ".join(words[:count])
        raise AssertionError(f"no such command: {line}")

    def prepare(self):
        self.start_controller()
        self.start_worker("w1")
        ready = self.controller.ready
        project = self.scratch / "project"
        project.mkdir()
        (project / ".cirrus.yml").write_text(BUILD)
        self.wait_build(self.submit(BUILD), "completed")
        failed = self.submit(BUILD.replace("echo hello > file", "false"))
        self.wait_build(failed, "failed")
        waiting, other = self.submit(WAITING, branch="a"), self.submit(WAITING, branch="b")
        manual = self.submit("task:\n  name: t\n  trigger_type: manual\n  persistent_worker: {}\n"
                             "  main_script: true\n", branch="c")
        return {
            "scratch": self.scratch, "project": project, "failed": failed, "waiting": waiting,
            "waiting_task": self.task(other, "t")["id"], "manual_task": self.task(manual, "t")["id"],
            "settings": SOURCE / "packaging/debian/controller.yml", "url": ready["http_url"],
            "token_file": ready["admin_token_file"],
            "registration": self.api("POST", "/api/v1/pools/default/tokens", {})["id"],
            "as_worker": f"--name w1 --token-file {ready['registration_token_file']} "
                         f"--rpc-endpoint {ready['rpc_endpoint']}"}

    def look_up(self, answer, field):
        for part in field.split("."):
            answer = answer[part]
        return answer

    def test_every_command_prints_one_object_that_says_what_was_changed(self):
        known = self.known_commands()
        tested = {self.command_of(line, known) for line, _, _ in TABLE}
        self.assertEqual(tested | OTHERS, known)
        self.assertEqual(tested & OTHERS, set())
        things = self.prepare()
        config = {"XDG_CONFIG_HOME": str(self.scratch / "config")}
        for line, fields, code in TABLE:
            command = self.command_of(line, known)
            with self.subTest(command):
                done = self.cli(*line.format(**things).split(), "--output", "json", check=code,
                                input="a secret value\n", environment=config)
                answer = json.loads(done.stdout)
                self.assertEqual(answer["schema_version"], 1)
                for field in fields:
                    name, _, wanted = field.format(**things).partition("=")
                    if name == "action":
                        wanted = wanted or command.replace(" ", ".")
                    value = self.look_up(answer, name)
                    if wanted:
                        self.assertEqual(value, wanted, answer)


if __name__ == "__main__":
    unittest.main()
