"""What `cirrus task shell` does with a standard input that is no terminal; for agents of both kinds.

SPDX-License-Identifier: MIT
Sums are written as `$((1+1))`, so that what a shell prints differs from the echo of what was typed.
"""
import subprocess
import time

from harness import CIRRUS, PATIENCE


def check_ends(case, task):
    """Input that ends: everything is printed, and the command ends when the shell does."""
    for name, typed, last in (
            ("nothing at all", "", ""),
            ("one command", "echo one$((1+1))\n", "one2"),
            ("output under way when it ends", "sleep 1.5; echo late$((1+1))\n", "late2"),
            ("a program that reads it to its end", "cat; echo after$((1+1))\n", "after2"),
            ("a shell within", "sh\necho within$((1+1))\n", "within2"),
            ("an exit of its own", "echo bye$((1+1)); exit\n", "bye2"),
            ("no newline at the end", "echo cut$((1+1))", "cut2")):
        with case.subTest(name):
            done = case.cli("task", "shell", task, input=typed, check=0)
            case.assertIn(last, done.stdout)
            case.assertEqual(done.stderr, "")


def check_open_input(case, task):
    """Input that stays open: the shell's own end is enough."""
    for number in range(5):
        with case.subTest(number):
            process = subprocess.Popen(
                [CIRRUS, "task", "shell", task], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=case.environment(
                    CIRRUS_API_URL=case.controller.ready["http_url"],
                    CIRRUS_API_TOKEN_FILE=case.controller.ready["admin_token_file"]))
            try:
                process.stdin.write(b"echo open$((1+1))\nexit\n")
                process.stdin.flush()
                case.assertEqual(process.wait(PATIENCE), 0)
                case.assertIn(b"open2", process.stdout.read())
            finally:
                process.kill()
                process.communicate()


def check_gives_up(case, task):
    """A shell that does not end and prints nothing is left, and that is said."""
    begun = time.monotonic()
    done = case.cli("task", "shell", task, "--patience", "2s",
                    input="echo quiet$((1+1)); trap '' HUP INT; sleep 1000\n")
    case.assertEqual(done.returncode, 1, done.stderr)
    case.assertIn("quiet2", done.stdout)
    case.assertIn("for 2 s after the end of standard input: hung up", done.stderr)
    case.assertIn("--patience", done.stderr)
    case.assertGreaterEqual(time.monotonic() - begun, 2)
    # What prints something is not quiet.
    done = case.cli("task", "shell", task, "--patience", "2s", check=0,
                    input="for i in 1 2 3 4; do sleep 1; echo beat $i; done; echo end$((1+1))\n")
    case.assertIn("end2", done.stdout)
