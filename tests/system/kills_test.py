#!/usr/bin/env python3
"""kill -9 at any moment of kmsd, of vaultd, of one of kmsd's token workers or of all of them, KILLS times in turn while keys
are made and used and credentials are stored: what was acknowledged is there and right and in the audit log, the token is,
too, and everything goes on. It says how long it took until the next order was acknowledged. SEED=n repeats the choices of one run."""
import collections
import contextlib
import http.client
import json
import os
import random
import re
import signal
import threading
import time
import unittest

import house

KILLS = house.number("KILLS", 16, 1000)  # .ci/run asks for 200
LOOK_EVERY = 500  # kills; at so many of what was acknowledged as
SAMPLE = 2000
MOST_KEYS = 250  # each start of a worker reads them all
BATCH = 100
VICTIMS = ("kmsd", "vaultd", "one worker", "all workers")
REQUEST_ID = re.compile(rb'"request_id":"([^"]*)"')
EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]}
                           for name in ("operator", "app", "vaultd")]}


class Writer(threading.Thread):
    """Calls work(client, number) until it is told to stop; keeps what was acknowledged. What is down now is asked again."""

    def __init__(self, client, work):
        super().__init__()
        self.client, self.work = client, work
        self.acknowledged = {}
        self.killed_at = self.since = 0.0
        self.back_after = None  # see await_again()
        self.failure = None
        self.stopping = threading.Event()

    def run(self):
        number = 0
        with contextlib.closing(self.client):
            while not self.stopping.is_set():
                number += 1
                begun = time.monotonic()
                try:
                    made = self.work(self.client, number)
                    self.acknowledged.update(made)
                    if made and self.back_after is None and begun > self.since:
                        self.back_after = time.monotonic() - self.killed_at
                except (OSError, http.client.HTTPException):
                    pass  # killed under this request, or not there yet: nothing was acknowledged
                except Exception as error:  # whatever else it is, the test must hear of it
                    self.failure = error
                    return
                time.sleep(0.005)

    def await_again(self, killed_at):
        """From now on `back_after` is how long after that moment something was acknowledged that was begun from now on, or None."""
        self.killed_at, self.since = killed_at, time.monotonic()
        self.back_after = None


def figures(seconds):
    """In milliseconds."""
    ordered = sorted(seconds)
    middle, late = (ordered[int(part * (len(ordered) - 1) + 0.5)] for part in (0.5, 0.99))
    return f"{middle * 1000:.0f}/{late * 1000:.0f}/{ordered[-1] * 1000:.0f}"


@house.both_forms
class Kills(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        seed = os.environ.get("SEED", str(time.time_ns()))
        print(f"SEED={seed}")
        self.random = random.Random(seed)
        self.house.write(self.house.folder / "kmsd" / "policy.json", json.dumps(EVERYTHING))
        self.kms = self.house.start("kmsd")
        # Others find it where it was.
        self.house.configure("kmsd", {"listen": {"address": "127.0.0.1", "port": self.kms.port}})
        self.house.write(self.house.folder / "kmsd" / "policy.json", json.dumps(EVERYTHING))
        with contextlib.closing(self.house.client(self.kms, "operator")) as operator:
            for alias in ("credentials", "applications"):
                self.assertEqual(operator.call("POST", "/v1/keys", {"alias": alias}).status, 201)
        self.house.configure("vaultd", kms_port=self.kms.port)
        self.vault = self.house.start("vaultd")
        self.house.configure("vaultd", {"listen": {"address": "127.0.0.1", "port": self.vault.port}}, self.kms.port)
        self.kills = collections.Counter()  # of processes, by victim
        self.to_be_recorded = {"kmsd": set(), "vaultd": set()}  # ids of acknowledged requests

    def is_acknowledged(self, daemon, answer, status):
        if answer.status == 503:
            return False  # one that it needs was killed; it was said so, and nothing promised
        assert answer.status == status, answer
        self.to_be_recorded[daemon].add(answer.headers["X-Request-Id"].encode())
        return True

    def make_key(self, client, number):
        """A new master key after each kill, then data keys of those that are there."""
        if len(self.aliases) <= min(self.kills.total(), MOST_KEYS):
            alias = f"key-{number}"
            made = client.call("POST", "/v1/keys", {"alias": alias})
            if not self.is_acknowledged("kmsd", made, 201):
                return {}
            self.aliases.append((alias, made.json()["id"]))
        alias, key = self.random_of_keys.choice(self.aliases)
        made = client.call("POST", f"/v1/keys/alias/{alias}/data-keys", {})
        if not self.is_acknowledged("kmsd", made, 200):
            return {}
        data_key = made.json()["data_keys"][0]
        return {data_key["wrapped"]: (alias, key, data_key["plaintext"])}

    def store(self, client, number):
        secret = {"token": os.urandom(24).hex()}
        stored = client.call("PUT", house.credential_path("acme", f"c{number}"), {"secret": secret})
        if not self.is_acknowledged("vaultd", stored, 201):
            return {}
        return {f"c{number}": secret}

    def kill(self, victim, writers):
        """Has the writers look for what is acknowledged again."""
        if victim in ("kmsd", "vaultd"):
            daemon = self.kms if victim == "kmsd" else self.vault
            begin = time.monotonic()
            daemon.kill()
            killed = 1
        else:
            workers = house.workers_of(self.kms)  # also one that is logging in just now
            if victim == "one worker":
                workers = workers and [self.random.choice(workers)]
            begin, killed = time.monotonic(), 0
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    killed += 1
        for writer in writers:
            writer.await_again(begin)
        if victim == "kmsd":
            self.kms = self.house.start("kmsd")
        elif victim == "vaultd":
            self.vault = self.house.start("vaultd")
        self.kills[victim] += killed

    def in_turn(self):
        """Each victim as often as the others, in an order that is drawn anew each time."""
        while True:
            yield from self.random.sample(VICTIMS, len(VICTIMS))

    def check_keys(self, acknowledged):
        with contextlib.closing(self.house.client(self.kms, "app")) as client:
            for alias, key in list(self.aliases):
                described = client.call("GET", f"/v1/keys/alias/{alias}")
                self.assertEqual((described.status, described.json().get("id")), (200, key), alias)
            wrapped = list(acknowledged)
            for first in range(0, len(wrapped), BATCH):
                some = wrapped[first:first + BATCH]
                answer = client.call("POST", "/v1/data-keys/unwrap", {"items": [{"wrapped": each} for each in some]})
                self.assertEqual(answer.status, 200, answer)
                for each, item in zip(some, answer.json()["results"], strict=True):
                    self.assertEqual(item.get("plaintext"), acknowledged[each][2], (acknowledged[each][0], item))

    def check_credentials(self, acknowledged):
        with contextlib.closing(self.house.client(self.vault, "app")) as client:
            for name, secret in acknowledged.items():
                revealed = client.call("POST", house.credential_path("acme", name, "/reveal"))
                self.assertEqual((revealed.status, revealed.json().get("secret")), (200, secret), name)

    def check_records(self, daemon):
        missing = set(self.to_be_recorded[daemon])
        self.assertTrue(missing)
        for file in (self.house.folder / daemon / "audit").glob("audit*.jsonl"):
            with file.open("rb") as lines:
                for line in lines:
                    found = REQUEST_ID.search(line)  # the first is the record's own
                    if found and found[1] in missing and json.loads(line)["outcome"] == "ok":
                        missing.remove(found[1])
        self.assertEqual(missing, set(), f"acknowledged by {daemon} and not in its audit log")

    def check_nothing_is_unrecorded(self):
        """Each credential that is there, acknowledged or not, has at least its intent in the log."""
        stored, cursor = set(), ""
        with contextlib.closing(self.house.client(self.vault, "app")) as client:
            while cursor is not None:
                page = client.call("GET", "/v1/owners/acme/credentials?limit=100" + (cursor and f"&cursor={cursor}"))
                self.assertEqual(page.status, 200, page)
                stored.update(credential["name"] for credential in page.json()["credentials"])
                cursor = page.json().get("next_cursor")
        recorded = set()
        for file in (self.house.folder / "vaultd" / "audit").glob("audit*.jsonl"):
            with file.open("rb") as lines:
                for line in lines:
                    if b'"action":"store_credential"' in line:
                        record = json.loads(line)
                        if record["outcome"] != "denied":
                            recorded.update(decision["resource"]["id"] for decision in record.get("decisions", []))
        self.assertTrue(stored)
        self.assertEqual(stored - recorded, set(), "stored and not in the audit log")
        return len(stored)

    def sample(self, writer):
        acknowledged = dict(writer.acknowledged)
        return dict(self.random.sample(sorted(acknowledged.items()), min(SAMPLE, len(acknowledged))))

    def well_again(self, writers):
        """Both daemons acknowledged what was begun since the kill."""
        house.wait_until(lambda: all(writer.back_after is not None or not writer.is_alive() for writer in writers),
                         "both daemons acknowledge again")
        for writer in writers:
            self.assertIsNone(writer.failure)
            self.assertTrue(writer.is_alive())

    def test_what_was_acknowledged_survives_every_kill(self):
        self.aliases, self.random_of_keys = [], random.Random(0)
        writers = [Writer(self.house.client(self.kms, "app"), self.make_key), Writer(self.house.client(self.vault, "app"), self.store)]
        keys, credentials = writers
        for writer in writers:
            writer.start()
            self.addCleanup(writer.join)
            self.addCleanup(writer.stopping.set)
        look, victims, back_after = LOOK_EVERY, self.in_turn(), collections.defaultdict(list)
        self.well_again(writers)
        while self.kills.total() < KILLS:
            # The moment of the kill is what is random here; nothing is waited for.
            time.sleep(self.random.uniform(0, 0.06))
            victim = next(victims)
            self.kill(victim, writers)
            self.well_again(writers)
            back_after[victim].append((credentials if victim == "vaultd" else keys).back_after)
            if self.kills.total() >= look:
                look += LOOK_EVERY
                print(f"{self.kills.total()} of {KILLS} kills", flush=True)
                self.check_keys(self.sample(keys))
                self.check_credentials(self.sample(credentials))
        for victim in VICTIMS:
            self.assertGreaterEqual(self.kills[victim], self.kills.total() / 10, self.kills)
        self.well_again(writers)
        for writer in writers:
            writer.stopping.set()
            writer.join()
            self.assertIsNone(writer.failure)
        self.check_keys(keys.acknowledged)
        self.check_credentials(credentials.acknowledged)
        for daemon in self.to_be_recorded:
            self.check_records(daemon)
        stored = self.check_nothing_is_unrecorded()
        print(f"{self.kills.total()} kills: {len(self.aliases)} keys, {len(keys.acknowledged)} data keys and "
              f"{len(credentials.acknowledged)} credentials acknowledged, none lost; "
              f"{sum(map(len, self.to_be_recorded.values()))} requests and {stored} credentials, all recorded; of "
              + ", ".join(f"{victim} {self.kills[victim]}, acknowledged again after {figures(back_after[victim])} ms"
                          for victim in VICTIMS) + " (median/p99/longest)")


if __name__ == "__main__":
    house.main()
