"""Variables that a Vault server keeps, as real tasks see them. SPDX-License-Identifier: MIT"""
import hashlib
import http.server
import json
import threading
import unittest

from harness import Case

NONE = "persistent_worker:\n  isolation:\n    none: {}\n  resources:\n    cpu: 1\n"
SECRET = "pa$$w0rd-of-the-database"


class Vault:
    """Speaks as much of Vault's HTTP as agents use: KV version 2 and logins by JWT."""

    def __init__(self):
        vault = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, reply = vault.answer(self.command, self.path, self.headers, body)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            do_GET = do_PUT = do_POST = answer

            def log_message(self, *_):
                pass
        self.calls = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, method, path, headers, body):
        self.calls.append((method, path, headers.get("X-Vault-Namespace")))
        if path == "/v1/auth/jwt/login" and method in ("PUT", "POST"):
            if json.loads(body) == {"jwt": "signed.by.somebody", "role": "ci"}:
                return 200, {"auth": {"client_token": "by-login"}}
            return 400, {"errors": ["error validating token"]}
        if headers.get("X-Vault-Token") not in ("given", "by-login"):
            return 403, {"errors": ["permission denied"]}
        if path == "/v1/secret/data/db":
            return 200, {"data": {"data": {"password": SECRET, "user": "ci"}}}
        return 404, {"errors": []}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class VaultTasks(Case):
    def setUp(self):
        super().setUp()
        self.vault = Vault()
        self.addCleanup(self.vault.close)
        self.start_controller()
        self.start_worker()

    def run_task(self, status, *variables):
        lines = "".join(f"    {line}\n" for line in (f"CIRRUS_VAULT_URL: {self.vault.url}", *variables))
        build = self.submit(NONE + "task:\n  name: t\n  env:\n" + lines +
                            "  script: printf %s \"$DSN\" | sha256sum; echo \"$DSN\"\n")
        return self.wait_build(build, status)["tasks"][0]

    def check(self, *variables):
        task = self.run_task("completed", 'PASSWORD: "VAULT[secret/data/db data.password]"',
                             'USER_NAME: "VAULT[secret/data/db data.user]"',
                             "DSN: db://$USER_NAME:$PASSWORD@host", *variables)
        log = self.log(task["id"]).decode()
        wanted = hashlib.sha256(f"db://ci:{SECRET}@host".encode()).hexdigest()
        self.assertIn(f"\n{wanted}  -\n", log)
        self.assertTrue(log.endswith("\ndb://ci:HIDDEN-BY-CIRRUS-CI@host\n"), log)
        reads = [call for call in self.vault.calls if call[0] == "GET"]
        self.assertEqual(len(reads), 1, "one read serves both variables")

    def test_a_token_opens_variables_that_others_embed(self):
        self.check("CIRRUS_VAULT_TOKEN: given")

    def test_a_signed_identity_logs_in(self):
        self.check("CIRRUS_OIDC_TOKEN: signed.by.somebody", "CIRRUS_VAULT_ROLE: ci",
                   "CIRRUS_VAULT_NAMESPACE: team-a")
        self.assertEqual(self.vault.calls[0], ("PUT", "/v1/auth/jwt/login", "team-a"))

    def test_what_vault_refuses_is_the_reason_of_the_tasks_failure(self):
        for token, path, words in (
                ("wrong", "secret/data/db data.password", "permission denied"),
                ("given", "secret/data/none data.password", "Vault has nothing at 'secret/data/none'"),
                ("given", "secret/data/db data.absent", "there is no 'data.absent'")):
            with self.subTest(words):
                task = self.run_task("failed", f'DSN: "VAULT[{path}]"', f"CIRRUS_VAULT_TOKEN: {token}")
                self.assertIn(words, task["reason"])
                self.assertTrue(task["reason"].startswith("the agent gave up"), task["reason"])
        task = self.run_task("failed", 'DSN: "VAULT[secret/data/db data.password]"',
                             "CIRRUS_OIDC_TOKEN: forged", "CIRRUS_VAULT_ROLE: ci")
        self.assertIn("error validating token", task["reason"])


if __name__ == "__main__":
    unittest.main()
