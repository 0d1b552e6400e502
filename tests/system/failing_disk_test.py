#!/usr/bin/env python3
"""Each call with which an order writes to the disk fails in turn: it alone, as on a broken disk, or it and all behind it,
as on a full one. The order is refused, or it is done and lasts; the daemon goes on, and does the next one when the disk is well.
kmsd has SoftHSM in its own process here, so that its writes fail, too. EVERY=n takes each n-th call, and the first ones."""
import contextlib
import errno
import json
import mmap
import os
import shutil
import struct
import time
import unittest

import house

EVERY = house.number("EVERY", 61, 1)
WELL_WITHIN_SECONDS = 2
FIRST_ONES = 8  # are all taken: what has few calls has no others
FORMS = {"broken": (errno.EIO, lambda call: call), "full": (errno.ENOSPC, lambda call: 0xffffffff)}
EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]}
                           for name in ("operator", "app", "vaultd")]}


class Disk:
    """Says what tests/support/failing_disk does in a daemon that is started with its environment."""

    def __init__(self, strongroom, name):
        self.library = strongroom.folder / "failing_disk.so"
        if not self.library.exists():
            shutil.copy2(house.House.programs / "failing_disk.so", self.library)
        orders = strongroom.folder / f"{name}.disk"
        strongroom.write(orders, "\0" * 16)
        with orders.open("r+b") as file:
            self.orders = mmap.mmap(file.fileno(), 16)
        self.environment = {"LD_PRELOAD": str(self.library), "FAILING_DISK": str(orders)}

    def fail(self, first, last, error):
        self.orders[4:16] = struct.pack("=III", last, error, 0)
        self.orders[0:4] = struct.pack("=I", first)

    def heal(self):
        """How many calls there were since it was told to fail."""
        self.orders[0:4] = struct.pack("=I", 0)
        return struct.unpack("=I", self.orders[12:16])[0]


@house.both_forms
class FailingDisk(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        self.number = 0
        self.kept = []  # what has to be true: functions without arguments

    def start_kmsd(self):
        self.kms = self.house.start("kmsd", environment=self.kms_disk.environment)
        self.operator = house.Client(self.kms.port, self.house.pki, "operator")
        self.addCleanup(self.operator.close)

    def set_up_kmsd(self):
        self.kms_disk = Disk(self.house, "kmsd")
        config = json.loads((self.house.folder / "kmsd" / "kmsd.json").read_text())
        self.house.configure("kmsd", {"token": {**config["token"], "process": "in_process"}})
        self.house.write(self.house.folder / "kmsd" / "policy.json", json.dumps(EVERYTHING))
        self.start_kmsd()
        self.assertEqual(self.operator.call("POST", "/v1/keys", {"alias": "applications"}).status, 201)

    def expect(self, status, path, method="GET", body=None, **fields):
        def holds():
            answer = (self.app if path.startswith("/v1/owners") else self.operator).call(method, path, body)
            self.assertEqual(answer.status, status, (path, answer))
            for name, value in fields.items():
                self.assertEqual(answer.json().get(name), value, path)

        self.kept.append(holds)

    def create_key(self):
        alias = f"key-{self.number}"
        answer = self.operator.call("POST", "/v1/keys", {"alias": alias})
        if answer.status == 201:
            self.expect(200, f"/v1/keys/alias/{alias}", id=answer.json()["id"], state="enabled")
            self.expect(200, f"/v1/keys/alias/{alias}/data-keys", "POST", {})
        return answer

    def rotate_key(self):
        answer = self.operator.call("POST", "/v1/keys/alias/applications/rotate", {})
        if answer.status == 200:
            version = answer.json()["primary_version"]

            def holds():
                self.assertGreaterEqual(self.operator.call("GET", "/v1/keys/alias/applications").json()["primary_version"], version)

            self.kept.append(holds)
        return answer

    def make_data_key(self):
        answer = self.operator.call("POST", "/v1/keys/alias/applications/data-keys", {})
        if answer.status == 200:
            made = answer.json()["data_keys"][0]
            self.expect(200, "/v1/data-keys/unwrap", "POST", {"wrapped": made["wrapped"]}, plaintext=made["plaintext"])
        return answer

    def store_credential(self):
        path, secret = house.credential_path("acme", f"c{self.number}"), {"token": os.urandom(16).hex()}
        answer = self.app.call("PUT", path, {"secret": secret})
        if answer.status == 201:
            self.expect(200, path + "/reveal", "POST", secret=secret)
        return answer

    def sweep(self, disk, daemon, order):
        """(calls that failed, orders refused)"""
        refused = failed = 0
        for form, (error, last) in FORMS.items():
            call = 1
            while True:
                self.number += 1
                disk.fail(call, last(call), error)
                answer = order()
                reached = disk.heal() >= call
                if not reached:
                    self.assertIn(answer.status, (200, 201), (form, call, answer))
                    break
                failed += 1
                if answer.status not in (200, 201):
                    self.assertEqual(answer.status, 503, (form, call, answer))
                    refused += 1
                    self.well_again(form, call, order)
                self.assertIsNone(daemon.process.poll(), (form, call))
                call += 1 if call < FIRST_ONES else EVERY
        print(f"{order.__name__}: {failed} failing calls, {refused} refused", flush=True)
        self.assertGreater(failed, 0, "nothing failed: the library that fails calls was not there")
        self.assertGreater(refused, 0)

    def well_again(self, form, call, order):
        begin = time.monotonic()
        while True:
            self.number += 1
            answer = order()
            if answer.status in (200, 201):
                return
            self.assertLess(time.monotonic() - begin, WELL_WITHIN_SECONDS, (form, call, answer))
            time.sleep(0.01)

    def check(self):
        for holds in self.kept:
            holds()
        self.assertGreater(len(self.kept), 0)

    def test_what_kmsd_acknowledges_on_a_failing_disk_lasts(self):
        self.set_up_kmsd()
        for order in (self.make_data_key, self.rotate_key, self.create_key):
            self.sweep(self.kms_disk, self.kms, order)
            self.kms.kill()
            self.start_kmsd()
            self.check()

    def test_what_vaultd_acknowledges_on_a_failing_disk_lasts(self):
        self.kms, _ = self.house.start_both()
        self.house.daemons[-1].stop()
        disk = Disk(self.house, "vaultd")
        for _ in range(2):
            vault = self.house.start("vaultd", environment=disk.environment)
            with contextlib.closing(self.house.client(vault, "app")) as self.app:
                self.check() if self.kept else self.sweep(disk, vault, self.store_credential)
            vault.kill()


if __name__ == "__main__":
    house.main()
