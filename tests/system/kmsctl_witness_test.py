#!/usr/bin/env python3
"""kmsctl as a witness of kmsd's audit log: what it keeps, and what it says of a log that was set back, forked or hidden."""
import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys
import threading

import house
import watched_kmsd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import audit_verifier  # noqa: E402


class Kmsctl(watched_kmsd.WithKmsd):
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
