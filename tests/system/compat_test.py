#!/usr/bin/env python3
"""The HTTP shapes of older services as their clients call them: curl against a real vaultd, with an identity provider
and a token endpoint beside it."""
import contextlib
import hashlib
import http.server
import json
import secrets
import shutil
import sqlite3
import ssl
import subprocess
import threading
import unittest

import house
import moving_in

ANN, BOB = "0b5a4e0c-5f0e-4a57-9f0b-3d3c1f0f6d11", "1c6b5f1d-6a1f-4b68-8a1c-4e4d2a1a7e22"
EVE = "3e8d7b3f-8c3b-4d8a-8c3e-6a6f4c4c9a44"
CREDENTIALS = {"instagram": {"download": {"user": "u", "password": "a-password"}, "session": {"cookie": "a-cookie"}}}

POLICY = {
    "version": 1,
    "roles": {
        "sync": [{"id": "sync", "effect": "allow", "actions": ["store_credential", "reveal_credential"],
                  "resources": ["credential:*/platforms"]}],
        "user": [{"id": "user", "effect": "allow", "actions": ["reveal_credential"],
                  "resources": ["credential:{claim:user}/platforms"]}],
        "broker": [{"id": "broker", "effect": "allow",
                    "actions": ["store_credential", "describe_credential", "reveal_credential", "refresh_credential"],
                    "resources": ["credential:broker/*"]}]},
    "bindings": [{"caller": "secret:sync", "roles": ["sync"]}, {"caller": "directus:*", "roles": ["user"]},
                 {"caller": "secret:broker", "roles": ["broker"]},
                 {"caller": "spiffe://strongroom/app", "roles": ["broker", "sync"]}]}

BUDGETS = {
    "version": 1,
    "tiers": {"user": [{"id": "reveals", "actions": ["reveal_credential"], "quota": {"hour": 3}}], "server": []},
    "bindings": [{"caller": "directus:*", "tier": "user"}], "default": "server"}


class Provider:
    """GET /users/me as Directus has it, and POST /oauth/token (RFC 6749)."""

    def __init__(self, pki):
        self.users, self.asked = {}, []
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, body):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):
                user = provider.users.get(self.headers.get("Authorization", ""))
                self.answer(200 if user else 401, {"data": {"id": user, "role": "editor"}} if user else {"errors": []})

            def do_POST(self):
                provider.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer(200, {"access_token": "a-new-token", "token_type": "bearer", "expires_in": 3600})

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "kmsd.crt", pki / "kmsd.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@unittest.skipUnless(shutil.which("curl"), "curl is not installed")
class OlderShapes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with contextlib.ExitStack() as stack:
            cls.house = stack.enter_context(house.House())
            cls.provider = Provider(cls.house.pki)
            stack.callback(cls.provider.stop)
            cls.kms = cls.house.start("kmsd")
            with contextlib.closing(cls.house.client(cls.kms, "operator")) as operator:
                assert operator.call("POST", "/v1/keys", {"alias": "credentials"}).status == 201
            cls.secrets = {name: secrets.token_urlsafe(32) for name in ("sync", "broker")}
            cls.bearers = {user: secrets.token_urlsafe(24) for user in (ANN, BOB, EVE)}
            cls.provider.users = {f"Bearer {bearer}": user for user, bearer in cls.bearers.items()}
            cls.configure()
            cls.fail_to_count(EVE)
            cls.vault = cls.house.start("vaultd")
            cls.tool = moving_in.Tool(cls.house, cls.vault)
            cls.stack = stack.pop_all()

    @classmethod
    def configure(cls):
        folder = cls.house.folder / "vaultd"
        for name, secret in cls.secrets.items():
            cls.house.write(folder / f"{name}.hash", "sha256:" + hashlib.sha256(secret.encode()).hexdigest())
        cls.socket = folder / "vaultd.sock"
        cls.house.configure("vaultd", {
            "listen": {"address": "127.0.0.1", "port": 0, "also": [{"address": f"unix:{cls.socket}", "mode": "0600"}]},
            "identity": {
                "introspection": {"url": cls.provider.url, "ca": "../pki/ca.crt"},
                "shared_secrets": {"header": "X-RBAC-SYNC-SECRET", "also": ["X-API-Key"],
                                   "callers": [{"name": name, "hash_files": [f"{name}.hash"]} for name in cls.secrets]}},
            "compat": {"shared_secret": {},
                       "broker": {"default_client": "main",
                                  "refresh": {"endpoints": [{"url": cls.provider.url + "/oauth/token",
                                                             "ca": "../pki/ca.crt"}]}}},
            "budgets": {"file": "budgets.json"}}, cls.kms.port)
        cls.house.write(folder / "policy.json", json.dumps(POLICY))
        cls.house.write(folder / "budgets.json", json.dumps(BUDGETS))

    @classmethod
    def fail_to_count(cls, user):
        """The store takes nothing of that user's budgets. A running vaultd has its database for itself."""
        cls.house.start("vaultd").stop()  # makes the tables
        with contextlib.closing(sqlite3.connect(cls.house.folder / "vaultd" / "vault.db")) as store, store:
            store.execute(f"CREATE TRIGGER fails BEFORE INSERT ON budget_counters WHEN NEW.caller = 'directus:{user}' "
                          "BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END")

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def curl(self, method, path, body=None, headers=(), certificate=None, socket=None):
        """Status and JSON of the answer. Secrets go by files, never as arguments."""
        file = self.house.folder / "curl.headers"
        file.touch(0o600)
        file.write_text("".join(f"{name}: {value}\n" for name, value in headers))
        data = self.house.folder / "curl.body"
        command = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", self.house.pki / "ca.crt", "-X", method,
                   "-H", f"@{file}", "-w", "\n%{http_code}"]
        if body is not None:
            data.write_text(json.dumps(body))
            command += ["-H", "Content-Type: application/json", "--data-binary", f"@{data}"]
        if certificate:
            command += ["--cert", self.house.pki / f"{certificate}.crt", "--key", self.house.pki / f"{certificate}.key"]
        if socket:
            command += ["--unix-socket", socket]
        done = subprocess.run([*map(str, command), f"https://127.0.0.1:{self.vault.port}{path}"], capture_output=True,
                              text=True, check=True, timeout=60)
        text, status = done.stdout.rsplit("\n", 1)
        return int(status), json.loads(text)

    def sync(self, name, body, user=None, secret=None):
        headers = [("X-RBAC-SYNC-SECRET", secret or self.secrets["sync"])]
        if user:
            headers.append(("Authorization", f"Bearer {self.bearers[user]}"))
        return self.curl("POST", f"/api/credentials/{name}", body, headers)

    def records(self):
        return [json.loads(line) for line in (self.house.folder / "vaultd/audit/audit.jsonl").read_text().splitlines()]

    def test_a_server_stores_and_reveals(self):
        status, answer = self.sync("store", {"creatorProfileId": ANN, "credentials": CREDENTIALS})
        self.assertEqual((status, answer["success"], answer["creatorProfileId"], set(answer)),
                         (200, True, ANN, {"success", "creatorProfileId", "id"}))
        self.assertEqual(self.sync("reveal", {"creatorProfileId": ANN}), (200, {"success": True, "credentials": CREDENTIALS}))
        selector = {"creatorProfileId": ANN, "platform": "instagram"}
        self.assertEqual(self.sync("reveal-download-cred", selector)[1]["credentials"], CREDENTIALS["instagram"]["download"])
        self.assertEqual(self.sync("get-platform-session", selector)[1]["session"], CREDENTIALS["instagram"]["session"])
        self.assertEqual(self.sync("reveal", {}), (400, {"success": False, "error": "creatorProfileId required"}))
        self.assertEqual(self.sync("store", {"creatorProfileId": ANN}),
                         (400, {"success": False, "error": "credentials object required"}))
        refused = (401, {"success": False, "error": "Unauthorized"})
        self.assertEqual(self.sync("reveal", {"creatorProfileId": ANN}, secret="x" * 43), refused)
        self.assertEqual(self.curl("POST", "/api/credentials/reveal", {"creatorProfileId": ANN}), refused)
        large = {"creatorProfileId": ANN, "credentials": {"a": "x" * 200_000}}
        status, answer = self.sync("store", large)
        self.assertEqual((status, answer["success"], set(answer)), (413, False, {"success", "error"}))

    def test_a_user_is_entitled_or_refused_and_has_a_quota(self):
        self.sync("store", {"creatorProfileId": BOB, "credentials": CREDENTIALS})
        wanted = {"creatorProfileId": BOB}
        self.assertEqual(self.sync("reveal", wanted, ANN), (403, {"success": False, "error": "Forbidden"}))
        for _ in range(3):
            self.assertEqual(self.sync("reveal", wanted, BOB)[0], 200)
        self.assertEqual(self.sync("reveal", wanted, BOB),
                         (429, {"success": False, "error": "quota_exceeded", "remaining": 0}))
        self.assertEqual(self.sync("reveal", wanted)[0], 200)
        named = [record for record in self.records() if record.get("user", {}).get("id") == f"directus:{ANN}"]
        self.assertEqual([record["outcome"] for record in named], ["denied"])
        self.assertEqual(named[0]["caller"]["id"], "secret:sync")

    def test_whose_budget_the_store_does_not_take_gets_nothing(self):
        wanted = {"creatorProfileId": EVE}
        self.sync("store", {**wanted, "credentials": CREDENTIALS})
        status, answer = self.curl("POST", f"/v1/owners/{EVE}/credentials/platforms/reveal",
                                   headers=[("Authorization", f"Bearer {self.bearers[EVE]}")])
        self.assertEqual((status, answer["error"]["code"]), (503, "quota_check_failed"))
        self.assertNotIn("disk", json.dumps(answer))
        self.assertEqual(self.sync("reveal", wanted, EVE),
                         (429, {"success": False, "error": "quota_check_failed", "remaining": 0}))
        self.assertEqual(self.sync("reveal", wanted)[0], 200, "who has no quota")

    def test_a_broker_keeps_a_token_and_replaces_it_when_it_has_expired(self):
        key = [("X-API-Key", self.secrets["broker"])]
        record = {"client_id": "main", "access_token": "an-old-token", "facebook_page_id": "1001",
                  "token_expires_at": "2020-01-01T00:00:00Z",
                  "refresh": {"token_endpoint": self.provider.url + "/oauth/token", "client_id": "c",
                              "client_secret": "a-client-secret", "refresh_token": "a-refresh-token"}}
        before = len(self.records())
        self.assertEqual(self.curl("POST", "/api/credentials", record, key)[0], 201)
        status, shown = self.curl("GET", "/api/credentials", headers=key)
        self.assertEqual((status, shown["facebook_page_id"], "access_token" in shown), (200, "1001", False))
        for path in ("/api/credentials", "/api/credentials/token"):
            self.assertEqual(self.curl("GET", path), (401, {"error": "Unauthorized"}))
        # A caller on the same host, by the socket and its certificate.
        status, token = self.curl("GET", "/api/credentials/token", certificate="app", socket=self.socket)
        self.assertEqual((status, token["access_token"], token["token_expired"]), (200, "a-new-token", False))
        self.assertEqual(self.provider.asked, ["grant_type=refresh_token&refresh_token=a-refresh-token"])
        self.assertEqual(self.curl("GET", "/api/credentials/token", headers=key)[1]["access_token"], "a-new-token")
        self.assertEqual(len(self.provider.asked), 1)
        fetches = [record for record in self.records()[before:] if "token_expired" in record["facts"]]
        self.assertEqual([(record["outcome"], record["facts"]["token_expired"], record["facts"].get("token_refresh")) for record in fetches],
                         [("intent", "true", "begun"), ("ok", "true", "refreshed"), ("ok", "false", None)])
        elsewhere = {**record, "refresh": {**record["refresh"], "token_endpoint": "https://169.254.169.254/token"}}
        self.assertEqual(self.curl("POST", "/api/credentials", elsewhere, key),
                         (400, {"error": "refresh.token_endpoint is not allowed here"}))

    def test_a_broker_hands_out_what_was_encrypted_before(self):
        rows = [{"client": f"moved-{i}", "token": moving_in.envelope(f"an-imported-token-{i}"), "page": f"20{i}", "expires": expires}
                for i, expires in enumerate(["2030-01-31 14:00:00+02", "2020-01-31 12:00:00+00", None])]
        report = self.tool.report(
            "import", "file", self.tool.lines("broker.jsonl", rows), "--format", "envelope", "--old-keys-file", self.tool.keys,
            "--column", "token", "--wrap", "access_token", "--plain-column", "client=client_id",
            "--plain-column", "page=facebook_page_id", "--plain-time", "expires=token_expires_at", "--owner", "broker",
            "--name", "{client}", "--metadata", "client", "--metadata", "page", "--metadata", "expires", "--expires-at", "expires")
        self.assertEqual((report["imported"] + report["already_there"], report["failed"]), (3, 0))
        key = [("X-API-Key", self.secrets["broker"])]
        for i, expires in enumerate(["2030-01-31T12:00:00.000Z", "2020-01-31T12:00:00.000Z", None]):
            known = {"client_id": f"moved-{i}", "facebook_page_id": f"20{i}"}
            if expires:
                known["token_expires_at"] = expires
            self.assertEqual(self.curl("GET", f"/api/credentials/token?client_id=moved-{i}", headers=key),
                             (200, {**known, "access_token": f"an-imported-token-{i}", "token_expired": i == 1}))
            status, shown = self.curl("GET", f"/api/credentials?client_id=moved-{i}", headers=key)
            shown.pop("updated_at")
            self.assertEqual((status, shown), (200, known))

    def test_a_server_reveals_what_was_encrypted_before(self):
        profile = "2D7C6A2E-7B2A-4C79-9B2D-5F5E3B2B8F33"
        file = self.tool.lines("profiles.jsonl", [{"profile": profile, "credentials": moving_in.envelope(CREDENTIALS)}])
        report = self.tool.report("import", "file", file, "--format", "envelope", "--old-keys-file", self.tool.keys,
                                  "--column", "credentials", "--owner", "{profile}", "--owner-uuid", "--name", "platforms")
        self.assertEqual((report["imported"] + report["already_there"], report["failed"]), (1, 0))
        for spelling in (profile, profile.lower()):
            self.assertEqual(self.sync("reveal", {"creatorProfileId": spelling}),
                             (200, {"success": True, "credentials": CREDENTIALS}))

    def test_nothing_secret_is_left_in_files_or_logs(self):
        self.sync("store", {"creatorProfileId": ANN, "credentials": CREDENTIALS})
        self.sync("reveal", {"creatorProfileId": ANN})
        said = self.vault.log.read_bytes()
        for path in (self.house.folder / "vaultd").rglob("*"):
            if path.is_file():
                said += path.read_bytes()
        self.assertIn(b"reveal_credential", said)
        for secret in ("a-password", "a-cookie", "an-old-token", "a-new-token", "a-client-secret", "a-refresh-token",
                       *self.secrets.values(), *self.bearers.values()):
            self.assertNotIn(secret.encode(), said)


if __name__ == "__main__":
    house.main()
