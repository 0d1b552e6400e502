#!/usr/bin/env python3
"""The audit logs of both daemons together: kmsd signs vaultd's checkpoints, vaultd notices when kmsd's log is set back or
forked, a caller keeps evidence of its own operation, and one reveal is followed across both logs."""
import concurrent.futures
import contextlib
import json
import pathlib
import subprocess
import sys

import house
import watched_kmsd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import audit_verifier  # noqa: E402

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PATH = house.credential_path("acme", "instagram")
REVEAL = house.credential_path("acme", "instagram", "/reveal")


class Witness(watched_kmsd.WithKmsd):
    def start_vaultd(self, checkpoints=True, witness=None):
        audit = {"directory": "audit"}
        if checkpoints:
            audit["checkpoints"] = {**watched_kmsd.CHECKPOINTS, "signing_key": "alias/vault-audit"}
        kms = {"url": f"https://127.0.0.1:{self.port}", "ca": "../pki/ca.crt", "certificate": "../pki/vaultd.crt",
               "key": "../pki/vaultd.key", "master_key": "alias/credentials", **({"witness": witness} if witness else {})}
        self.house.configure("vaultd", {"audit": audit, "kms": kms})
        self.vault = self.house.start("vaultd")

    def store(self):
        self.assertIn(self.ask("PUT", PATH, {"secret": {"k": 1}}).status, (200, 201))

    def kmsctl(self, *arguments):
        return subprocess.run([self.house.bin / "kmsctl", *arguments], capture_output=True, text=True, check=False)

    def as_caller(self, name, daemon):
        """The connection of a caller, as kmsctl's options."""
        pki = self.house.pki
        return ["--url", f"https://127.0.0.1:{daemon.port}", "--ca", pki / "ca.crt", "--certificate", pki / f"{name}.crt",
                "--key-file", pki / f"{name}.key"]

    def kept(self):
        """The size that vaultd keeps of kmsd's log."""
        return max(self.sizes(self.vault_log / "key-service-checkpoints"), default=0)

    def wait_kept_all(self):
        """Until vaultd has kept a checkpoint of as many records as kmsd has now."""
        size = len(self.records(self.kms_log))

        def kept():
            self.ask("POST", REVEAL)  # each answer of kmsd names its checkpoint
            return self.kept() >= size

        house.wait_until(kept, "the witness keeps up", every=0.05)

    def test_key_service_signs_the_vaults_checkpoints_and_an_operation_can_be_proven(self):
        self.start_vaultd(witness={"audit_key": str(self.kms_log / "audit.pem")})
        self.store()
        traced = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Strongroom-Receipt": "yes"}
        revealed = self.ask("POST", REVEAL, headers=traced)
        self.assertEqual(revealed.status, 200, revealed)
        origin, leaf = revealed.headers["Strongroom-Receipt"].split(" ")
        self.assertTrue(origin.endswith("/strongroom/vaultd"))
        proof = house.wait_until(
            lambda: (answer := self.ask("GET", f"/v1/audit/receipt?index={leaf}")).status == 200 and answer, "a proof")
        self.assertEqual(self.ask("GET", f"/v1/audit/receipt?index={leaf}", who="operator").status, 404, "not its own")
        self.assertEqual(self.ask("GET", "/v1/audit/receipt?index=999999").status, 404)
        self.assertEqual(self.ask("GET", "/v1/audit/receipt?index=x").status, 400)
        self.assertNotIn("Strongroom-Receipt", self.ask("GET", PATH).headers, "nobody asked")
        fetched = self.house.folder / "fetched.tlog-proof"
        self.assertEqual(self.kmsctl(*self.as_caller("app", self.vault), "audit", "receipt", f"{origin} {leaf}", "--output",
                                     fetched).returncode, 0)

        # What the auditor trusts comes from the key service, not from the vault.
        pem = self.house.folder / "vault-audit.pem"
        told = self.ask("GET", "/v1/keys/alias/vault-audit/public-key", who="vaultd", daemon=self.kms).json()
        pem.write_text(told["public_key"])
        for text in (proof.body.decode(), fetched.read_text()):
            file = self.house.folder / "record.tlog-proof"
            file.write_text(text)
            checked = self.kmsctl("audit", "check", file, "--key", pem)
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertIn(revealed.headers["X-Request-Id"], checked.stdout)
        self.vault.stop()
        self.kms.stop()
        for folder, key in ((self.vault_log, pem), (self.kms_log, self.kms_log / "audit.pem")):
            done = self.kmsctl("audit", "verify", folder, "--key", key, "--json")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(audit_verifier.judge(folder, audit_verifier.Key(key.read_text())), (0, 0))
        vault = json.loads(self.kmsctl("audit", "verify", self.vault_log, "--key", pem, "--json").stdout)
        self.assertEqual(vault["covered"], vault["records"], "the last checkpoint is signed at the stop")
        self.assertTrue(pem.read_text().strip() == (self.vault_log / "audit.pem").read_text().strip())

        # One reveal in both logs.
        followed = [(record["daemon"], record["action"]) for folder in (self.vault_log, self.kms_log)
                    for record in self.records(folder) if TRACE in record["traceparent"]]
        self.assertEqual(followed, [("vaultd", "reveal_credential"), ("kmsd", "unwrap_data_key")])

    def test_reveals_that_share_a_call_to_the_key_service_are_each_followed_by_their_own_trace(self):
        self.start_vaultd()
        self.store()
        number = 0

        def reveal(trace):
            def answered():
                answer = client.call("POST", REVEAL, more_headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
                return answer if answer.status != 503 else None  # the disk was late: again

            with contextlib.closing(self.house.client(self.vault, "app")) as client:
                return house.wait_until(answered, "an answer")

        def round_of_reveals():
            """How many of kmsd's records since the last round are of several reveals. Luck says: three must meet."""
            nonlocal number
            before = len(self.records(self.kms_log))
            traces = {f"{TRACE[:-4]}{number + one:04x}" for one in range(64)}
            number += len(traces)
            answers = list(pool.map(reveal, traces))
            self.assertEqual([answer.status for answer in answers], [200] * len(traces))
            self.assertEqual(len({answer.body for answer in answers}), 1)
            found = [[item["traceparent"] for item in record["items"]] or [record["traceparent"]]
                     for record in self.records(self.kms_log)[before:] if record["action"] == "unwrap_data_key"]
            self.assertEqual({text.split("-")[1] for texts in found for text in texts}, traces, "each is there")
            return sum(len(texts) > 1 for texts in found)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            house.wait_until(round_of_reveals, "reveals that share a call")

    def test_log_goes_on_without_the_key_service_and_checkpoints_come_later(self):
        self.start_vaultd()
        self.store()
        house.wait_until(lambda: (self.vault_log / "checkpoint").exists(), "a checkpoint")
        self.kms.stop()
        for _ in range(10):
            self.assertEqual(self.ask("GET", PATH).status, 200, "metadata needs no key service")
        self.assertEqual(self.ask("POST", REVEAL).status, 503)
        said = "a checkpoint of the audit log can't be made"
        house.wait_until(lambda: said in self.vault.log.read_text(), "the log says so")
        self.start_kmsd()
        size = len(self.records(self.vault_log))

        def covered():
            return int((self.vault_log / "checkpoint").read_text().split("\n")[1])

        house.wait_until(lambda: covered() >= size, "a checkpoint again")
        # Another version of the key signs no checkpoint of this log.
        self.assertEqual(self.ask("POST", "/v1/keys/alias/vault-audit/rotate", {}, who="operator", daemon=self.kms).status, 200)
        self.assertEqual(self.ask("GET", PATH).status, 200)
        house.wait_until(lambda: "than the one this audit log began with" in self.vault.log.read_text(), "the log says so")

    def set_back(self, then=()):
        """kmsd with the audit log that it had some time ago, and what happened since under another history."""
        self.wait_kept_all()
        self.kms.stop()
        old = self.copy_log("old-audit")
        self.start_kmsd()
        for _ in range(8):
            self.assertEqual(self.ask("POST", REVEAL).status, 200)
        self.wait_kept_all()
        self.kms.stop()
        self.put_log(old)
        for path in then:
            self.ask("GET", path, who="operator", daemon=self.kms)

    def expect_alarm(self):
        house.wait_until(lambda: "contradicts what this vault saw" in self.vault.log.read_text(), "the alarm")
        self.assertIn("audit log contradicts itself", self.ask("GET", "/readyz", who="operator").body.decode())
        metrics = self.ask("GET", "/metrics", who="operator").body.decode()
        self.assertRegex(metrics, r"strongroom_audit_witness_conflicts_total\S* 1")
        house.wait_until(lambda: any(record["action"] == "witness_conflict" for record in self.records(self.vault_log)),
                         "the record")

    def test_log_that_was_set_back_is_noticed_with_the_next_answer(self):
        self.start_vaultd(checkpoints=False)
        self.store()
        self.set_back()
        self.assertEqual(self.ask("POST", REVEAL).status, 503, "the very next exchange")
        self.expect_alarm()
        self.assertEqual(self.ask("POST", REVEAL).status, 503)
        self.vault.stop()
        self.vault = self.house.start("vaultd")
        self.assertEqual(self.ask("POST", REVEAL).status, 503, "until an operator has looked at it")

    def test_fork_is_noticed_though_the_log_grew(self):
        self.start_vaultd(checkpoints=False, witness={"on_conflict": "report"})
        self.store()
        self.set_back(then=["/v1/keys"] * 30)
        self.ask("POST", REVEAL)
        self.expect_alarm()
        self.assertEqual(self.ask("POST", REVEAL).status, 200, "it was asked to report only")

    def test_kept_file_that_is_damaged_is_not_taken_for_nothing_kept(self):
        self.start_vaultd(checkpoints=False, witness={"nodes": 2})
        self.store()
        self.wait_kept_all()
        self.vault.stop()
        file = self.vault_log / "key-service-checkpoints"
        kept = file.read_bytes()
        for damaged in (b"", kept[:-1]):
            file.write_bytes(damaged)
            vault = house.Daemon(self.house, "vaultd")
            self.assertNotEqual(vault.wait_exit(), 0)
            self.assertIn(f"{file} is damaged", vault.log.read_text())
        file.write_bytes(kept)
        self.vault = self.house.start("vaultd")


if __name__ == "__main__":
    house.main()
