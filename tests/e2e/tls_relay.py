"""TLS in front of a cleartext port, and the certificates for it. SPDX-License-Identifier: MIT"""
import asyncio
import contextlib
import ssl
import subprocess
import threading


def run(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True,
                   stdin=subprocess.DEVNULL)


class Authority:
    """Signs certificates; all files are in `directory`."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.certificate = directory / f"{name}.pem"
        self.key = directory / f"{name}.key"
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "30", "-subj", f"/CN={name}", "-keyout", str(self.key), "-out",
            str(self.certificate))

    def sign(self, name, days="30", alternative="IP:127.0.0.1"):
        """(certificate, key) of a new leaf."""
        key, request = self.directory / f"{name}.key", self.directory / f"{name}.csr"
        certificate, extra = self.directory / f"{name}.pem", self.directory / f"{name}.ext"
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            f"/CN={name}", "-keyout", str(key), "-out", str(request))
        extra.write_text(f"subjectAltName={alternative}\n")
        run("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey",
            str(self.key), "-CAcreateserial", "-days", days, "-extfile", str(extra), "-out",
            str(certificate))
        return certificate, key


class TlsRelay:
    """Speaks TLS 1.3 and h2 on a port of 127.0.0.1 and cleartext to `target` (host, port)."""

    def __init__(self, target, certificate, key, client_authority=None):
        self.target = target
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.set_alpn_protocols(["h2"])
        self.context.load_cert_chain(certificate, key)
        if client_authority:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_authority)
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # refused handshakes are what is tested
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context), self.loop).result()
        self.port = self.server.sockets[0].getsockname()[1]

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    async def serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        await asyncio.gather(self.copy(reader, far_writer), self.copy(far_reader, writer))

    @staticmethod
    async def copy(source, sink):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.close()

    def close(self):
        async def end():
            self.server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()
        asyncio.run_coroutine_threadsafe(end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
