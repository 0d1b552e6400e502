#!/usr/bin/env python3
"""Stores that are written through to a real Directus, and read back from it; its users, by their tokens there. Opt-in,
since Directus is several hundred megabytes: STRONGROOM_DIRECTUS names a folder in which `npm install directus` was run.
Without it the test says so."""
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import secrets
import socket
import ssl
import subprocess
import threading
import time
import unittest

import house

FOLDER = os.environ.get("STRONGROOM_DIRECTUS", "")
PROGRAM = pathlib.Path(FOLDER) / "node_modules" / ".bin" / "directus"
PATIENCE_SECONDS = 180  # Directus makes its tables when it is bootstrapped
PROFILE, OTHER = "0b5a4e0c-5f0e-4a57-9f0b-3d3c1f0f6d11", "1c6b5f1d-6a1f-4b68-8a1c-4e4d2a1a7e22"
THIRD = "2d7c6a2e-7b2a-4c79-9b2d-5f5e3b2b8f33"
SECRET = {"instagram": {"download": {"password": "a-password-marker"}}}
ROLE = [{"id": "sync", "effect": "allow",
         "actions": ["store_credential", "reveal_credential", "delete_credential"], "resources": ["credential:*/platforms"]}]
# A user's profile has the user's id.
OWN = [{"id": "own", "effect": "allow", "actions": ["reveal_credential"], "resources": ["credential:{claim:user}/platforms"]}]
COPIED = ["encrypted_credentials", "credentials_version", "credentials_updated_at"]
FORBIDDEN, UNAUTHORIZED = ((status, {"success": False, "error": error}) for status, error in ((403, "Forbidden"), (401, "Unauthorized")))


def pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class TlsFront:
    """TLS before a server that has none, as a proxy before Directus does it."""

    def __init__(self, pki, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "kmsd.crt", pki / "kmsd.key")
        self.context, self.port = context, port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError), self.context.wrap_socket(client, server_side=True) as secure, \
                socket.create_connection(("127.0.0.1", self.port)) as behind:
            back = threading.Thread(target=pump, args=(behind, secure), daemon=True)
            back.start()
            pump(secure, behind)
            back.join()

    def stop(self):
        self.listener.close()


class Directus:
    def __init__(self, folder):
        self.port = self.free_port()
        self.admin = secrets.token_urlsafe(24)
        self.environment = {**os.environ, "KEY": secrets.token_hex(8), "SECRET": secrets.token_hex(16), "DB_CLIENT": "sqlite3",
                            "DB_FILENAME": str(folder / "directus.db"), "ADMIN_EMAIL": "admin@example.com",
                            "ADMIN_PASSWORD": secrets.token_urlsafe(12), "ADMIN_TOKEN": self.admin, "HOST": "127.0.0.1",
                            "PORT": str(self.port), "TELEMETRY": "false", "STORAGE_LOCAL_ROOT": str(folder / "uploads"),
                            "EXTENSIONS_PATH": str(folder / "extensions")}
        subprocess.run([PROGRAM, "bootstrap"], env=self.environment, cwd=FOLDER, check=True, timeout=PATIENCE_SECONDS,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen([PROGRAM, "start"], env=self.environment, cwd=FOLDER, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        house.wait_until(self.is_up, "Directus answers", PATIENCE_SECONDS)

    @staticmethod
    def free_port():
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return probe.getsockname()[1]

    def is_up(self):
        with contextlib.suppress(OSError):
            return self.call("GET", "/server/ping", parse=False)[0] == 200
        return False

    def exchange(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer, answer.read()

    def call(self, method, path, body=None, token=None, parse=True):
        answer, text = self.exchange(method, path, body, {"Authorization": f"Bearer {token or self.admin}"})
        return answer.status, json.loads(text) if parse and text else None

    def make(self, path, body):
        status, said = self.call("POST", path, body)
        assert status == 200, said
        return said["data"]

    def user(self, name, **more):
        return self.make("/users", {"email": f"{name}@example.com", "password": f"{name}-{self.port}", "status": "active", **more})["id"]

    def log_in(self, name):
        """An access token."""
        return json.loads(self.log_in_by(name, "json")[1])["data"]["access_token"]

    def log_in_by(self, name, mode):
        return self.exchange("POST", "/auth/login", {"email": f"{name}@example.com", "password": f"{name}-{self.port}", "mode": mode}, {})

    def begin_session(self, name):
        """The token of a session, which comes in a cookie."""
        return self.log_in_by(name, "session")[0].getheader("Set-Cookie").split(";")[0].removeprefix("directus_session_token=")

    def end_session(self, token):
        answer, text = self.exchange("POST", "/auth/logout", {"mode": "session"}, {"Cookie": f"directus_session_token={token}"})
        assert answer.status == 204, text

    def signed(self, claims):
        """A token as Directus makes them, which are JWTs under its SECRET."""
        def encoded(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")
        parts = b".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        mac = hmac.new(self.environment["SECRET"].encode(), parts, hashlib.sha256).digest()
        return (parts + b"." + encoded(mac)).decode()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@unittest.skipUnless(FOLDER and PROGRAM.exists(), "STRONGROOM_DIRECTUS names no folder with a Directus from npm")
class RealDirectus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with contextlib.ExitStack() as stack:
            cls.house = stack.enter_context(house.House())
            cls.directus = Directus(cls.house.folder)
            stack.callback(cls.directus.stop)
            cls.front = TlsFront(cls.house.pki, cls.directus.port)
            stack.callback(cls.front.stop)
            cls.make_collection()
            cls.make_users()
            cls.kms = cls.house.start("kmsd")
            with contextlib.closing(cls.house.client(cls.kms, "operator")) as operator:
                assert operator.call("POST", "/v1/keys", {"alias": "credentials"}).status == 201
            cls.secret = secrets.token_urlsafe(32)
            cls.configure()
            cls.vault = cls.house.start("vaultd")
            cls.stack = stack.pop_all()

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    @classmethod
    def make_collection(cls):
        fields = [{"field": "id", "type": "uuid", "schema": {"is_primary_key": True, "is_nullable": False}},
                  {"field": "encrypted_credentials", "type": "text"},
                  {"field": "credentials_version", "type": "integer"},
                  {"field": "credentials_updated_at", "type": "timestamp"}]
        status, said = cls.directus.call("POST", "/collections", {"collection": "creator_profiles", "schema": {}, "meta": {},
                                                                  "fields": [{**field, "meta": {}} for field in fields]})
        assert status == 200, said
        status, said = cls.directus.call("POST", "/items/creator_profiles", {"id": PROFILE})
        assert status == 200, said

    @classmethod
    def make_users(cls):
        """Two with a profile each; and whom vaultd writes as, with the rights that it needs and no other."""
        cls.ids = {name: cls.directus.user(name) for name in ("ann", "bob")}
        for profile in cls.ids.values():
            cls.directus.make("/items/creator_profiles", {"id": profile})
        policy = cls.directus.make("/policies", {"name": "copies", "app_access": False, "admin_access": False})["id"]
        for action, fields in (("read", ["id", *COPIED]), ("update", COPIED)):
            cls.directus.make("/permissions", {"policy": policy, "collection": "creator_profiles", "action": action, "fields": fields,
                                               "permissions": {}})
        cls.writer = secrets.token_urlsafe(24)
        cls.directus.make("/access", {"user": cls.directus.user("vault", token=cls.writer), "policy": policy})

    @classmethod
    def configure(cls):
        folder = cls.house.folder / "vaultd"
        cls.house.write(folder / "sync.hash", "sha256:" + hashlib.sha256(cls.secret.encode()).hexdigest())
        cls.house.write(folder / "directus.token", cls.writer + "\n")
        os.chmod(folder / "directus.token", 0o600)
        cls.house.configure("vaultd", {
            "identity": {"introspection": {"url": cls.front.url, "ca": "../pki/ca.crt", "deadline_ms": 10000},
                         "shared_secrets": {"header": "X-RBAC-SYNC-SECRET",
                                            "callers": [{"name": "sync", "hash_files": ["sync.hash"]}]}},
            "compat": {"shared_secret": {"directus": {
                "url": cls.front.url, "ca": "../pki/ca.crt", "collection": "creator_profiles",
                "token": {"file": "directus.token"}, "deadline_ms": 10000, "read_back": True}}}}, cls.kms.port)
        cls.house.write(folder / "policy.json", json.dumps({
            "version": 1, "roles": {"sync": ROLE, "own": OWN},
            "bindings": [{"caller": "secret:sync", "roles": ["sync"]}, {"caller": "directus:*", "roles": ["own"]},
                         {"caller": "spiffe://strongroom/operator", "roles": ["sync"]}]}))

    def ask(self, route, body, bearer=None):
        context = ssl.create_default_context(cafile=self.house.pki / "ca.crt")
        connection = http.client.HTTPSConnection("127.0.0.1", self.vault.port, timeout=30, context=context)
        with contextlib.closing(connection):
            user = {"Authorization": f"Bearer {bearer}"} if bearer else {}
            connection.request("POST", f"/api/credentials/{route}", json.dumps(body),
                               {"X-RBAC-SYNC-SECRET": self.secret, "Content-Type": "application/json", **user})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def reveal(self, whose, bearer):
        return self.ask("reveal", {"creatorProfileId": self.ids[whose]}, bearer)

    def store(self, whose):
        """What a reveal gives then."""
        status, said = self.ask("store", {"creatorProfileId": self.ids[whose], "credentials": SECRET})
        self.assertEqual(status, 200, said)
        return 200, {"success": True, "credentials": SECRET}

    def item(self):
        return self.directus.call("GET", f"/items/creator_profiles/{PROFILE}")[1]["data"]

    def test_a_store_stands_in_the_collection_sealed_and_is_read_back_from_there(self):
        for version in (1, 2):
            secret = {**SECRET, "n": version}
            status, said = self.ask("store", {"creatorProfileId": PROFILE, "credentials": secret})
            self.assertEqual((status, said["success"]), (200, True), said)
            item = self.item()
            self.assertEqual(item["credentials_version"], version)
            self.assertTrue(item["credentials_updated_at"])
            self.assertEqual(json.loads(item["encrypted_credentials"])["__enc"], 3)
            self.assertNotIn("a-password-marker", item["encrypted_credentials"])
            self.assertEqual(self.ask("reveal", {"creatorProfileId": PROFILE}), (200, {"success": True, "credentials": secret}))
        sealed = json.loads(item["encrypted_credentials"])
        sealed["ct"] = "AAAA" + sealed["ct"][4:]
        self.directus.call("PATCH", f"/items/creator_profiles/{PROFILE}", {"encrypted_credentials": json.dumps(sealed)})
        self.assertEqual(self.ask("reveal", {"creatorProfileId": PROFILE})[0], 422)

    def test_a_delete_empties_the_item_and_of_one_that_is_not_there_nothing_is_left(self):
        path = f"/v1/owners/{THIRD}/credentials/platforms"
        self.assertEqual(self.directus.call("POST", "/items/creator_profiles", {"id": THIRD})[0], 200)
        with contextlib.closing(self.house.client(self.vault, "operator")) as operator:
            for gone in (False, True):
                stored = operator.call("PUT", path, {"secret": SECRET})
                self.assertIn(stored.status, (200, 201), stored.body)
                if gone:
                    self.directus.call("DELETE", f"/items/creator_profiles/{THIRD}")
                destroyed = operator.call("DELETE", path)
                self.assertEqual(destroyed.status, 200, destroyed.body)
                if not gone:
                    item = self.directus.call("GET", f"/items/creator_profiles/{THIRD}")[1]["data"]
                    self.assertEqual(item, {"id": THIRD, "encrypted_credentials": None, "credentials_version": None,
                                            "credentials_updated_at": None})

    def test_a_user_who_is_logged_in_reveals_the_own_profile_and_no_other(self):
        given = self.store("ann")
        ann, bob = (self.directus.log_in(name) for name in ("ann", "bob"))
        self.assertEqual(self.reveal("ann", ann), given)
        self.assertEqual(self.reveal("ann", bob), FORBIDDEN)
        records = [json.loads(line) for line in (self.house.folder / "vaultd/audit/audit.jsonl").read_text().splitlines()]
        named = [(record["user"]["id"], record["outcome"]) for record in records if "user" in record]
        for name, outcome in (("ann", "ok"), ("bob", "denied")):
            self.assertIn((f"directus:{self.ids[name]}", outcome), named)

    def test_a_session_that_was_ended_opens_nothing_any_more(self):
        given = self.store("ann")
        token = self.directus.begin_session("ann")
        self.assertEqual(self.reveal("ann", token), given)
        self.directus.end_session(token)
        self.assertEqual(self.reveal("ann", token), UNAUTHORIZED)

    def test_a_static_token_that_was_taken_back_opens_nothing_any_more(self):
        given = self.store("bob")
        token = secrets.token_urlsafe(24)
        for held, answer in ((token, given), (None, UNAUTHORIZED)):
            self.assertEqual(self.directus.call("PATCH", f"/users/{self.ids['bob']}", {"token": held})[0], 200)
            self.assertEqual(self.reveal("bob", token), answer)

    def test_a_token_that_has_expired_or_is_none_is_refused(self):
        given = self.store("ann")
        user = {"id": self.ids["ann"], "role": None, "app_access": False, "admin_access": False, "iss": "directus"}
        now = int(time.time())
        for seconds, answer in ((3600, given), (-60, UNAUTHORIZED)):
            token = self.directus.signed({**user, "iat": now - 3600, "exp": now + seconds})
            self.assertEqual(self.reveal("ann", token), answer)
        self.assertEqual(self.reveal("ann", token[:-4] + "AAAA"), UNAUTHORIZED)
        self.assertEqual(self.reveal("ann", "no-token-at-all"), UNAUTHORIZED)

    def test_the_token_that_vaultd_writes_with_is_good_for_the_copies_alone(self):
        path = f"/items/creator_profiles/{PROFILE}"
        self.assertEqual(self.directus.call("GET", path, token=self.writer)[0], 200)
        for method, other, body in (("DELETE", path, None), ("POST", "/items/creator_profiles", {"id": OTHER}),
                                    ("PATCH", path, {"id": OTHER}), ("GET", f"/users/{self.ids['ann']}", None),
                                    ("GET", "/collections", None)):
            status, said = self.directus.call(method, other, body, token=self.writer)
            self.assertEqual(status, 403, (method, other, said))

    def test_a_profile_that_directus_does_not_have_is_refused(self):
        status, said = self.ask("store", {"creatorProfileId": OTHER, "credentials": SECRET})
        self.assertEqual((status, said["success"]), (503, False), said)


if __name__ == "__main__":
    house.main()
