#!/usr/bin/env python3
"""kmsd with two copies of one token, which both serve. One is taken away under load: no unwrap fails, of what makes data keys
only calls under way do; nor does an unwrap fail when one hangs. It comes back and serves again, without a restart. /readyz names each. ROUNDS=n makes it longer."""
import contextlib
import os
import shutil
import signal
import struct
import threading
import unittest

import house

ROUNDS = house.number("ROUNDS", 1, 10)
UNWRAPPING = 3
MAKING = 2


CKA_VALUE = 0x11


def attributes_of(file):
    """{type: (where its value begins, where it ends)} of an object file of SoftHSM (hsm/softhsm_object_file.h)."""
    found, at = {}, 8
    while at < len(file):
        kind, form = struct.unpack_from(">QQ", file, at)
        at += 16
        size = {1: 1, 2: 8}.get(form)
        if size is None:  # bytes and templates begin with their length, a set of mechanisms with how many they are
            size = struct.unpack_from(">Q", file, at)[0] * (8 if form == 5 else 1)
            at += 8
        found[kind] = (at, at + size)
        at += size
    return found


def exchange_keys(one, other):
    """Two key objects have each other's key from now on, under ids that stay."""
    before = [path.read_bytes() for path in (one, other)]
    places = [slice(*attributes_of(file)[CKA_VALUE]) for file in before]
    for path, file, place, value in zip((one, other), before, places, (before[1][places[1]], before[0][places[0]])):
        path.write_bytes(file[:place.start] + value + file[place.stop:])


class Caller(threading.Thread):
    """Makes the same call until it is told to stop; `is_right` judges what was answered with 200."""

    def __init__(self, client, path, body, is_right):
        super().__init__()
        self.client, self.path, self.body, self.is_right = client, path, body, is_right
        self.stopping = threading.Event()
        self.good, self.unavailable, self.wrong = 0, 0, []

    def run(self):
        with contextlib.closing(self.client):
            while not self.stopping.is_set():
                answer = self.client.call("POST", self.path, self.body)
                if answer.status == 200 and self.is_right(answer.json()):
                    self.good += 1
                elif answer.status == 503:
                    self.unavailable += 1
                else:
                    self.wrong.append(answer)


class SeveralTokens(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        self.folder = self.house.folder / "kmsd"
        kms = self.house.start("kmsd")
        with contextlib.closing(self.house.client(kms, "operator")) as operator:
            self.assertEqual(operator.call("POST", "/v1/keys", {"alias": "applications"}).status, 201)
        with contextlib.closing(self.house.client(kms, "app")) as client:
            self.data_key = client.call("POST", "/v1/keys/alias/applications/data-keys", {}).json()["data_keys"][0]
        self.assertEqual(kms.stop()[0], 0)
        self.copy_token()

    def copy_token(self):
        """As deploy/README.md has it."""
        shutil.copytree(self.folder / "tokens", self.folder / "tokens-b")
        self.house.write(self.folder / "softhsm2-b.conf", house.softhsm_config(self.folder / "tokens-b"))
        house.give(self.folder / "tokens-b")

    def copy_new_objects(self):
        """As deploy/README.md has it, too."""
        for made in (self.folder / "tokens").glob("*/*"):
            copied = self.folder / "tokens-b" / made.relative_to(self.folder / "tokens")
            if made.name == "generation" or (made.suffix in (".object", ".lock") and not copied.exists()):
                shutil.copy2(made, copied)
        house.give(self.folder / "tokens-b")

    def start(self):
        token = {"module": self.house.module, "uri": self.house.token_uri, "pin": {"file": "user.pin"}}
        os.symlink(self.house.bin / "strongroom-token-worker", self.house.folder / "worker-of-b")
        self.house.configure("kmsd", {"tokens": [
            {"name": "a", "softhsm_config": "softhsm2.conf", **token},
            {"name": "b", "softhsm_config": "softhsm2-b.conf", "worker_program": str(self.house.folder / "worker-of-b"), **token}],
            "token": None})
        self.kms = self.house.start("kmsd")
        self.operator = self.enterContext(contextlib.closing(self.house.client(self.kms, "operator")))

    def ready(self):
        answer = self.operator.call("GET", "/readyz")
        return answer.status, answer.json()["checks"]

    def gauge(self, name):
        lines = self.operator.call("GET", "/metrics").body.decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"strongroom_{name} ")
                    or line.startswith(f"strongroom_{name}{{"))

    def start_callers(self):
        unwrapping = [Caller(self.house.client(self.kms, "app"), "/v1/data-keys/unwrap", {"wrapped": self.data_key["wrapped"]},
                             lambda made: made["plaintext"] == self.data_key["plaintext"]) for _ in range(UNWRAPPING)]
        making = [Caller(self.house.client(self.kms, "app"), "/v1/keys/alias/applications/data-keys", {},
                         lambda made: len(made["data_keys"]) == 1) for _ in range(MAKING)]
        for caller in unwrapping + making:
            caller.start()
            self.addCleanup(caller.join)
            self.addCleanup(caller.stopping.set)
        return unwrapping, making

    def answers_go_on(self, callers):
        before = [caller.good for caller in callers]
        house.wait_until(lambda: all(caller.good > count + 20 for caller, count in zip(callers, before)), "answers go on")

    def opens_and_makes(self):
        with contextlib.closing(self.house.client(self.kms, "app")) as client:
            for _ in range(6):  # each token has its turn
                made = client.call("POST", "/v1/keys/alias/applications/data-keys", {})
                self.assertEqual(made.status, 200, made)
                for key in (made.json()["data_keys"][0], self.data_key):
                    answer = client.call("POST", "/v1/data-keys/unwrap", {"wrapped": key["wrapped"]})
                    self.assertEqual((answer.status, answer.json().get("plaintext")), (200, key["plaintext"]))

    def take_b_away(self, use=lambda: None):
        """`use`: what meets it, where no caller does."""
        (self.folder / "tokens-b").rename(self.folder / "aside")
        for worker in house.workers_of(self.kms, "worker-of-b"):
            os.kill(worker, signal.SIGKILL)
        house.wait_until(lambda: (use(), self.gauge("tokens_in_use") == 1)[1], "b is known to be gone")

    def take_a_away(self):
        (self.folder / "tokens").rename(self.folder / "aside")
        for worker in house.workers_of(self.kms):
            os.kill(worker, signal.SIGKILL)

    def bring_b_back(self):
        (self.folder / "aside").rename(self.folder / "tokens-b")
        house.wait_until(lambda: self.gauge("tokens_in_use") == 2, "b is back")

    @house.both_forms
    def test_a_token_that_is_lost_under_load_fails_only_calls_under_way(self):
        self.start()
        self.assertEqual(self.gauge("tokens_in_use"), 2)
        unwrapping, making = self.start_callers()
        self.answers_go_on(unwrapping + making)
        self.assertEqual([caller.unavailable for caller in unwrapping + making], [0] * (UNWRAPPING + MAKING))
        for number in range(1, ROUNDS + 1):
            self.take_b_away()
            self.answers_go_on(unwrapping + making)
            status, checks = self.ready()
            self.assertEqual((status, checks["token"], checks["token.a"]), (200, "ok", "ok"))
            self.assertNotEqual(checks["token.b"], "ok")
            self.bring_b_back()
            self.answers_go_on(unwrapping + making)
            self.assertEqual(self.ready()[1]["token.b"], "ok")
            for caller in unwrapping:
                self.assertEqual(caller.unavailable, 0)
            for caller in making:
                self.assertLessEqual(caller.unavailable, number)  # the one that was under way
        for caller in unwrapping + making:
            caller.stopping.set()
        for caller in unwrapping + making:
            caller.join()
            self.assertEqual(caller.wrong, [])
        # And it is not only said to serve: without the other one it does.
        self.take_a_away()
        with contextlib.closing(self.house.client(self.kms, "app")) as client:
            for _ in range(10):
                answer = client.call("POST", "/v1/data-keys/unwrap", {"wrapped": self.data_key["wrapped"]})
                self.assertEqual((answer.status, answer.json()["plaintext"]), (200, self.data_key["plaintext"]))
            # The other one makes the keys.
            self.assertEqual(self.operator.call("POST", "/v1/keys", {"alias": "new"}).status, 503)

    def test_a_token_that_hangs_under_load_fails_no_unwrap(self):
        self.start()
        unwrapping, making = self.start_callers()
        self.answers_go_on(unwrapping + making)
        hanging = house.wait_until(lambda: house.both_workers(self.kms, "worker-of-b"), "both workers of b")
        for worker in hanging:
            os.kill(worker, signal.SIGSTOP)
        house.wait_until(lambda: self.gauge("tokens_in_use") == 1, "b is known to hang")
        self.answers_go_on(unwrapping + making)
        # Its workers are replaced.
        house.wait_until(lambda: self.gauge("tokens_in_use") == 2, "b is back")
        self.answers_go_on(unwrapping + making)
        self.assertFalse(set(hanging) & set(house.workers_of(self.kms, "worker-of-b")))
        for caller in unwrapping:
            self.assertEqual(caller.unavailable, 0)
        for caller in making:
            self.assertLessEqual(caller.unavailable, 1)

    def test_kmsd_starts_with_one_of_its_tokens_and_takes_the_other_when_it_is_there(self):
        (self.folder / "tokens-b").rename(self.folder / "aside")
        (self.folder / "tokens-b").mkdir(mode=0o700)
        house.give(self.folder / "tokens-b")
        self.start()
        self.assertEqual(self.gauge("tokens_in_use"), 1)
        self.assertEqual(self.ready()[0], 200)
        # What is made now is in the first only, and is used from there.
        rotated = self.operator.call("POST", "/v1/keys/alias/applications/rotate", {})
        self.assertEqual((rotated.status, rotated.json()["primary_version"]), (200, 2))
        (self.folder / "tokens-b").rmdir()
        self.bring_b_back()
        with contextlib.closing(self.house.client(self.kms, "app")) as client:
            for _ in range(6):
                made = client.call("POST", "/v1/keys/alias/applications/data-keys", {}).json()["data_keys"][0]
                for key in (made, self.data_key):
                    answer = client.call("POST", "/v1/data-keys/unwrap", {"wrapped": key["wrapped"]})
                    self.assertEqual((answer.status, answer.json()["plaintext"]), (200, key["plaintext"]))
        self.assertEqual(self.ready()[1]["token.b"], "ok")
        # An operator brings the new key over while both serve; then the first is not needed.
        self.copy_new_objects()
        self.take_a_away()
        with contextlib.closing(self.house.client(self.kms, "app")) as client:
            house.wait_until(lambda: client.call("POST", "/v1/keys/alias/applications/data-keys", {}).status == 200,
                             "the copied key is found in b", every=0.1)

    def test_a_first_token_with_another_key_is_not_used_for_it_and_is_used_once_it_is_put_right(self):
        with contextlib.closing(self.house.client(self.house.start("kmsd"), "operator")) as operator:
            self.assertEqual(operator.call("POST", "/v1/keys", {"alias": "other"}).status, 201)
        self.assertEqual(self.house.daemons[-1].stop()[0], 0)
        self.copy_new_objects()
        # The pair that signs the audit log is no secret key: it has no such value.
        keys = [path for path in (self.folder / "tokens").glob("*/*.object")
                if path.name != "token.object" and CKA_VALUE in attributes_of(path.read_bytes())]
        self.assertEqual(len(keys), 2, keys)
        right = {path: path.read_bytes() for path in keys}
        exchange_keys(*keys)
        self.start()
        self.assertEqual(self.gauge("token_keys_different"), 2)
        status, checks = self.ready()
        self.assertEqual((status, checks["token"], checks["token.b"]), (200, "ok", "ok"))
        self.assertNotEqual(checks["token.a"], "ok")
        self.opens_and_makes()
        workers = house.wait_until(lambda: house.both_workers(self.kms), "both workers of a")
        for path, content in right.items():
            path.write_bytes(content)

        def all_is_seen():
            self.opens_and_makes()
            self.ready()  # which has keys looked at that nobody uses
            return self.gauge("token_keys_different") == 0

        house.wait_until(all_is_seen, "what was put right is seen", every=0.1)
        self.assertEqual(self.ready()[1]["token.a"], "ok")
        self.assertEqual(house.workers_of(self.kms), workers)
        with contextlib.closing(self.house.client(self.kms, "app")) as client:
            self.take_b_away(lambda: client.call("POST", "/v1/data-keys/unwrap", {"wrapped": self.data_key["wrapped"]}))
        self.opens_and_makes()


if __name__ == "__main__":
    house.main()
