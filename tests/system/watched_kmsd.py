"""A kmsd whose audit log clients watch, for the tests of its witnesses."""
import contextlib
import json
import pathlib
import shutil
import sys
import unittest

import house

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import audit_verifier  # noqa: E402

CHECKPOINTS = {"records": 5, "seconds": 1}


class WithKmsd(unittest.TestCase):
    """A kmsd whose log has checkpoints, and what sets that log back."""

    def setUp(self):
        self.house = self.enterContext(house.House())
        self.house.configure("kmsd", {"audit": {"directory": "audit", "checkpoints": CHECKPOINTS}})
        self.kms_log = self.house.folder / "kmsd" / "audit"
        self.vault_log = self.house.folder / "vaultd" / "audit"
        self.start_kmsd()
        with contextlib.closing(self.house.client(self.kms, "operator")) as operator:
            for alias, kind in (("credentials", "aes_256"), ("vault-audit", "ed25519")):
                answer = operator.call("POST", "/v1/keys", {"alias": alias, "kind": kind})
                assert answer.status == 201, answer
            self.port = self.kms.port

    def start_kmsd(self):
        self.kms = self.house.start("kmsd")
        self.house.configure("kmsd", {"audit": {"directory": "audit", "checkpoints": CHECKPOINTS},
                                      "listen": {"address": "127.0.0.1", "port": self.kms.port}})

    def ask(self, method, path, body=None, headers=None, who="app", daemon=None):
        with contextlib.closing(self.house.client(daemon or self.vault, who)) as client:
            return client.call(method, path, body, headers)

    @staticmethod
    def records(folder):
        return [json.loads(line) for line in audit_verifier.read_lines(folder)[0]]

    @staticmethod
    def sizes(file):
        """Of the logs whose checkpoints are in the file."""
        notes = audit_verifier.split_notes(file.read_bytes()) if file.exists() else []
        return [int(note.split(b"\n")[1]) for note in notes]

    def copy_log(self, name):
        """kmsd's log as it is now; kmsd does not run."""
        return shutil.copytree(self.kms_log, self.house.folder / name)

    def put_log(self, copy):
        """kmsd with that log."""
        shutil.rmtree(self.kms_log)
        shutil.copytree(copy, self.kms_log)
        house.give(self.kms_log)
        self.start_kmsd()
