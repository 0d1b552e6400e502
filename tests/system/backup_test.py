#!/usr/bin/env python3
"""The drill: back both databases up while the daemons work, put the copies back elsewhere, and open every record."""
import contextlib
import json
import os
import subprocess
import threading
import unittest

import house

EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]} for name in ("operator", "app", "vaultd")]}


class Drill(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        for name in ("kmsd", "vaultd"):
            self.house.write(self.house.folder / name / "policy.json", json.dumps(EVERYTHING))

    def start(self, name, file, kms_port=0, port=0):
        self.house.configure(name, {"store": {"sqlite": file, "backup_directory": "backups"},
                                    "listen": {"address": "127.0.0.1", "port": port}}, kms_port=kms_port)
        self.house.write(self.house.folder / name / "policy.json", json.dumps(EVERYTHING))
        return self.house.start(name)

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
        self.house._give(to)  # it was made by who ran the tool
        again = self.tool(name, daemon, "restore", backup, to)
        self.assertEqual(again.returncode, 1)
        self.assertIn("is there already", again.stderr)

    def test_every_record_opens_after_a_backup_under_load_was_restored(self):
        kms = self.start("kmsd", "kms.db")
        with contextlib.closing(self.house.client(kms, "operator")) as operator:
            self.assertEqual(operator.call("POST", "/v1/keys", {"alias": "credentials"}).status, 201)
        vault = self.start("vaultd", "vault.db", kms.port)
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
            vault_backup, kms_backup = self.back_up("vaultctl", vault), self.back_up("kmsctl", kms)
            house.wait_until(lambda: len(secrets) > len(before), "the vault goes on")
        finally:
            stopping.set()
            writer.join()
        # The disaster: both databases are lost. The token stays, or is restored by its own means.
        for daemon in (vault, kms):
            daemon.stop()
        self.restore("vaultctl", vault, vault_backup, "restored.db")
        self.restore("kmsctl", kms, kms_backup, "restored.db")
        kms = self.start("kmsd", "restored.db")
        vault = self.start("vaultd", "restored.db", kms.port)
        with contextlib.closing(self.house.client(vault, "app")) as client:
            listed = client.call("GET", "/v1/owners/acme/credentials?limit=100").json()["credentials"]
            self.assertLessEqual(set(before), {each["name"] for each in listed} | set(before))
            for name, secret in before.items():
                seen = client.call("POST", house.credential_path("acme", name, "/reveal"))
                self.assertEqual((seen.status, seen.json().get("secret")), (200, secret), name)
            # What came after the backup is whole or not there, never half.
            for name in set(secrets) - set(before):
                seen = client.call("POST", house.credential_path("acme", name, "/reveal"))
                self.assertIn((seen.status, seen.json().get("secret")), ((200, secrets[name]), (404, None)))
        with vault_backup.open("r+b") as damaged:
            damaged.seek(4096 + 100)
            damaged.write(b"\xff" * 4096)
        refused = self.tool("vaultctl", vault, "restore", vault_backup, self.house.folder / "vaultd" / "other.db")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("damaged", refused.stderr)
        self.assertFalse((self.house.folder / "vaultd" / "other.db").exists())


if __name__ == "__main__":
    house.main()
