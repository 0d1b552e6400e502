#!/usr/bin/env python3
"""A rotation from its beginning to its end, with the tools that people have: the master key is rotated, a rewrap job moves what
is stored, vaultd is killed at it (kill -9) and goes on, and the statement at the end can be believed."""
import contextlib
import json
import os
import pty
import random
import select
import sqlite3
import subprocess
import time
import unittest

import house

RECORDS = house.number("RECORDS", 60, 240)
KILLS = house.number("KILLS", 2, 6)
SEED = os.environ.get("SEED", str(time.time_ns()))
JOBS = "/v1/rewrap-jobs"


class Rotation(unittest.TestCase):
    def setUp(self):
        print(f"SEED={SEED}")
        self.random = random.Random(SEED)
        self.house = self.enterContext(house.House())
        self.kms, self.vault = self.house.start_both()
        self.secrets = {}

    def call(self, daemon, *arguments, name="operator"):
        with contextlib.closing(self.house.client(daemon, name)) as client:
            return client.call(*arguments)

    def store(self, count):
        with contextlib.closing(self.house.client(self.vault, "app")) as client:
            for _ in range(count):
                name, secret = f"c{len(self.secrets)}", {"token": os.urandom(8).hex()}
                stored = client.call("PUT", house.credential_path("acme", name), {"secret": secret})
                self.assertEqual(stored.status, 201, stored)
                self.secrets[name] = secret

    def rotate(self):
        rotated = self.call(self.kms, "POST", "/v1/keys/alias/credentials/rotate")
        self.assertEqual(rotated.status, 200, rotated)
        return rotated.json()["primary_version"]

    def begin(self, **body):
        job = self.call(self.vault, "POST", JOBS, body)
        self.assertEqual(job.status, 201, job)
        return job.json()["id"]

    def job(self, job):
        return self.call(self.vault, "GET", f"{JOBS}/{job}").json()

    def wait_for_job(self, job, condition, what, seconds=house.PATIENCE_SECONDS):
        """What the job says once condition(it)."""
        with contextlib.closing(self.house.client(self.vault, "operator")) as client:
            def seen():
                said = client.call("GET", f"{JOBS}/{job}").json()
                return said if condition(said) else None

            return house.wait_until(seen, what, seconds, every=0.03)

    def wait_for_end(self, job, seconds=house.PATIENCE_SECONDS):
        return self.wait_for_job(job, lambda said: said["state"] == "completed", "the job's end", seconds)

    def restart(self):
        self.vault.kill()
        if not house.IS_LONG:
            # A piece that was under way when vaultd was killed is another's after half a minute, which passes here.
            with contextlib.closing(sqlite3.connect(self.house.folder / "vaultd" / "vault.db")) as store, store:
                store.execute("UPDATE rewrap_leases SET expires_at = 1")
        self.house.configure("vaultd", kms_port=self.kms.port)
        self.vault = self.house.start("vaultd")

    def command(self, *arguments):
        pki = self.house.pki
        return [str(one) for one in (
            self.house.bin / "vaultctl", "--url", f"https://127.0.0.1:{self.vault.port}", "--ca", pki / "ca.crt", "--certificate",
            pki / "operator.crt", "--key-file", pki / "operator.key", *arguments)]

    def tool(self, *arguments):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)

    def check_secrets(self, key_version):
        with contextlib.closing(self.house.client(self.vault, "app")) as client:
            for name, secret in self.secrets.items():
                seen = client.call("POST", house.credential_path("acme", name, "/reveal")).json()
                self.assertEqual((seen.get("secret"), seen.get("key_version")), (secret, key_version), name)

    def audit_records(self, action):
        lines = (self.house.folder / "vaultd" / "audit" / "audit.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record.get("action") == action]

    @house.both_forms
    def test_a_job_that_is_killed_again_and_again_ends_with_every_record_moved_once(self):
        self.store(RECORDS)
        version = self.rotate()
        job = self.begin(records_per_second=RECORDS)
        done = 0
        for _ in range(KILLS):
            self.wait_for_job(job, lambda said: said["records"]["done"] >= done or said["state"] == "completed", "progress")
            time.sleep(self.random.uniform(0, 0.05))  # the moment is what is random here
            self.restart()
            done = self.job(job)["records"]["done"] + 1
        over = self.wait_for_end(job, 150)
        self.assertEqual(over["records"], {"total": RECORDS, "done": RECORDS, "failed": 0, "superseded": 0, "left": 0})
        self.assertTrue(over["safe_to_retire"]["safe"])
        self.check_secrets(version)
        concluded = self.audit_records("rewrap_concluded")
        # Recorded before the job says so: who is killed between the two leaves it to the next, who says the same.
        self.assertEqual(concluded[0]["facts"]["job"], job)
        self.assertEqual(concluded[0]["facts"]["safe_to_retire"], "yes")
        self.assertTrue(all(record["facts"] == concluded[0]["facts"] for record in concluded), concluded)
        self.assertLessEqual(len(concluded), 1 + KILLS)

    def test_the_tool_begins_a_job_shows_its_end_and_says_when_nothing_needs_the_old_version(self):
        self.store(5)
        version = self.rotate()
        done = self.tool("rewrap", "start")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Safe to retire", done.stdout)
        self.assertNotIn("\x1b", done.stdout + done.stderr)  # a bar is for terminals
        listed = json.loads(self.tool("--json", "rewrap", "list").stdout)
        self.assertEqual(len(listed), 1)
        self.assertEqual([record["facts"]["job"] for record in self.audit_records("rewrap_concluded")], [listed[0]["id"]])
        self.assertEqual(listed[0]["records"]["done"], 5)
        self.assertEqual(listed[0]["safe_to_retire"]["versions_below"], version)
        shown = self.tool("rewrap", "show")
        self.assertEqual(shown.returncode, 0)
        self.assertIn(listed[0]["id"], shown.stdout)
        self.assertEqual(self.tool("rewrap", "watch", listed[0]["id"]).returncode, 0)
        refused = self.tool("rewrap", "cancel", listed[0]["id"])
        self.assertEqual(refused.returncode, 1)
        self.assertIn("over", refused.stderr)
        self.assertEqual(self.tool("rewrap", "show", "unknown").returncode, 1)
        # The old version can go: nothing that is stored asks for it.
        self.check_secrets(version)

    def test_on_a_terminal_the_tool_shows_how_far_a_job_is(self):
        self.store(5)
        self.rotate()
        pid, terminal = pty.fork()
        if pid == 0:
            arguments = self.command("rewrap", "start", "--rate", "1")
            os.execv(arguments[0], arguments)
        said, end = b"", time.monotonic() + house.PATIENCE_SECONDS
        with contextlib.suppress(OSError):  # the end of the program ends the terminal
            while time.monotonic() < end:
                if select.select([terminal], [], [], 1)[0]:
                    said += os.read(terminal, 4096)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, said)
        self.assertRegex(said, rb"\r\x1b\[K\[#+\.+\] [1-9]\d %  [1-4] done, [1-4] left, [\d.]+/s")
        # The line of the bar is gone before what stays is said.
        self.assertRegex(said, rb"\r\x1b\[K[^\[#]*Safe to retire")

    def test_what_does_not_open_is_named_and_the_statement_is_not_safe(self):
        self.store(4)
        self.vault.stop()
        with contextlib.closing(sqlite3.connect(self.house.folder / "vaultd" / "vault.db")) as store, store:
            store.execute("UPDATE versions SET sealed = (SELECT sealed FROM versions WHERE credential = 1) WHERE credential = 2")
        self.house.configure("vaultd", kms_port=self.kms.port)
        self.vault = self.house.start("vaultd")
        version = self.rotate()
        done = self.tool("rewrap", "start", "--rate", "1000")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("NOT safe to retire: 1 stored", done.stdout)
        self.assertRegex(done.stdout, r"acme\s+c1\s+1\s+integrity_failure")
        job = json.loads(self.tool("--json", "rewrap", "list").stdout)[0]["id"]
        failures = json.loads(self.tool("--json", "rewrap", "failures", job).stdout)
        self.assertEqual([each["name"] for each in failures], ["c1"])
        self.assertEqual([record["facts"]["credential"] for record in self.audit_records("rewrap_failed")], ["c1"])
        del self.secrets["c1"]
        self.check_secrets(version)

    def test_without_kmsd_a_job_says_so_and_goes_on_when_it_is_back(self):
        self.store(3)
        version = self.rotate()
        port = self.kms.port
        job = self.begin(records_per_second=1)
        self.kms.kill()
        self.wait_for_job(job, lambda said: "not available" in said.get("trouble", ""), "the job says what it waits for")
        self.house.configure("kmsd", {"listen": {"address": "127.0.0.1", "port": port}})
        self.kms = self.house.start("kmsd")
        over = self.wait_for_end(job)
        self.assertTrue(over["safe_to_retire"]["safe"], over)
        self.check_secrets(version)


if __name__ == "__main__":
    house.main()
