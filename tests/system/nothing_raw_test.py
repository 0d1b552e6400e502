#!/usr/bin/env python3
"""No PIN, no data key and no secret lies raw where a thief of the environment, a reader of logs or
a copier of files would find it: both daemons work, then everything they show is searched."""
import base64
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import house

SECRET = {"access_token": "EAAGm0PX4ZCpsBAJ7tokenneverraw", "cookies": [{"name": "c_user", "value": "cookie-never-raw-81"}],
          "password": "Sesam-öffne-dich-4711"}
NEEDLE_TEXTS = ["EAAGm0PX4ZCpsBAJ7tokenneverraw", "cookie-never-raw-81", "Sesam-öffne-dich-4711"]


def forms(secret):
    """The byte strings under which `secret` would be found: raw, hex, and base64 at each alignment."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * shift + secret)
            # What depends on neighbours is cut: the first and last characters.
            found.add(text[4 if shift else 0:].rstrip(b"=")[:-1])
    return found


class Needles:
    """Named secrets, searched for in bytes."""

    def __init__(self, secrets):
        self._forms = {name: forms(secret) for name, secret in secrets.items()}

    def found_in(self, data):
        return sorted(name for name, all_forms in self._forms.items() if any(form in data for form in all_forms))


def readable(path):
    """The file's bytes; nothing where the kernel doesn't let us look (as it won't let a thief)."""
    try:
        return pathlib.Path(path).read_bytes()
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return b""


def process_surfaces(pid):
    """What a process shows to whoever may look: name of the place -> bytes."""
    surfaces = {name: readable(f"/proc/{pid}/{name}") for name in ("environ", "cmdline")}
    with contextlib.suppress(PermissionError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            target = f"/proc/{pid}/fd/{entry}"
            with contextlib.suppress(OSError):
                name = os.readlink(target)
                if os.path.isfile(target):
                    surfaces[f"open file {name}"] = readable(target)
    return surfaces


def file_surfaces(folder, without):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and path not in without and "bin" not in path.relative_to(folder).parts}


class NothingRaw(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.house = cls.enterClassContext(house.House())
        cls.kms, cls.vault = cls.house.start_both()
        secrets = {f"{name} PIN": pin.encode() for name, pin in cls.house.pins.items()}
        secrets.update({f"secret {text}": text.encode() for text in NEEDLE_TEXTS})
        with contextlib.closing(cls.house.client(cls.kms, "app")) as kms_app:
            secrets.update(cls.work_with_data_keys(kms_app))
            with contextlib.closing(cls.house.client(cls.vault, "app")) as vault_app:
                cls.store_and_reveal(vault_app)
            with contextlib.closing(cls.house.client(cls.kms, "vaultd")) as kms_vault:
                secrets["data key of the stored credential"] = cls.record_data_key(kms_app, kms_vault)
        cls.needles = Needles(secrets)

    @classmethod
    def work_with_data_keys(cls, client):
        """Data keys made and unwrapped in plaintext: name -> bytes."""
        made = client.call("POST", "/v1/keys/alias/applications/data-keys", {"count": 3, "context": {"tenant": "acme"}})
        assert made.status == 200, made
        keys = {}
        for number, item in enumerate(made.json()["data_keys"]):
            opened = client.call("POST", "/v1/data-keys/unwrap", {"wrapped": item["wrapped"], "context": {"tenant": "acme"}})
            assert opened.json()["plaintext"] == item["plaintext"], opened
            keys[f"data key {number}"] = base64.b64decode(item["plaintext"])
            refused = client.call("POST", "/v1/data-keys/unwrap", {"wrapped": item["wrapped"], "context": {"tenant": "other"}})
            assert refused.status == 422, refused
        return keys

    @classmethod
    def store_and_reveal(cls, client):
        stored = client.call("PUT", house.credential_path("acme", "canary"), {"secret": SECRET, "metadata": {"kind": "test"}})
        assert stored.status == 201, stored
        shown = client.call("POST", house.credential_path("acme", "canary", "/reveal"))
        assert shown.status == 200 and shown.json()["secret"] == SECRET, shown
        # A refused request carries the secret too.
        bad = client.call("PUT", house.credential_path("acme", "canary"), {"secret": SECRET, "unknown": NEEDLE_TEXTS[0]})
        assert bad.status == 400, bad

    @classmethod
    def sealed_row(cls):
        """The sealed record as the database holds it."""
        data = (cls.house.folder / "vaultd" / "vault.db").read_bytes()
        text = re.search(rb'\{"__enc":3[^}]*\}', data)
        assert text, "no sealed record in the vault's database"
        return json.loads(text.group())

    @classmethod
    def record_data_key(cls, app, vault):
        """As the vault's own caller opens it; an application with a copy of the row can't."""
        row = {"wrapped": cls.sealed_row()["dek"], "context": {"owner": "acme", "credential": "canary", "version": "1"}}
        refused = app.call("POST", "/v1/data-keys/unwrap", row)
        assert refused.status in (403, 422), refused
        opened = vault.call("POST", "/v1/data-keys/unwrap", row)
        assert opened.status == 200, opened
        return base64.b64decode(opened.json()["plaintext"])

    def daemons(self):
        return (self.kms, self.vault)

    def test_the_search_finds_a_planted_value_in_every_form_and_place(self):
        planted = os.urandom(32)
        needles = Needles({"planted": planted})
        for form in forms(planted):
            self.assertEqual(needles.found_in(b"before " + form + b" after"), ["planted"])
        for shift in range(3):
            self.assertEqual(needles.found_in(base64.b64encode(os.urandom(shift) + planted + b"tail")), ["planted"])
        path = self.house.folder / "planted"
        path.write_text(planted.hex())
        self.addCleanup(path.unlink)
        with path.open("rb") as opened, subprocess.Popen(
                [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", base64.b64encode(planted)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"LEAK": planted.hex()}, pass_fds=[opened.fileno()]) as victim:
            victim.stdout.readline()
            surfaces = process_surfaces(victim.pid)
            places = [place for place, data in surfaces.items() if needles.found_in(data)]
            victim.stdin.close()
        self.assertEqual(sorted(places), ["cmdline", "environ", f"open file {path}"])
        files = file_surfaces(self.house.folder, without=set())
        self.assertEqual([place for place, data in files.items() if needles.found_in(data)], [str(path)])

    def test_no_secret_in_environment_command_line_or_open_files(self):
        for daemon in self.daemons():
            surfaces = process_surfaces(daemon.pid)
            if os.geteuid() == 0:
                self.assertTrue(surfaces["cmdline"], "root should see the command line")
                self.assertTrue(any(place.endswith(".log") for place in surfaces), surfaces.keys())
            for place, data in surfaces.items():
                self.assertEqual(self.needles.found_in(data), [], f"{daemon.name}: {place}")

    def test_no_secret_in_logs_databases_audit_logs_or_token_files(self):
        pins = {self.house.folder / "kmsd" / f"{name}.pin" for name in self.house.pins}
        surfaces = file_surfaces(self.house.folder, without=pins)
        for part in ("kmsd/kms.db", "vaultd/vault.db", "kmsd/audit/", "vaultd/audit/", "kmsd/tokens/", "kmsd.0.log"):
            self.assertTrue(any(part in place for place in surfaces), f"{part} was searched")
        for place, data in surfaces.items():
            self.assertEqual(self.needles.found_in(data), [], place)

    def test_the_searched_pins_are_those_in_use(self):
        for name in self.house.pins:
            data = (self.house.folder / "kmsd" / f"{name}.pin").read_bytes()
            self.assertEqual(self.needles.found_in(data), [f"{name} PIN"])

    def test_no_core_dump_and_no_tracing_by_the_same_user(self):
        for daemon in self.daemons():
            limits = pathlib.Path(f"/proc/{daemon.pid}/limits").read_text()
            self.assertRegex(limits, r"Max core file size +0 +0 ", daemon.name)
            # The kernel gives the files of a process that is not dumpable to root.
            self.assertEqual(os.stat(f"/proc/{daemon.pid}/environ").st_uid, 0, f"{daemon.name} is dumpable")
            status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
            self.assertIn("NoNewPrivs:\t1", status, daemon.name)

    def test_the_daemons_user_reads_nothing_of_its_own_daemon(self):
        for daemon in self.daemons():
            for name in ("environ", "mem", "maps"):
                tried = subprocess.run(["head", "-c", "1", f"/proc/{daemon.pid}/{name}"], capture_output=True,
                                       **self.house.as_daemon)
                self.assertNotEqual(tried.returncode, 0, f"{daemon.name} shows {name} to its own user")


if __name__ == "__main__":
    house.main()
