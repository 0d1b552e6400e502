#!/usr/bin/env python3
"""kill -9 at any moment loses no acknowledged key and no acknowledged credential; SIGTERM under load
ends a daemon cleanly and soon. ROUNDS=n makes the loops longer."""
import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time
import unittest

import house

ROUNDS = house.number("ROUNDS", 2, 20)
EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]}
                           for name in ("operator", "app", "vaultd")]}


class Writer(threading.Thread):
    """Calls work(client, number) until it is told to stop or the daemon is gone; keeps what was acknowledged."""

    def __init__(self, client, first, work):
        super().__init__()
        self.client, self.number, self.work = client, first, work
        self.acknowledged = {}
        self.failures = []
        self.stopping = False

    def run(self):
        try:
            while not self.stopping:
                self.acknowledged.update(self.work(self.client, self.number))
                self.number += 1
        except (OSError, http.client.HTTPException):
            pass  # the daemon was killed under this request: nothing was acknowledged
        except AssertionError as error:
            self.failures.append(error)
        finally:
            self.client.close()


@house.both_forms
class Crash(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        seed = os.environ.get("SEED", str(time.time_ns()))
        print(f"SEED={seed}")
        self.random = random.Random(seed)

    def allow_everything(self, name):
        self.house.write(self.house.folder / name / "policy.json", json.dumps(EVERYTHING))

    def write_until_killed(self, daemon, first, work):
        """Writes a little, then kill -9 at a random moment of the next write. What was acknowledged,
        and the next number."""
        writer = Writer(self.house.client(daemon, "app"), first, work)
        writer.start()
        enough = self.random.randint(1 if first == 0 else 0, 3)
        house.wait_until(lambda: len(writer.acknowledged) >= enough or not writer.is_alive(), "some writes")
        # The moment of the kill is what is random here; nothing is waited for.
        time.sleep(self.random.uniform(0, 0.1))
        daemon.kill()
        writer.stopping = True
        writer.join()
        self.assertEqual(writer.failures, [])
        return writer.acknowledged, writer.number + 1

    def test_no_acknowledged_key_is_lost_by_kill_9(self):
        self.allow_everything("kmsd")
        keys, number = {}, 0

        def create(client, number):
            made = client.call("POST", "/v1/keys", {"alias": f"key-{number}"})
            assert made.status == 201, made
            data_key = client.call("POST", f"/v1/keys/alias/key-{number}/data-keys", {})
            assert data_key.status == 200, data_key
            return {f"key-{number}": (made.json()["id"], data_key.json()["data_keys"][0])}

        for _ in range(ROUNDS):
            daemon = self.house.start("kmsd")
            made, number = self.write_until_killed(daemon, number, create)
            keys.update(made)
        daemon = self.house.start("kmsd")
        with contextlib.closing(self.house.client(daemon, "app")) as client:
            for alias, (key_id, data_key) in keys.items():
                described = client.call("GET", f"/v1/keys/alias/{alias}")
                self.assertEqual((described.status, described.json().get("id")), (200, key_id), alias)
                opened = client.call("POST", "/v1/data-keys/unwrap", {"wrapped": data_key["wrapped"]})
                self.assertEqual((opened.status, opened.json().get("plaintext")), (200, data_key["plaintext"]), alias)
        self.assertGreater(len(keys), 0, "nothing was written between the kills")

    def test_no_acknowledged_credential_is_lost_by_kill_9_of_either_daemon(self):
        kms, vault = self.house.start_both()
        self.house.configure("kmsd", {"listen": {"address": "127.0.0.1", "port": kms.port}})
        credentials, number = {}, 0

        def store(client, number):
            name, secret = f"c{number}", {"token": os.urandom(24).hex()}
            stored = client.call("PUT", house.credential_path("acme", name), {"secret": secret})
            if stored.status == 503:
                return {}  # kmsd is the one that was killed; it was said so, and nothing promised
            assert stored.status == 201, stored
            return {name: secret}

        for turn in range(ROUNDS):
            if turn % 2:
                kms.kill()
                kms = self.house.start("kmsd")
            stored, number = self.write_until_killed(vault, number, store)
            credentials.update(stored)
            vault = self.house.start("vaultd")
        with contextlib.closing(self.house.client(vault, "app")) as client:
            for name, secret in credentials.items():
                revealed = client.call("POST", house.credential_path("acme", name, "/reveal"))
                self.assertEqual((revealed.status, revealed.json().get("secret")), (200, secret), name)
        self.assertGreater(len(credentials), 0, "nothing was written between the kills")


class CleanStop(unittest.TestCase):
    def test_sigterm_under_load_ends_both_with_code_0_within_6_seconds(self):
        with house.House() as strongroom:
            kms, vault = strongroom.start_both()

            def store(client, number):
                stored = client.call("PUT", house.credential_path("acme", f"c{number}"), {"secret": {"n": number}})
                assert stored.status in (201, 503), stored
                return {number: stored.status}

            writers = [Writer(strongroom.client(vault, "app"), first * 1000, store) for first in range(4)]
            for writer in writers:
                writer.start()
            house.wait_until(lambda: all(writer.acknowledged for writer in writers), "each writer stored something")
            for daemon in (vault, kms):
                code, seconds = daemon.stop()
                self.assertEqual(code, 0, daemon.log.read_text())
                self.assertLess(seconds, 6)
            for writer in writers:
                writer.stopping = True
                writer.join()
                self.assertEqual(writer.failures, [])

    def test_sigint_is_a_clean_stop_too_and_what_was_there_is_there_after_a_restart(self):
        with house.House() as strongroom:
            kms, vault = strongroom.start_both()
            with contextlib.closing(strongroom.client(vault, "app")) as client:
                self.assertEqual(client.call("PUT", house.credential_path("acme", "kept"), {"secret": {"a": 1}}).status, 201)
            for daemon in (vault, kms):
                daemon.process.send_signal(signal.SIGINT)
                self.assertEqual(daemon.wait_exit(), 0, daemon.log.read_text())
            _, vault = strongroom.start_both()
            with contextlib.closing(strongroom.client(vault, "app")) as client:
                self.assertEqual(client.call("POST", house.credential_path("acme", "kept", "/reveal")).json()["secret"], {"a": 1})


if __name__ == "__main__":
    house.main()
