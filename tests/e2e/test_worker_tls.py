"""A worker that reaches its controller by TLS, with an authority of its own, client certificates and
proxies. SPDX-License-Identifier: MIT"""
import http.server
import pathlib
import shutil
import socket
import threading
import unittest

from harness import Case, Daemon, eventually
from tls_relay import Authority, TlsRelay

NONE = "persistent_worker:\n  isolation:\n    none: {}\n"
FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


class TlsCase(Case):
    def setUp(self):
        super().setUp()
        self.start_controller()
        self.authority = Authority(self.scratch, "authority")
        self.server = self.authority.sign("server")

    def relay(self, certificate=None, client_authority=None):
        address, port = self.controller.ready["rpc_endpoint"].split("//")[1].split(":")
        relay = TlsRelay((address, int(port)), *(certificate or self.server), client_authority)
        self.addCleanup(relay.close)
        return relay

    def worker(self, url, settings="", wait=True, **variables):
        file = self.scratch / f"w{len(self.daemons)}.yml"
        token = pathlib.Path(self.controller.ready["registration_token_file"]).read_text().strip()
        file.write_text(f"name: w\ntoken: {token}\nrpc:\n  endpoint: {url}\n{settings}")
        file.chmod(0o600)
        worker = Daemon(self.scratch, f"worker-{len(self.daemons)}",
                        ["worker", "run", "-f", str(file), "--data-dir", str(self.scratch / "w")],
                        {**self.environment(), **variables})
        self.daemons.append(worker)
        return worker.start(wait)

    def ca(self, authority=None):
        return f"  ca-file: {(authority or self.authority).certificate}\n"

    def client(self, authority):
        certificate, key = authority.sign("client")
        return f"  client-certificate-file: {certificate}\n  client-key-file: {key}\n"

    def a_task_runs(self):
        task = self.wait_build(self.submit(NONE + "task:\n  name: t\n  script: seq 1 2000\n"),
                               "completed")["tasks"][0]
        self.assertTrue(self.log(task["id"]).endswith(b"1999\n2000\n"))


@unittest.skipUnless(shutil.which("openssl"), "openssl is missing")
class Tls(TlsCase):
    def test_an_authority_of_ones_own(self):
        self.worker(self.relay().url, self.ca())
        self.a_task_runs()

    def test_a_client_certificate_is_shown(self):
        clients = Authority(self.scratch, "clients")
        relay = self.relay(client_authority=clients.certificate)
        self.worker(relay.url, self.ca() + self.client(clients))
        self.a_task_runs()

    def test_each_upstream_has_certificates_of_its_own(self):
        other = Authority(self.scratch, "other")
        first, second = self.relay(), self.relay(other.sign("second"))
        token = pathlib.Path(self.controller.ready["registration_token_file"]).read_text().strip()
        file = self.scratch / "w.yml"
        file.write_text("name: w\nupstreams:\n" + "".join(
            f"  - {{token: {token}, endpoint: '{url}', ca-file: '{authority.certificate}'}}\n"
            for url, authority in ((first.url, self.authority), (second.url, other))))
        worker = Daemon(self.scratch, "worker", ["worker", "run", "-f", str(file), "--data-dir",
                                                 str(self.scratch / "w")], self.environment())
        self.daemons.append(worker)
        worker.start()
        for url in (first.url, second.url):
            eventually(lambda: f"registered on upstream upstream={url}" in worker.log(),
                       f"it is known at {url}")

    def test_what_is_wrong_with_a_certificate_is_said(self):
        other = Authority(self.scratch, "other")
        clients = Authority(self.scratch, "clients")
        plain = self.controller.ready["rpc_endpoint"].replace("http://", "https://")
        for name, url, settings, words in (
                ("an unknown authority", self.relay().url, self.ca(other), "check 'ca-file'"),
                ("another host's", self.relay(self.authority.sign(
                    "elsewhere", alternative="DNS:elsewhere.example")).url, self.ca(),
                 "check 'ca-file', the host's name"),
                ("no client certificate", self.relay(client_authority=clients.certificate).url,
                 self.ca(), "failed to"),
                ("no TLS there", plain, self.ca(), "use http:// for it")):
            with self.subTest(name):
                worker = self.worker(url, settings)
                try:
                    eventually(lambda: words in worker.log(), words)
                finally:
                    worker.stop()

    @unittest.skipUnless(FAKETIME, "libfaketime is missing")
    def test_t21_a_wrong_clock_is_named_when_certificates_are_refused(self):
        clock = self.scratch / "clock"
        clock.write_text("+1461d\n")
        worker = self.worker(self.relay().url, self.ca(), LD_PRELOAD=str(FAKETIME),
                             FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1",
                             FAKETIME_DONT_FAKE_MONOTONIC="1")
        eventually(lambda: "the clock of this machine says 20" in worker.log(), "it is said")
        clock.write_text("+0\n")
        eventually(lambda: "the clock of this machine was set back" in worker.log(), "it is seen")
        # The RPC library waits by the wall clock, so the advice is to start the worker again.
        worker.stop()
        worker.start()
        eventually(lambda: "registered on upstream" in worker.log(), "with a right clock it may")

    def test_doctor_says_the_same(self):
        other = Authority(self.scratch, "other")
        file = self.scratch / "w.yml"
        file.write_text(f"token: t\nrpc:\n  endpoint: {self.relay().url}\n{self.ca(other)}")
        said = self.cli("worker", "doctor", "-f", str(file), "--data-dir", str(self.scratch / "d"),
                        check=1)
        self.assertIn("check 'ca-file', the host's name in the certificate and its dates",
                      said.stdout)


class ConnectProxy:
    """An HTTP proxy that knows CONNECT and counts."""

    def __init__(self):
        proxy = self
        self.connects = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self):
                host, port = self.path.rsplit(":", 1)
                proxy.connects.append(self.path)
                with socket.create_connection(("127.0.0.1", int(port))) as far:
                    self.send_response(200)
                    self.end_headers()
                    pump = threading.Thread(target=proxy.copy, args=(far, self.connection))
                    pump.start()
                    proxy.copy(self.connection, far)
                    pump.join()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@unittest.skipUnless(shutil.which("openssl"), "openssl is missing")
class Proxies(TlsCase):
    """`controller.test` resolves nowhere: only the proxy can reach it."""

    def test_a_proxy_leads_to_a_controller_that_has_no_address_here(self):
        proxy = ConnectProxy()
        self.addCleanup(proxy.close)
        certificate = self.authority.sign("named", alternative="DNS:controller.test")
        relay = self.relay(certificate)
        self.worker(f"https://controller.test:{relay.port}", self.ca(), HTTPS_PROXY=proxy.url)
        self.a_task_runs()
        self.assertIn(f"controller.test:{relay.port}", proxy.connects)

    def test_loopback_needs_no_proxy(self):
        self.worker(self.relay().url, self.ca(), HTTPS_PROXY="http://127.0.0.1:1",
                    https_proxy="http://127.0.0.1:1")
        self.a_task_runs()


if __name__ == "__main__":
    unittest.main()
