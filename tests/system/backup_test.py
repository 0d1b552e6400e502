#!/usr/bin/env python3
"""The drill: back both databases up while the daemons work, put the copies back elsewhere, and open every record."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import unittest

import house

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import postgresql  # noqa: E402

EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]} for name in ("operator", "app", "vaultd")]}


class Drill(unittest.TestCase):
    """What both drills have in common."""

    def setUp(self):
        self.house = self.enterContext(house.House())

    def start_with(self, name, store, kms_port=0):
        self.house.configure(name, {"store": store}, kms_port=kms_port)
        self.house.write(self.house.folder / name / "policy.json", json.dumps(EVERYTHING))
        return self.house.start(name)

    def make_master_key(self, kms):
        with contextlib.closing(self.house.client(kms, "operator")) as operator:
            self.assertEqual(operator.call("POST", "/v1/keys", {"alias": "credentials"}).status, 201)

    def write_during(self, vault, back_up):
        """Stores credentials all the while; the secrets that were acknowledged before the backup, and all."""
        secrets, stopping = {}, threading.Event()

        def write():
            with contextlib.closing(self.house.client(vault, "app")) as client:
                while not stopping.is_set():
                    name, secret = f"c{len(secrets)}", {"token": os.urandom(12).hex()}
                    stored = client.call("PUT", house.credential_path("acme", name), {"secret": secret})
                    assert stored.status == 201, stored
                    secrets[name] = secret

        writer = threading.Thread(target=write)
        writer.start()
        try:
            house.wait_until(lambda: len(secrets) >= 20, "some credentials")
            before = dict(secrets)
            back_up()
            house.wait_until(lambda: len(secrets) > len(before), "the vault goes on")
        finally:
            stopping.set()
            writer.join()
        return before, secrets

    def check(self, vault, before, secrets):
        """Everything from before the backup opens. What came after it is whole or not there, never half."""
        with contextlib.closing(self.house.client(vault, "app")) as client:
            for name, secret in before.items():
                seen = client.call("POST", house.credential_path("acme", name, "/reveal"))
                self.assertEqual((seen.status, seen.json().get("secret")), (200, secret), name)
            for name in set(secrets) - set(before):
                seen = client.call("POST", house.credential_path("acme", name, "/reveal"))
                self.assertIn((seen.status, seen.json().get("secret")), ((200, secrets[name]), (404, None)))


class SqliteDrill(Drill):
    def start(self, name, file, kms_port=0):
        return self.start_with(name, {"sqlite": file, "backup_directory": "backups"}, kms_port)

    def tool(self, name, daemon, *arguments):
        pki = self.house.pki
        return subprocess.run([self.house.bin / name, "--json", "--url", f"https://127.0.0.1:{daemon.port}", "--ca", pki / "ca.crt",
                               "--certificate", pki / "operator.crt", "--key-file", pki / "operator.key", *arguments],
                              capture_output=True, text=True, check=False)

    def back_up(self, name, daemon):
        done = self.tool(name, daemon, "backup")
        self.assertEqual(done.returncode, 0, done.stderr)
        made = json.loads(done.stdout)
        file = self.house.folder / daemon.name / "backups" / made["file"]
        self.assertEqual(file.stat().st_size, made["bytes"])
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        return file

    def restore(self, name, daemon, backup, file):
        to = self.house.folder / daemon.name / file
        done = self.tool(name, daemon, "restore", backup, to)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(to.stat().st_mode & 0o777, 0o600)
        house.give(to)  # it was made by who ran the tool
        again = self.tool(name, daemon, "restore", backup, to)
        self.assertEqual(again.returncode, 1)
        self.assertIn("is there already", again.stderr)

    def test_every_record_opens_after_a_backup_under_load_was_restored(self):
        kms = self.start("kmsd", "kms.db")
        self.make_master_key(kms)
        vault = self.start("vaultd", "vault.db", kms.port)
        backups = []
        before, secrets = self.write_during(
            vault, lambda: backups.extend((self.back_up("vaultctl", vault), self.back_up("kmsctl", kms))))
        vault_backup, kms_backup = backups
        # The disaster: both databases are lost. The token stays, or is restored by its own means.
        for daemon in (vault, kms):
            daemon.stop()
        self.restore("vaultctl", vault, vault_backup, "restored.db")
        self.restore("kmsctl", kms, kms_backup, "restored.db")
        kms = self.start("kmsd", "restored.db")
        vault = self.start("vaultd", "restored.db", kms.port)
        self.check(vault, before, secrets)
        with vault_backup.open("r+b") as damaged:
            damaged.seek(4096 + 100)
            damaged.write(b"\xff" * 4096)
        refused = self.tool("vaultctl", vault, "restore", vault_backup, self.house.folder / "vaultd" / "other.db")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("damaged", refused.stderr)
        self.assertFalse((self.house.folder / "vaultd" / "other.db").exists())


class PostgresqlDrill(Drill):
    """By the server's own tools, as deploy/README.md has it: from one server to another."""

    def setUp(self):
        if postgresql.programs() is None:
            self.skipTest("the package postgresql is not installed")
        super().setUp()
        self.server = self.start_server()

    def start_server(self):
        server = postgresql.Server(fsync="on")
        self.addCleanup(server.end)
        return server

    def start(self, name, server, kms_port=0):
        return self.start_with(name, server.config(schema=name), kms_port)

    def run_tool(self, tool, server, *arguments):
        done = subprocess.run([f"{server.bin}/{tool}", "--host", server.folder, "--port", str(server.port), "--username", "postgres",
                               *arguments], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
        self.assertEqual(done.returncode, 0, done.stderr)

    def dump(self, name):
        self.run_tool("pg_dump", self.server, "--format=custom", f"--schema={name}",
                      f"--file={self.house.folder / name}.dump", "postgres")

    def test_every_record_opens_after_a_dump_under_load_was_restored_on_another_server(self):
        kms = self.start("kmsd", self.server)
        self.make_master_key(kms)
        vault = self.start("vaultd", self.server, kms.port)
        before, secrets = self.write_during(vault, lambda: (self.dump("vaultd"), self.dump("kmsd")))
        # The disaster: the server is lost, with both databases.
        for daemon in (vault, kms):
            daemon.stop()
        self.server.end()
        other = self.start_server()
        for name in ("kmsd", "vaultd"):
            self.run_tool("pg_restore", other, "--dbname=postgres", f"{self.house.folder / name}.dump")
        kms = self.start("kmsd", other)
        vault = self.start("vaultd", other, kms.port)
        self.check(vault, before, secrets)
        # And it is a store like any other: it takes new versions, and is moved to another version of the master key.
        with contextlib.closing(self.house.client(kms, "operator")) as operator:
            self.assertEqual(operator.call("POST", "/v1/keys/alias/credentials/rotate").status, 200)
        with contextlib.closing(self.house.client(vault, "operator")) as operator:
            stored = operator.call("PUT", house.credential_path("acme", "c0"), {"secret": {"a": "new"}})
            self.assertEqual((stored.status, stored.json()["version"], stored.json()["key_version"]), (200, 2, 2))
            job = operator.call("POST", "/v1/rewrap-jobs").json()
            over = house.wait_until(lambda: (seen := operator.call("GET", "/v1/rewrap-jobs/" + job["id"]).json())["state"] ==
                                    "completed" and seen, "the rewrap job's end")
            self.assertTrue(over["safe_to_retire"]["safe"], over)
        before["c0"] = secrets["c0"] = {"a": "new"}
        self.check(vault, before, secrets)


if __name__ == "__main__":
    house.main()
