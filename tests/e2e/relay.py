"""A TCP relay that behaves as networks do: slow, cut, silent, reset. SPDX-License-Identifier: MIT

One thread accepts, two per connection copy. All threads end with `close`.
"""
import collections
import random
import select
import socket
import struct
import threading
import time


class Connection:
    def __init__(self, relay, near, far):
        self.relay, self.near, self.far = relay, near, far
        self.silent = threading.Event()  # swallows what comes, answers nothing
        self.left = relay.cut_after() if relay.cut_after else None
        self.ends_at = time.monotonic() + relay.lifetime if relay.lifetime else None
        self.threads = [threading.Thread(target=self.copy, args=pair)
                        for pair in ((near, far, "up"), (far, near, "down"))]

    def start(self):
        for thread in self.threads:
            thread.start()

    def end(self, reset=False):
        for end in (self.near, self.far):
            try:
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.close()
                else:
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def copy(self, source, sink, direction):
        waiting = collections.deque()  # (when it is due, bytes): a long way, not a narrow one
        open_end = True
        try:
            while open_end or waiting:
                now = time.monotonic()
                if self.relay.closed or (self.ends_at and now > self.ends_at):
                    break
                patience = 0.05
                if waiting:
                    patience = min(patience, max(0, waiting[0][0] - now))
                ready, _, _ = select.select([source] if open_end else [], [], [], patience)
                if ready:
                    data = source.recv(65536)
                    open_end = bool(data)
                    if data:
                        waiting.append((time.monotonic() + self.relay.delay, data))
                while waiting and waiting[0][0] <= time.monotonic():
                    if not self.forward(waiting.popleft()[1], sink, direction):
                        return
        except (OSError, ValueError):
            pass
        finally:
            self.end(self.relay.resets)

    def forward(self, data, sink, direction):
        """False: the connection is cut here."""
        if self.silent.is_set() or direction in self.relay.silent_directions:
            return True
        if self.left is not None:
            data, self.left = data[:self.left], self.left - len(data)
        sink.sendall(data)
        return self.left is None or self.left > 0


class Relay:
    """Listens on `host`, port 0, and relays to `target` (host, port). Change its attributes at any
    time; those of a connection are read when it is made.

    delay: seconds that bytes take, each way       lifetime: seconds a connection may live
    cut_after: a call that says after how many bytes a connection is cut, in mid-message
    resets: connections end with RST               silent_directions: 'up' and/or 'down' is lost
    """

    def __init__(self, target, host="127.0.0.1"):
        self.target = target
        self.delay, self.lifetime, self.cut_after, self.resets = 0, None, None, False
        self.silent_directions = set()
        self.refuses = False
        self.connections = []
        self.made = 0
        self.closed = False
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        self.host = host
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def cut_randomly(self, low, high, seed=1):
        generator = random.Random(seed)
        self.cut_after = lambda: generator.randint(low, high)

    def accept(self):
        while not self.closed:
            ready, _, _ = select.select([self.listener], [], [], 0.05)
            if not ready:
                continue
            near, _ = self.listener.accept()
            self.made += 1
            if self.refuses:
                near.close()
                continue
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            connection = Connection(self, near, far)
            self.connections.append(connection)
            connection.start()

    def black_hole(self):
        """The connections that are open now stay open and carry nothing any more."""
        for connection in self.connections:
            connection.silent.set()

    def break_all(self, reset=False):
        for connection in self.connections:
            connection.end(reset)

    def close(self):
        self.closed = True
        self.thread.join()
        self.listener.close()
        self.break_all()
        for connection in self.connections:
            for thread in connection.threads:
                thread.join()
            for end in (connection.near, connection.far):
                end.close()
