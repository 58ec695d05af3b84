"""A person at a terminal. SPDX-License-Identifier: MIT"""
import fcntl
import os
import re
import struct
import subprocess
import termios

from harness import eventually


class Person:
    """`cirrus task shell` on a terminal of its own."""

    def __init__(self, arguments, environment, columns, rows):
        self.master, slave = os.openpty()
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            arguments, env=environment, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        os.set_blocking(self.master, False)
        self.seen = b""

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def sees(self, pattern):
        def look():
            try:
                self.seen += os.read(self.master, 4096)
            except BlockingIOError:
                pass
            return re.search(pattern, self.seen)
        return eventually(look, f"{pattern} is printed")

    def leave(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
