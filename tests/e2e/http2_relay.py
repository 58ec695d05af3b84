"""A relay that knows where HTTP/2 frames end and sends GOAWAY between them. SPDX-License-Identifier: MIT

Like a proxy that is drained again and again: what it says is true. Streams above the one it names
reach nobody, those up to it go on. (RFC 9113, sections 4.1 and 6.8.)
"""
import select
import socket
import struct
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x7, 0x8, 0x9
END_HEADERS = 0x4
NO_ERROR, ENHANCE_YOUR_CALM = 0x0, 0xb


def frame(kind, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, 0, stream) + payload


class Half:
    """One direction: bytes come in as they were cut, whole frames go out."""

    def __init__(self, source, preface=b""):
        self.source, self.preface, self.held = source, preface, b""

    def frames(self, closed):
        """Yields (kind, flags, stream, all bytes of it); the preface with kind None."""
        while True:
            if self.preface and len(self.held) >= len(self.preface):
                assert self.held.startswith(self.preface), self.held[:64]
                yield None, 0, 0, self.take(len(self.preface))
                self.preface = b""
                continue
            if not self.preface and len(self.held) >= 9:
                size = 9 + int.from_bytes(self.held[:3], "big")
                if len(self.held) >= size:
                    stream = int.from_bytes(self.held[5:9], "big") & 0x7fffffff
                    yield self.held[3], self.held[4], stream, self.take(size)
                    continue
            ready = []
            while not ready:
                if closed():
                    return
                ready, _, _ = select.select([self.source], [], [], 0.05)
            data = self.source.recv(65536)
            if not data:
                return
            self.held += data

    def take(self, size):
        taken, self.held = self.held[:size], self.held[size:]
        return taken


class Connection:
    def __init__(self, relay, near, far):
        self.relay, self.near, self.far = relay, near, far
        self.numbers = threading.Lock()  # `highest` and `last` with what they say of frames sent on
        self.highest, self.last = 0, None  # of streams sent on; named by the first GOAWAY
        self.writing = threading.Lock()  # towards the client, a frame or a run of headers each
        self.begun = self.ended = False
        self.threads = [threading.Thread(target=self.guarded, args=(run,))
                        for run in (self.up, self.down)]

    def guarded(self, run):
        try:
            run()
        except OSError:
            pass
        finally:
            self.ended = True
            for end in (self.near, self.far):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def up(self):
        for kind, _, stream, data in Half(self.near, PREFACE).frames(lambda: self.relay.closed):
            with self.numbers:
                dropped = self.last is not None and stream > self.last
                if kind == HEADERS and not dropped:
                    self.highest = max(self.highest, stream)
                if not dropped:
                    self.far.sendall(data)
            if dropped:
                self.relay.dropped += 1
                # What was thrown away leaves the connection's window as it was.
                if kind == DATA and len(data) > 9:
                    with self.writing:
                        self.near.sendall(frame(WINDOW_UPDATE, 0, struct.pack(">I", len(data) - 9)))

    def down(self):
        run = b""
        for kind, flags, _, data in Half(self.far).frames(lambda: self.relay.closed):
            run += data
            if kind in (HEADERS, CONTINUATION) and not flags & END_HEADERS:
                continue  # nothing may stand between a block of headers and its rest
            with self.writing:
                self.near.sendall(run)
                self.begun = True
            run = b""

    def say_goaway(self, code, debug):
        with self.numbers:
            if self.last is None:
                self.last = self.highest
            last = self.last
        with self.writing:
            if self.ended or not self.begun:  # the server's settings come first
                return False
            self.near.sendall(frame(GOAWAY, 0, struct.pack(">II", last, code) + debug))
        return True


class Http2Relay:
    """Listens on port 0 and relays to `target` (host, port), until `close`.

    sent: GOAWAY frames; made: connections; dropped: frames of streams that came too late
    """

    def __init__(self, target):
        self.target = target
        self.connections = []
        self.sent = self.made = self.dropped = 0
        self.closed = False
        self.storm_ends = threading.Event()
        self.storming = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()

    def accept(self):
        while not self.closed:
            ready, _, _ = select.select([self.listener], [], [], 0.05)
            if not ready:
                continue
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self.made += 1
            connection = Connection(self, near, far)
            self.connections.append(connection)
            for thread in connection.threads:
                thread.start()

    def begin_storm(self, code, debug=b"", pause=0.1):
        """A GOAWAY on every connection there is, every `pause` seconds, until `end_storm`."""
        def storm():
            while not self.storm_ends.wait(pause):
                for connection in list(self.connections):
                    try:
                        self.sent += connection.say_goaway(code, debug)
                    except OSError:
                        pass  # it ended meanwhile
        self.storm_ends.clear()
        self.storming = threading.Thread(target=storm)
        self.storming.start()

    def end_storm(self):
        if self.storming:
            self.storm_ends.set()
            self.storming.join()
            self.storming = None

    def close(self):
        self.end_storm()
        self.closed = True
        self.thread.join()
        self.listener.close()
        for connection in self.connections:
            for thread in connection.threads:
                thread.join()
            connection.near.close()
            connection.far.close()
