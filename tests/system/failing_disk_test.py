#!/usr/bin/env python3
"""Each call with which an order writes to the disk fails in turn: it alone, as on a broken disk, or it and all behind it,
as on a full one; a write with nothing of it on the disk, or with its first half, or as a short write. The order is refused, or
it is done and lasts; the daemon goes on, and does the next one when the disk is well. kmsd has SoftHSM in its own process here, so
that its writes fail, too. EVERY=n takes each n-th call, the first ones, and those of each name.

That no call is left out is found by tests/support/disk_recorder, which notes all that changes files (power_loss_test.py compares)."""
import collections
import contextlib
import errno
import json
import mmap
import os
import shutil
import struct
import sys
import time
import unittest

import house

sys.path.insert(0, str(house.SOURCE / "tests" / "support" / "disk_recorder"))
import recorded_disk  # noqa: E402

EVERY = house.number("EVERY", 61, 1)
WELL_WITHIN_SECONDS = 2
FIRST_ONES = 8  # are all taken: what has few calls has no others
NO_CALL = 0xffffffff
FORMS = {"broken": (errno.EIO, lambda call: call), "full": (errno.ENOSPC, lambda call: NO_CALL)}
NONE, HALF, HALF_AND_SAID = PARTS = range(3)
DONE = (200, 201, 204)
PWRITEV2 = ("pwritev2", "pwritev64v2")
STREAM = ("fflush", "fclose", "fseek")
WRITE = ("write", "writev", "pwrite", "pwrite64", "pwritev", "pwritev64")
OPEN = ("open", "open64", "openat", "openat64", "fopen", "fopen64")
CALLS_OF = {  # a note, and whether it is of a write that is durable at once: the calls that may be behind it
    (recorded_disk.WRITTEN, True): PWRITEV2,
    (recorded_disk.WRITTEN, False): WRITE + STREAM + PWRITEV2,
    (recorded_disk.RESIZED, False): ("ftruncate", "ftruncate64", *OPEN),
    (recorded_disk.CREATED, False): ("mkdir", *OPEN),
    (recorded_disk.MODE_SET, False): ("chmod", "fchmod"),
    (recorded_disk.RENAMED, False): ("rename", "renameat", "renameat2"),
    (recorded_disk.REMOVED, False): ("unlink", "unlinkat", "remove", "rmdir"),
    (recorded_disk.SYNC_ENDS, False): ("fsync", "fdatasync", "syncfs"),
}
EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]}
                           for name in ("operator", "app", "vaultd")]}


class Disk:
    """Says what tests/support/failing_disk does in a daemon that is started with its environment."""

    SIZE, TABLE, ENTRY = 4096, 32, struct.Struct("=24sII")

    def __init__(self, strongroom, name):
        self.house, self.name = strongroom, name
        orders = strongroom.folder / f"{name}.disk"
        strongroom.write(orders, "\0" * self.SIZE)
        with orders.open("r+b") as file:
            self.orders = mmap.mmap(file.fileno(), self.SIZE)
        self.environment = {"LD_PRELOAD": str(self.library("failing_disk")), "FAILING_DISK": str(orders)}

    def library(self, name):
        path = self.house.folder / f"{name}.so"
        if not path.exists():
            shutil.copy2(house.House.programs / path.name, path)
        return path

    def record(self):
        """An environment in which its calls are counted and what they do is recorded."""
        self.recorded = recorded_disk.RecordedDisk(self.house.folder, lambda path: path.parts[0] != self.name)
        made = self.recorded.begin(self.library("disk_recorder"), house.give)
        return {**self.environment, **made, "LD_PRELOAD": f"{self.environment['LD_PRELOAD']}:{made['LD_PRELOAD']}"}

    def table(self):
        """(name, made, failed) of each call."""
        entries = [self.ENTRY.unpack_from(self.orders, at)
                   for at in range(self.TABLE, self.SIZE - self.ENTRY.size + 1, self.ENTRY.size)]
        return [(name.rstrip(b"\0").decode(), made, failed) for name, made, failed in entries if name[0]]

    def made(self):
        return collections.Counter({name: made for name, made, _ in self.table()})

    def failed(self):
        return {name for name, _, failed in self.table() if failed}

    def fail(self, first, last, error, part=NONE, only=None):
        """`only`: calls of that name are counted, and no others."""
        names = [name for name, _, _ in self.table()]
        self.orders[4:24] = struct.pack("=IIIII", last, error, 0, names.index(only) + 1 if only else 0, part)
        self.orders[0:4] = struct.pack("=I", first)

    def heal(self):
        """How many calls there were since it was told to fail."""
        self.orders[0:4] = struct.pack("=I", 0)
        return struct.unpack("=I", self.orders[12:16])[0]


class Order:
    """Changes something each time that it is given. `prepare` is done before, on a disk that is well; `again`: what else an
    order is answered whose refused one was done."""

    def __init__(self, give, prepare=lambda: None, again=()):
        self.give, self.prepare, self.again = give, prepare, again
        self.name = give.__name__
        self.calls = []  # names of those that it makes


@house.both_forms
class FailingDisk(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        self.number = 0
        self.kept = {}  # what has to be true: functions without arguments, by what they are about
        self.acknowledged = set()  # requests

    def start_kmsd(self, environment=None):
        self.kms = self.house.start("kmsd", environment=environment or self.kms_disk.environment)
        self.operator = house.Client(self.kms.port, self.house.pki, "operator")
        self.addCleanup(self.operator.close)

    def set_up_kmsd(self):
        self.kms_disk = Disk(self.house, "kmsd")
        config = json.loads((self.house.folder / "kmsd" / "kmsd.json").read_text())
        self.house.configure("kmsd", {"token": {**config["token"], "process": "in_process"}})
        self.house.write(self.house.folder / "kmsd" / "policy.json", json.dumps(EVERYTHING))
        self.start_kmsd(self.kms_disk.record())
        self.keys = {}
        for alias in ("applications", "switched", "doomed"):
            self.expect_done(self.operator, "POST", "/v1/keys", {"alias": alias})
            self.keys[alias] = self.operator.call("GET", f"/v1/keys/alias/{alias}").json()["id"]
        self.expect_done(self.operator, "POST", "/v1/keys/alias/doomed/schedule-deletion")

    def expect_done(self, client, *call):
        """On a disk that is well; a busy one may keep the audit log waiting for longer than an order does."""
        answers = []

        def is_judged():
            answers.append(client.call(*call))
            return answers[-1].status != 503

        house.wait_until(is_judged, call)
        self.assertIn(answers[-1].status, DONE if len(answers) == 1 else (*DONE, 409), (call, answers))

    def expect(self, status, path, method="GET", body=None, about=None, **fields):
        """`about`: what of the same took the place of."""
        def holds():
            answer = (self.app if path.startswith("/v1/owners") else self.operator).call(method, path, body)
            self.assertEqual(answer.status, status, (path, answer))
            for name, value in fields.items():
                self.assertEqual(answer.json().get(name), value, path)

        self.kept[about or (path, self.number)] = holds

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

            self.kept["primary version"] = holds
        return answer

    def make_data_key(self):
        answer = self.operator.call("POST", "/v1/keys/alias/applications/data-keys", {})
        if answer.status == 200:
            made = answer.json()["data_keys"][0]
            self.expect(200, "/v1/data-keys/unwrap", "POST", {"wrapped": made["wrapped"]}, plaintext=made["plaintext"])
        return answer

    def change_state(self, alias, order, state, body=None):
        path = f"/v1/keys/alias/{alias}"
        answer = self.operator.call("POST", f"{path}/{order}", body or {})
        if answer.status in (200, 409):
            self.expect(200, path, about=f"state of {alias}", state=state)
        return answer

    def disable_key(self):
        return self.change_state("switched", "disable", "disabled")

    def destroy_key(self):
        """As far as an order does: the key is of no use at once."""
        return self.change_state("doomed", "schedule-deletion", "pending_deletion", {"days": 7})

    def move_alias(self):
        """To the one key and back in turn."""
        key = self.keys["applications" if self.number % 2 else "switched"]
        answer = self.operator.call("PUT", "/v1/aliases/moved", {"key": key})
        if answer.status == 200:
            self.expect(200, "/v1/keys/alias/moved", about="alias", id=key)
        return answer

    def remove_alias(self):
        answer = self.operator.call("DELETE", "/v1/aliases/removed")
        if answer.status in (204, 404):
            self.expect(404, "/v1/keys/alias/removed", about="removed alias")
        return answer

    def store(self, name, about=None):
        path, secret = house.credential_path("acme", name), {"token": os.urandom(16).hex()}
        answer = self.app.call("PUT", path, {"secret": secret})
        if answer.status in (200, 201):
            self.expect(200, path + "/reveal", "POST", about=about, secret=secret)
        return answer

    def store_credential(self):
        return self.store(f"c{self.number}")

    def replace_credential(self):
        return self.store("replaced", about="replaced credential")

    def delete_credential(self):
        path = house.credential_path("acme", "deleted")
        answer = self.app.call("DELETE", path)
        if answer.status in (204, 404):
            self.expect(404, path + "/reveal", "POST", about="deleted credential")
        return answer

    def orders_to_kmsd(self):
        def prepare(*call):
            return lambda: self.expect_done(self.operator, *call)

        return [Order(self.make_data_key), Order(self.rotate_key), Order(self.create_key),
                Order(self.disable_key, prepare("POST", "/v1/keys/alias/switched/enable")),
                Order(self.destroy_key, prepare("POST", "/v1/keys/alias/doomed/cancel-deletion"), (409,)),
                Order(self.move_alias),
                Order(self.remove_alias, prepare("PUT", "/v1/aliases/removed", {"key": self.keys["applications"]}), (404,))]

    def orders_to_vaultd(self):
        def prepare():
            self.expect_done(self.app, "PUT", house.credential_path("acme", "deleted"), {"secret": {"token": "t"}})

        return [Order(self.store_credential), Order(self.replace_credential), Order(self.delete_credential, prepare, (404,))]

    def count(self, disk, order):
        """Takes down which calls the order makes; false when something was noted that no call was counted for."""
        order.prepare()
        before, counted = disk.recorded.size(), disk.made()
        self.number += 1
        answer = order.give()
        after, counted = disk.recorded.size(), disk.made() - counted
        self.assertIn(answer.status, DONE, answer)
        noted = collections.Counter((note.what, note.what == recorded_disk.WRITTEN and note.other == 1) for note in
                                    recorded_disk.read_notes(disk.recorded.record.read_bytes()[before:after])
                                    if note.what not in (recorded_disk.SYNC_BEGINS, recorded_disk.ANSWER))
        order.calls = sorted({*order.calls, *counted})
        self.assertGreater(noted.total(), 0, "nothing was recorded")
        self.missed = {note: number for note, number in noted.items() if number > sum(counted[name] for name in CALLS_OF[note])}
        return not self.missed

    def see_that_all_can_fail(self, disk, orders):
        for order in orders:
            # One of before it may end meanwhile: a sync of the audit log's segment.
            self.assertTrue(any(self.count(disk, order) for _ in range(3)),
                            f"{order.name} changes files by calls that tests/support/failing_disk does not have: {self.missed}")
            print(f"{order.name}: {' '.join(order.calls)}", flush=True)

    def sweep(self, disk, daemon, order):
        """Fails of each name the first of its calls in all ways, and then each in turn."""
        self.failures = self.refusals = 0
        names = sorted(order.calls, key=lambda name: name not in OPEN)  # files are opened by the daemon's first order
        for number, (name, part) in enumerate((name, part) for name in names
                                              for part in (PARTS if name in WRITE + PWRITEV2 + STREAM else (NONE,))):
            self.one_fails(disk, daemon, order, list(FORMS)[number % 2], 1, part, only=name)
        for number, form in enumerate(FORMS):
            call = 1
            while self.one_fails(disk, daemon, order, form, call, part=PARTS[(call + number) % len(PARTS)]):
                call += 1 if call < FIRST_ONES else EVERY
        print(f"{order.name}: {self.failures} failing calls, {self.refusals} refused", flush=True)
        self.assertGreater(self.failures, 0, "nothing failed: the library that fails calls was not there")
        self.assertGreater(self.refusals, 0)

    def one_fails(self, disk, daemon, order, form, call, part, only=None):
        """False when the order makes no such call."""
        error, last = FORMS[form]
        what = (order.name, form, call, part, only)
        self.number += 1
        order.prepare()
        disk.fail(call, last(call), error, part, only)
        answer = order.give()
        reached = disk.heal() >= call
        if not reached:
            self.assertIn(answer.status, DONE, (*what, answer))
            return False
        self.failures += 1
        if only in PWRITEV2:
            self.assertEqual(answer.status, 503, (*what, answer))  # what the audit log has not kept is not said to be done
        if answer.status in DONE:
            self.acknowledged.add(answer.headers["X-Request-Id"])
        else:
            self.assertEqual(answer.status, 503, (*what, answer))
            self.refusals += 1
            self.well_again(order, what)
        self.assertIsNone(daemon.process.poll(), what)
        return True

    def well_again(self, order, what):
        begin = time.monotonic()
        while True:
            self.number += 1
            answer = order.give()
            if answer.status in (*DONE, *order.again):
                self.acknowledged.add(answer.headers["X-Request-Id"])
                return
            self.assertLess(time.monotonic() - begin, WELL_WITHIN_SECONDS, (*what, answer))
            time.sleep(0.01)

    def check(self, name):
        """In the daemon of that name, which was started anew."""
        for holds in self.kept.values():
            holds()
        self.assertGreater(len(self.kept), 0)
        records = (self.house.folder / name / "audit" / "audit.jsonl").read_bytes().splitlines()
        recorded = {json.loads(record).get("request_id") for record in records}
        self.assertGreater(len(self.acknowledged), 0)
        self.assertEqual(self.acknowledged - recorded, set(), "acknowledged, and not in the audit log")

    def expect_all_failed(self, disk, orders):
        names = {name for order in orders for name in order.calls}
        self.assertEqual(sorted(names - disk.failed()), [], "calls that orders make and none of which failed")

    def test_what_kmsd_acknowledges_on_a_failing_disk_lasts(self):
        self.set_up_kmsd()
        orders = self.orders_to_kmsd()
        self.see_that_all_can_fail(self.kms_disk, orders)
        self.kms.stop()
        self.start_kmsd()
        for group in ([orders[0]], [orders[1]], [orders[2]], orders[3:]):
            for order in group:
                self.sweep(self.kms_disk, self.kms, order)
            self.kms.kill()
            self.start_kmsd()
            self.check("kmsd")
        self.expect_all_failed(self.kms_disk, orders)

    def test_what_vaultd_acknowledges_on_a_failing_disk_lasts(self):
        self.kms, _ = self.house.start_both()
        self.house.daemons[-1].stop()
        disk, orders = Disk(self.house, "vaultd"), self.orders_to_vaultd()
        for environment, work, end in (
                (disk.record(), lambda: self.see_that_all_can_fail(disk, orders), house.Daemon.stop),
                (disk.environment, lambda: [self.sweep(disk, vault, order) for order in orders], house.Daemon.kill),
                (disk.environment, lambda: self.check("vaultd"), house.Daemon.kill)):
            vault = self.house.start("vaultd", environment=environment)
            with contextlib.closing(self.house.client(vault, "app")) as self.app:
                work()
            end(vault)
        self.expect_all_failed(disk, orders)


if __name__ == "__main__":
    house.main()
