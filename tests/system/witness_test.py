#!/usr/bin/env python3
"""The audit logs of both daemons together: kmsd signs vaultd's checkpoints, vaultd and kmsctl notice when kmsd's log is
set back or forked, a caller keeps evidence of its own operation, and one reveal is followed across both logs."""
import concurrent.futures
import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

import house

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import audit_verifier  # noqa: E402

CHECKPOINTS = {"records": 5, "seconds": 1}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PATH = house.credential_path("acme", "instagram")
REVEAL = house.credential_path("acme", "instagram", "/reveal")
CONFLICT = "contradicts"


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


class Witness(WithKmsd):
    def start_vaultd(self, checkpoints=True, witness=None):
        audit = {"directory": "audit"}
        if checkpoints:
            audit["checkpoints"] = {**CHECKPOINTS, "signing_key": "alias/vault-audit"}
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


class Kmsctl(WithKmsd):
    """The operator's tool keeps the last checkpoint that it saw, too."""

    def setUp(self):
        super().setUp()
        self.folder = self.house.folder / "operator"
        self.folder.mkdir()
        self.kept = self.folder / "seen"
        self.conflict = self.folder / "seen.conflict"
        shutil.copy(self.kms_log / "audit.pem", self.folder / "audit.pem")
        self.configure({"file": "seen", "audit_key": "audit.pem"})

    def configure(self, witness, **changes):
        self.config = {"url": f"https://127.0.0.1:{self.port}", "ca": "../pki/ca.crt", "certificate": "../pki/operator.crt",
                       "key": "../pki/operator.key", "witness": witness, **changes}
        (self.folder / "kmsctl.json").write_text(json.dumps(self.config))

    def kmsctl(self, *arguments, tool="kmsctl"):
        return subprocess.run([self.house.bin / tool, *arguments, "--config", self.folder / "kmsctl.json"],
                              capture_output=True, text=True, check=False)

    def list_keys(self, code=0):
        """key list; what it said on standard error."""
        done = self.kmsctl("key", "list")
        self.assertEqual(done.returncode, code, done.stderr)
        self.listed = done.stdout
        return done.stderr

    def grow(self, records=10):
        """The log, until a checkpoint covers that."""
        for _ in range(records):
            self.assertEqual(self.ask("GET", "/v1/keys", who="operator", daemon=self.kms).status, 200)
        size = len(self.records(self.kms_log))
        house.wait_until(lambda: max(self.sizes(self.kms_log / "checkpoints"), default=0) >= size, "a checkpoint")

    def size(self):
        """What is kept: one log, of so many records."""
        [size] = self.sizes(self.kept)
        return size

    def keep(self):
        self.grow()
        self.assertIn("is watched from here on", self.list_keys())

    def begin_anew(self):
        """The same kmsd with the same audit key, and a log in which there is nothing yet."""
        for path in self.kms_log.iterdir():
            if path.name not in ("audit-key.json", "audit.pem"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start_kmsd()

    def expect_alarm(self, why):
        said = self.list_keys(5)
        self.assertIn("ALARM", said)
        self.assertIn(why, said)
        self.assertIn("credentials", self.listed, "what was answered is shown")
        self.assertIn(why, self.conflict.read_text())
        self.expect_refusal()

    def asked(self):
        """How often kmsd was asked for its keys."""
        return sum(record["action"] == "list_keys" for record in self.records(self.kms_log))

    def expect_refusal(self):
        before = self.asked()
        said = self.list_keys(5)
        self.assertIn("ALARM", said)
        self.assertIn(str(self.conflict), said)
        self.assertEqual(self.listed, "")
        self.assertEqual(self.asked(), before, "kmsd was not asked")

    def test_first_use_keeps_and_the_next_one_proves(self):
        self.keep()
        first = self.size()
        self.grow()
        self.assertEqual(self.list_keys(), "")
        self.assertGreater(self.size(), first)
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"audit.pem", "kmsctl.json", "seen", "seen.lock"})
        self.assertEqual(self.kept.stat().st_mode & 0o777, 0o600)

    def test_log_that_was_set_back_is_said_and_stops_kmsctl_until_an_operator_has_looked(self):
        self.keep()
        self.kms.stop()
        old = self.copy_log("old-audit")
        self.start_kmsd()
        self.grow()
        self.list_keys()
        size = self.size()
        self.kms.stop()
        right = self.copy_log("right-audit")
        self.put_log(old)
        self.expect_alarm("the audit log is shorter than it was")
        self.assertEqual(self.size(), size, "what was proven stays")
        self.assertEqual(self.kmsctl("audit", "verify", self.kms_log, "--key", self.folder / "audit.pem").returncode, 0,
                         "what needs no service goes on")

        # The right log is back: the file goes, and what is kept is still good.
        self.kms.stop()
        self.put_log(right)
        self.expect_refusal()
        self.conflict.unlink()
        self.grow()
        self.assertEqual(self.list_keys(), "")
        self.assertGreater(self.size(), size)

    def test_log_begun_anew_under_the_same_key_is_a_fork_though_it_is_longer(self):
        self.keep()
        size = self.size()
        self.kms.stop()
        self.begin_anew()
        self.grow(size + 10)
        self.expect_alarm("does not extend the one that was there before")
        # Meant so: both files go, as kmsctl said.
        self.conflict.unlink()
        self.kept.unlink()
        self.assertIn("is watched from here on", self.list_keys())
        self.assertEqual(self.list_keys(), "")

    def test_log_begun_anew_is_noticed_before_its_first_checkpoint(self):
        self.keep()
        self.kms.stop()
        self.begin_anew()
        self.expect_alarm("the audit log is shorter than it was")

    def test_another_audit_key_is_noticed(self):
        told = self.ask("GET", "/v1/keys/alias/vault-audit/public-key", who="vaultd", daemon=self.kms).json()
        (self.folder / "audit.pem").write_text(told["public_key"])
        self.grow()
        self.expect_alarm("not signed by the audit key")
        self.assertFalse(self.kept.exists())

    def test_log_without_checkpoints_is_hidden(self):
        self.keep()
        self.kms.stop()
        self.house.configure("kmsd", {"listen": {"address": "127.0.0.1", "port": self.port}})
        self.kms = self.house.start("kmsd")
        self.expect_alarm("shows no audit log any more")

    def test_service_without_checkpoints_is_said_with_each_command(self):
        self.kms.stop()
        self.house.configure("kmsd", {"listen": {"address": "127.0.0.1", "port": self.port}})
        self.kms = self.house.start("kmsd")
        for command in (("key", "list"), ("status",)):  # status has several answers
            done = self.kmsctl(*command)
            self.assertEqual((done.returncode, done.stderr.count("it shows no checkpoints")), (0, 1), done.stderr)
        self.assertFalse(self.kept.exists())

    def test_kept_file_that_is_damaged_is_not_taken_for_nothing_kept(self):
        self.keep()
        kept = self.kept.read_bytes()
        before = self.asked()
        for damaged in (b"", kept[:len(kept) // 2], kept[:-1]):
            self.kept.write_bytes(damaged)
            said = self.list_keys(2)
            self.assertIn(f"{self.kept} is damaged", said)
            self.assertIn("Put a copy of it back", said)
            self.assertEqual(self.kept.read_bytes(), damaged)
        self.assertEqual(self.asked(), before, "kmsd was not asked")
        self.kept.write_bytes(kept)
        self.assertEqual(self.list_keys(), "")

    def test_conflict_that_cant_be_kept_says_what_the_next_command_would_do(self):
        # The name of what is to become the conflict file is too long then.
        self.configure({"file": 230 * "k"})
        self.keep()
        self.kms.stop()
        self.begin_anew()
        said = self.list_keys(5)
        self.assertIn("can't be kept", said)
        self.assertIn("The next command would call the key service again", said)

    def test_many_at_once_lose_nothing(self):
        self.keep()
        ended = threading.Event()
        seen = []

        def watch():
            while not ended.wait(0.001):
                seen.append(self.size())

        def list_keys(_):
            for _ in range(10):  # a disk that is busy with all of them (503) is no matter of this test
                done = self.kmsctl("key", "list")
                if done.returncode != 3:
                    break
            return done

        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            watching = pool.submit(watch)
            done = list(pool.map(list_keys, range(24)))
            ended.set()
            watching.result()
        self.assertEqual({(one.returncode, one.stderr) for one in done}, {(0, "")})
        self.assertEqual(seen, sorted(seen), "an older one was put back")
        self.grow()
        self.assertEqual(self.list_keys(), "")
        [note] = audit_verifier.split_notes(self.kept.read_bytes())
        (self.folder / "note").write_bytes(note)
        self.kms.stop()
        done = self.kmsctl("audit", "verify", self.kms_log, "--key", self.folder / "audit.pem", "--checkpoint",
                           self.folder / "note")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_settings_go_with_the_service_they_are_written_for(self):
        self.grow()
        self.configure({"file": "seen"}, url="https://127.0.0.1:1")
        url = ("--url", f"https://127.0.0.1:{self.port}")
        done = self.kmsctl(*url, "key", "list")
        self.assertEqual((done.returncode, done.stderr, self.kept.exists()), (0, "", False), "another service's")
        done = self.kmsctl(*url, "--witness", self.folder / "other", "--audit-key-file", self.folder / "audit.pem", "key", "list")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.sizes(self.folder / "other")), 1)
        done = self.kmsctl(*url, "--witness", self.folder / "nowhere" / "seen", "key", "list")
        self.assertEqual(done.returncode, 0, "the command is done")
        self.assertIn("can't be watched", done.stderr)
        for wrong in (("--audit-key-file", "x"), ("--witness", "seen", "--audit-key-file", "x")):
            self.assertEqual(self.kmsctl(*url, *wrong, "key", "list").returncode, 2, wrong)
        done = self.kmsctl("status", tool="vaultctl")
        self.assertEqual((done.returncode, "witness" in done.stderr), (2, True), "vaultctl keeps none")


if __name__ == "__main__":
    house.main()
