#!/usr/bin/env python3
"""The audit log of a running kmsd with checkpoints: no acknowledged operation is missing after kill -9, and
two verifiers that share no code call the log clean, with nothing but its files. ROUNDS=n makes it longer."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import unittest

import house

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import audit_verifier  # noqa: E402

ROUNDS = house.number("ROUNDS", 2, 12)
CALLERS = 4
CHECKPOINTS = {"directory": "audit", "segments": {"mebibytes": 1}, "checkpoints": {"records": 20, "seconds": 1}}


class Caller(threading.Thread):
    """Asks for data keys until the daemon is gone; keeps the request ids of what was acknowledged."""

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.acknowledged = []

    def run(self):
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(self.client):
            while True:
                answer = self.client.call("POST", "/v1/keys/alias/applications/data-keys", {})
                assert answer.status == 200, answer
                self.acknowledged.append(answer.headers["X-Request-Id"])


class Audit(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        self.house.configure("kmsd", {"audit": CHECKPOINTS})
        self.folder = self.house.folder / "kmsd" / "audit"
        self.random = random.Random(os.environ.get("SEED"))

    def make_key(self, daemon):
        with contextlib.closing(self.house.client(daemon, "operator")) as client:
            assert client.call("POST", "/v1/keys", {"alias": "applications"}).status == 201

    def verdict(self):
        """By both verifiers, which must agree."""
        done = subprocess.run([self.house.bin / "kmsctl", "audit", "verify", self.folder, "--key",
                               self.folder / "audit.pem", "--json"], capture_output=True, text=True, check=False)
        ours = json.loads(done.stdout)
        theirs = audit_verifier.judge(self.folder, audit_verifier.Key((self.folder / "audit.pem").read_text()))
        self.assertEqual((done.returncode, ours["first_bad"] or 0), theirs, done.stderr)
        self.assertEqual(ours["journal_only"], audit_verifier.read_lines(self.folder)[1])
        return ours

    def records(self):
        return [json.loads(line) for line in audit_verifier.read_lines(self.folder)[0]]

    @house.both_forms
    def test_no_acknowledged_operation_is_missing_after_kill_9(self):
        acknowledged = set()
        for turn in range(ROUNDS):
            daemon = self.house.start("kmsd")
            if turn == 0:
                self.make_key(daemon)
            callers = [Caller(self.house.client(daemon, "app")) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            house.wait_until(lambda: all(caller.acknowledged for caller in callers), "some answers")
            time.sleep(self.random.uniform(0, 1.5 if house.IS_LONG else 0.4))  # the moment of the kill is what is random here
            daemon.kill()
            for caller in callers:
                caller.join()
                acknowledged.update(caller.acknowledged)
        self.house.start("kmsd").stop()
        verdict = self.verdict()
        self.assertEqual((verdict["verdict"], verdict["covered"]), ("clean", verdict["records"]))
        recorded = {record["request_id"] for record in self.records() if record["outcome"] == "ok"}
        self.assertEqual(acknowledged - recorded, set())
        self.assertGreater(len(acknowledged), ROUNDS * CALLERS)

    def test_checkpoint_and_proofs_come_over_the_wire(self):
        daemon = self.house.start("kmsd")
        self.make_key(daemon)
        with contextlib.closing(self.house.client(daemon, "operator")) as client:
            house.wait_until(lambda: client.call("GET", "/v1/audit/checkpoint").status == 200, "a checkpoint")
            note = client.call("GET", "/v1/audit/checkpoint")
            key = audit_verifier.Key((self.folder / "audit.pem").read_text())
            origin, size, root = key.open(note.body)
            self.assertTrue(origin.endswith("/strongroom/kmsd"))
            proof = client.call("GET", "/v1/audit/proof?record=1").json()
            self.assertEqual(proof["index"], 0)
            self.assertEqual(client.call("GET", f"/v1/audit/proof?size={size}").status, 200)
            self.assertEqual(client.call("GET", "/v1/audit/proof?record=999999").status, 404)
            for wrong in ("", "?record=x", "?record=1&size=1", "?other=1"):
                self.assertEqual(client.call("GET", "/v1/audit/proof" + wrong).status, 400, wrong)
        with contextlib.closing(self.house.client(daemon, "vaultd")) as client:
            self.assertEqual(client.call("GET", "/v1/audit/checkpoint").status, 200)
        with contextlib.closing(self.house.client(daemon, None)) as client:
            self.assertEqual(client.call("GET", "/v1/audit/checkpoint").status, 401)

    def test_log_that_was_changed_is_refused_at_the_start(self):
        daemon = self.house.start("kmsd")
        self.make_key(daemon)
        daemon.stop()
        log = self.folder / "audit.jsonl"
        log.write_bytes(log.read_bytes().replace(b"create_key", b"delete_key", 1))
        self.assertEqual(self.verdict()["verdict"], "tampered")
        daemon = house.Daemon(self.house, "kmsd")
        self.assertEqual(daemon.wait_exit(), 1)
        self.assertIn("was changed or removed", daemon.log.read_text())

    def test_tools_read_what_the_daemon_wrote(self):
        daemon = self.house.start("kmsd")
        self.make_key(daemon)
        with contextlib.closing(self.house.client(daemon, "app")) as client:
            self.assertEqual(client.call("GET", "/v1/keys").status, 403)
        daemon.stop()

        def kmsctl(*arguments):
            return subprocess.run([self.house.bin / "kmsctl", "audit", *arguments], check=True, capture_output=True,
                                  text=True).stdout

        pem = self.folder / "audit.pem"
        shown = kmsctl("show", self.folder, "--action", "create_key", "--json").splitlines()
        self.assertEqual({json.loads(line)["action"] for line in shown}, {"create_key"})
        self.assertIn("permission_denied", kmsctl("show", self.folder, "--outcome", "permission_denied"))
        rows = kmsctl("export", self.folder, "--format", "csv").split("\n")
        self.assertEqual(len(rows) - 2, len(self.records()))
        proof = self.house.folder / "record.tlog-proof"
        proof.write_text(kmsctl("prove", self.folder, "2"))
        self.assertIn('"sequence":2,', kmsctl("check", proof, "--key", pem))
        proof.write_text(proof.read_text().replace("index 1", "index 0"))
        with self.assertRaises(subprocess.CalledProcessError):
            kmsctl("check", proof, "--key", pem)
        page = self.house.folder / "report.html"
        kmsctl("report", self.folder, "--public-key-file", pem, "--output", page)
        self.assertIn("complete and unchanged", page.read_text())


if __name__ == "__main__":
    house.main()
