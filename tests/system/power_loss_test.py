#!/usr/bin/env python3
"""The machine loses its power at any moment while keys are made and used and credentials are stored, replaced and deleted:
what was acknowledged is there and right and in the audit log when both daemons start on what the disk has then. They run
once, recorded (tests/support/disk_recorder), and what the disk has at each of CUTS moments is made from the record: nothing
that no sync had made safe, or some of it. Up to half of the moments are those at which an answer leaves, and a quarter are in the middle
of a write that is durable by itself, as those of the audit logs' journals are. SEED=n repeats the choices of one run."""
import bisect
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import house
from crash_keys_test import MESSAGE, still_holds, use

sys.path.insert(0, str(house.SOURCE / "tests" / "support" / "disk_recorder"))
import recorded_disk  # noqa: E402

CUTS = house.number("CUTS", 12, 400)  # torture/run asks for 1,000
ORDERS = house.number("ORDERS", 12, 25)  # of each writer between two restarts
AT_ONCE = 2  # cuts that are looked at
BATCH = 100
NEWEST = 8  # keys and signatures that are tried out; data keys all are
CHECKPOINTS = {"directory": "audit", "checkpoints": {"records": 20, "seconds": 1}}
EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]}
                           for name in ("operator", "app", "vaultd")]}


class Order:
    """One call that was acknowledged; `sent` and `left` are numbers of notes: the first that can be of it, and that of the
    answer."""

    def __init__(self, daemon, what, facts, answer, port, sizes):
        self.daemon, self.what, self.facts = daemon, what, facts
        self.request = answer.headers["X-Request-Id"]
        self.answer = None if answer.status == 204 else answer.json()
        self.port, self.sizes = port, sizes
        self.sent = self.left = None

    def find(self, notes, ends):
        """Its notes; `ends`: where each note ends in the record."""
        first, last = (bisect.bisect_right(ends, size) for size in self.sizes)
        self.sent = first
        self.left = max(at for at in range(first, last)
                        if notes[at].what == recorded_disk.ANSWER and notes[at].number == self.port)


class Writer(threading.Thread):
    """Gives orders one after the other through one connection."""

    def __init__(self, run, daemon, client, work):
        super().__init__()
        self.run_of, self.daemon, self.client, self.work = run, daemon, client, work
        self.failure = None

    def order(self, what, method, path, body=None, **facts):
        before = self.run_of.disk.size()
        answer = self.client.call(method, path, body)
        after = self.run_of.disk.size()
        assert answer.status in (200, 201, 204), (method, path, answer)
        return Order(self.daemon, what, facts, answer, self.client.local_port(), (before, after))

    def run(self):
        try:
            with contextlib.closing(self.client):
                for _ in range(ORDERS):
                    self.work(self)
        except Exception as error:  # whatever it is, the test must hear of it
            self.failure = error


class KeyWork:
    """Makes keys, rotates them, and uses them."""

    def __init__(self, name, seed):
        self.name, self.random = name, random.Random(f"{seed} {name}")
        self.orders, self.keys = [], []

    def __call__(self, writer):
        number = len(self.orders)
        if number % 6 == 0:
            kind, alias = ("aes_256", "ed25519")[number // 6 % 2], f"{self.name}-{number}"
            made = writer.order("create", "POST", "/v1/keys", {"alias": alias, "kind": kind}, alias=alias, kind=kind)
            self.keys.append((alias, kind, made.answer["id"]))
        else:
            alias, kind, key = self.random.choice(self.keys)
            if number % 6 == 3:
                made = writer.order("rotate", "POST", f"/v1/keys/{key}/rotate", {}, alias=alias)
            elif kind == "aes_256":
                made = writer.order("use", "POST", f"/v1/keys/{key}/data-keys", {}, key=key, kind=kind)
            else:
                made = writer.order("use", "POST", f"/v1/keys/{key}/sign", {"message": MESSAGE}, key=key, kind=kind)
        self.orders.append(made)


class CredentialWork:
    """Stores credentials of one owner, replaces them and deletes them."""

    def __init__(self, name, seed):
        self.name, self.random = name, random.Random(f"{seed} {name}")
        self.orders, self.names = [], []

    def __call__(self, writer):
        number = len(self.orders)
        if number % 2 == 0 or not self.names:
            self.names.append(f"c{number}")
            name = self.names[-1]
        else:
            name = self.random.choice(self.names)
        if number % 8 == 7:
            made = writer.order("delete", "DELETE", house.credential_path(self.name, name), name=name)
            self.names.remove(name)
        else:
            secret = {"token": self.random.randbytes(24).hex()}
            made = writer.order("store", "PUT", house.credential_path(self.name, name), {"secret": secret}, name=name, secret=secret)
        self.orders.append(made)


class RecordedRun:
    """Both daemons at work, recorded from their first start on, with a kill and a restart of each between."""

    def __init__(self, strongroom, seed):
        self.house = strongroom
        library = strongroom.folder / "disk_recorder.so"
        shutil.copy2(house.House.programs / "disk_recorder.so", library)
        self.disk = recorded_disk.RecordedDisk(strongroom.folder, self.is_none_of_theirs)
        self.environment = self.disk.begin(library, house.give)
        self.set_up = []  # orders: what vaultd needs
        self.works = [KeyWork("a", seed), KeyWork("b", seed), CredentialWork("acme", seed), CredentialWork("zeta", seed)]
        self.ports = {"kmsd": 0, "vaultd": 0}

    @staticmethod
    def is_none_of_theirs(path):
        return path.parts[0] not in ("kmsd", "vaultd") or path.suffix == ".json" and len(path.parts) == 2

    def start(self, name):
        configure(self.house, name, self.ports["kmsd"], {"listen": {"address": "127.0.0.1", "port": self.ports[name]}})
        daemon = self.house.start(name, environment=self.environment)
        self.ports[name] = daemon.port
        return daemon

    def do(self):
        kms = self.start("kmsd")
        setter = Writer(self, "kmsd", self.house.client(kms, "operator"), None)
        for alias, kind in (("credentials", "aes_256"), ("vault-audit", "ed25519")):
            self.set_up.append(setter.order("create", "POST", "/v1/keys", {"alias": alias, "kind": kind}, alias=alias,
                                            kind=kind))
        setter.client.close()
        vault = self.start("vaultd")
        self.write(kms, vault)
        kms.kill()
        vault.stop()
        kms = self.start("kmsd")
        vault = self.start("vaultd")
        self.write(kms, vault)
        vault.kill()
        kms.stop()
        self.disk.read()
        ends = [note.end for note in self.disk.notes]
        for order in self.orders():
            order.find(self.disk.notes, ends)

    def write(self, kms, vault):
        writers = [Writer(self, "kmsd", self.house.client(kms, "operator"), work) for work in self.works[:2]]
        writers += [Writer(self, "vaultd", self.house.client(vault, "app"), work) for work in self.works[2:]]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        for writer in writers:
            if writer.failure is not None:
                raise writer.failure

    def orders(self):
        return self.set_up + [order for work in self.works for order in work.orders]


def configure(strongroom, name, kms_port, changes):
    audit = {**CHECKPOINTS, "checkpoints": {**CHECKPOINTS["checkpoints"],
                                            **({"signing_key": "alias/vault-audit"} if name == "vaultd" else {})}}
    strongroom.configure(name, {"audit": audit, **changes}, kms_port)
    if name == "kmsd":
        strongroom.write(strongroom.folder / "kmsd" / "policy.json", json.dumps(EVERYTHING))
    else:
        policy = {**EVERYTHING, "bindings": EVERYTHING["bindings"][:2]}
        strongroom.write(strongroom.folder / "vaultd" / "policy.json", json.dumps(policy))


class AfterPowerLoss:
    """The daemons on what the disk had. It is a house of its own with the same token and certificates; one cut after the
    other."""

    def __init__(self, test, run, strongroom):
        self.test, self.run, self.house = test, run, strongroom

    def look(self, cut, left):
        """All that was acknowledged before the note of that number."""
        for name in ("kmsd", "vaultd"):
            shutil.rmtree(self.house.folder / name)
        left.write(self.house.folder)
        for name in ("kmsd", "vaultd"):
            house.give(self.house.folder / name)
        kmsd = self.house.folder / "kmsd"
        self.house.write(kmsd / "softhsm2.conf", house.softhsm_config(kmsd / "tokens"))
        done = [order for order in self.run.orders() if order.left <= cut]
        try:
            self.look_at_daemons(cut, done)
            for daemon in reversed(self.house.daemons):  # each seals its log
                self.test.assertEqual(daemon.stop()[0], 0)
        finally:
            for daemon in self.house.daemons:
                if daemon.process.poll() is None:
                    daemon.kill()
        for daemon in self.house.daemons:
            daemon.log.unlink()
        self.house.daemons.clear()
        for name in ("kmsd", "vaultd"):
            self.look_at_log(name, [order for order in done if order.daemon == name])

    def look_at_daemons(self, cut, done):
        configure(self.house, "kmsd", 0, {"token": self.token_in_process()})
        kms = self.house.start("kmsd")
        with contextlib.closing(self.house.client(kms, "operator")) as client:
            self.look_at_keys(client, [order for order in done if order.daemon == "kmsd"])
        if any(order not in done for order in self.run.set_up):
            return
        configure(self.house, "vaultd", kms.port, {})
        vault = self.house.start("vaultd")
        with contextlib.closing(self.house.client(vault, "app")) as client:
            for work in self.run.works[2:]:
                begun = [order for order in work.orders if order.sent < cut]
                self.look_at_credentials(client, work.name, begun, sum(order.left <= cut for order in begun))
        conflict = self.house.folder / "vaultd" / "audit" / "key-service-checkpoints.conflict"
        self.test.assertFalse(conflict.exists(), "vaultd had seen more of kmsd's log than there is")

    def token_in_process(self):
        """One process starts sooner than three."""
        return {"module": self.house.module, "uri": self.house.token_uri, "pin": {"file": "user.pin"},
                "softhsm_config": "softhsm2.conf", "process": "in_process"}

    def look_at_keys(self, client, done):
        keys = {order.facts["alias"]: [order, 0] for order in done if order.what == "create"}
        for order in done:
            if order.what == "rotate":
                keys[order.facts["alias"]][1] += 1
        for alias, (made, rotations) in keys.items():
            seen = client.call("GET", f"/v1/keys/alias/{alias}")
            self.test.assertEqual(seen.status, 200, (alias, seen))
            seen = seen.json()
            self.test.assertEqual((seen["id"], seen["state"], seen["kind"]), (made.answer["id"], "enabled", made.facts["kind"]))
            self.test.assertGreaterEqual(seen["primary_version"], 1 + rotations, seen)
        for alias, (made, _) in list(keys.items())[-NEWEST:]:  # whose files were written last
            fresh = use(client, made.answer["id"], made.facts["kind"])
            self.test.assertEqual(fresh.status, 200, (alias, fresh))
            self.test.assertTrue(still_holds(client, made.answer["id"], made.facts["kind"], fresh.json()), alias)
        uses = [order for order in done if order.what == "use"]
        for order in [order for order in uses if order.facts["kind"] != "aes_256"][-NEWEST:]:
            self.test.assertTrue(still_holds(client, order.facts["key"], order.facts["kind"], order.answer), order.facts)
        wrapped = [order.answer["data_keys"][0] for order in uses if order.facts["kind"] == "aes_256"]
        for first in range(0, len(wrapped), BATCH):
            some = wrapped[first:first + BATCH]
            answer = client.call("POST", "/v1/data-keys/unwrap", {"items": [{"wrapped": each["wrapped"]} for each in some]})
            self.test.assertEqual(answer.status, 200, answer)
            for each, item in zip(some, answer.json()["results"], strict=True):
                self.test.assertEqual(item.get("plaintext"), each["plaintext"], item)

    def look_at_credentials(self, client, owner, begun, done):
        """`begun`: the orders of this owner; all but the last one, perhaps, are done."""
        newest, stored = {}, {}  # name -> order; (name, version) -> secret
        for order in begun[:done]:
            name = order.facts["name"]
            newest[name] = order
            if order.what == "store":
                stored[name, order.answer["version"]] = order.facts["secret"]
            else:
                stored = {key: secret for key, secret in stored.items() if key[0] != name}
        pending = begun[done] if done < len(begun) else None
        sure = [name for name in newest if pending is None or pending.facts["name"] != name]
        self.reveal(client, owner, [(name, None, newest[name].facts.get("secret")) for name in sure])
        self.reveal(client, owner, [(name, version, secret) for (name, version), secret in stored.items() if name in sure])
        if pending is not None:
            name = pending.facts["name"]
            before = newest[name].facts.get("secret") if name in newest else None
            self.test.assertIn(self.answers(client, owner, [{"name": name}])[0], (before, pending.facts.get("secret")), name)
        deleted = [order.facts["name"] for order in begun[:done] if order.what == "delete"]
        recorded = client.call("GET", f"/v1/owners/{owner}/destructions?limit=100")
        self.test.assertEqual(recorded.status, 200, recorded)
        for name in deleted:
            self.test.assertIn(name.encode(), recorded.body)

    def answers(self, client, owner, items):
        """The secrets; None for what is not there."""
        answer = client.call("POST", f"/v1/owners/{owner}/reveal", {"items": items})
        self.test.assertEqual(answer.status, 200, answer)
        secrets = []
        for item in answer.json()["results"]:
            if "error" in item:
                self.test.assertEqual(item["error"]["code"], "not_found", item)
            secrets.append(item.get("secret"))
        return secrets

    def reveal(self, client, owner, expected):
        for first in range(0, len(expected), BATCH):
            some = expected[first:first + BATCH]
            items = [{"name": name, **({"version": version} if version else {})} for name, version, _ in some]
            for (name, version, secret), seen in zip(some, self.answers(client, owner, items), strict=True):
                self.test.assertEqual(seen, secret, (owner, name, version))

    def look_at_log(self, daemon, done):
        folder = self.house.folder / daemon / "audit"
        if not (folder / "audit.jsonl").exists():
            self.test.assertEqual(done, [])
            return
        recorded = {record["request_id"] for line in (folder / "audit.jsonl").read_bytes().splitlines()
                    if (record := json.loads(line)).get("request_id") and record["outcome"] == "ok"}
        missing = [(order.what, order.facts) for order in done if order.request not in recorded]
        self.test.assertEqual(missing, [], f"acknowledged by {daemon} and not in its audit log")
        if (folder / "audit.pem").exists():
            verdict = subprocess.run([self.house.bin / "kmsctl", "audit", "verify", folder, "--key", folder / "audit.pem"],
                                     capture_output=True, text=True, check=False)
            self.test.assertEqual(verdict.returncode, 0, verdict.stdout + verdict.stderr)


def is_of_database(path):
    return path.name.startswith(("kms.db", "vault.db"))


@house.both_forms
class PowerLoss(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.seed = os.environ.get("SEED", str(time.time_ns()))
        print(f"SEED={cls.seed}", flush=True)
        with contextlib.ExitStack() as stack:
            cls.run_of = RecordedRun(stack.enter_context(house.House()), cls.seed)
            cls.run_of.do()
            cls.at_the_end = cls.really_there()
            cls.addClassCleanup(stack.pop_all().close)

    @classmethod
    def really_there(cls):
        there = {}
        for path in sorted(cls.run_of.house.folder.rglob("*")):
            below = path.relative_to(cls.run_of.house.folder)
            if not cls.run_of.is_none_of_theirs(below) and (path.is_dir() or path.is_file()):
                there[below] = (path.stat().st_mode, None if path.is_dir() else path.read_bytes())
        return there

    def setUp(self):
        self.disk = self.run_of.disk
        self.disk.read()

    def look_after(self, cut, left, places):
        place = places.pop()
        try:
            place.look(cut, left)
        except AssertionError as error:
            place.house.show_logs()
            unsafe = "\n".join(map(str, self.disk.unsafe(0, cut)[-40:]))
            raise AssertionError(f"after a power loss at note {cut}; not safe then were, last:\n{unsafe}\n{error}") from error
        finally:
            places.append(place)

    def places(self, number):
        return [AfterPowerLoss(self, self.run_of, self.enterContext(house.House())) for _ in range(number)]

    def cuts(self):
        """Half of them at an answer, a quarter in a durable write, the others anywhere."""
        choice = random.Random(self.seed)
        answers = sorted(order.left for order in self.run_of.orders())
        cuts = choice.sample(answers, min(CUTS // 2, len(answers) - 1)) + answers[-1:]
        durable = self.disk.durable_writes()
        self.assertGreater(len(durable), len(answers), "each order has its records written durably")
        cuts += choice.sample(durable, min(max(1, CUTS // 4), len(durable)))
        return sorted(cuts + choice.sample(range(len(self.disk.notes)), max(0, CUTS - len(cuts))))

    def test_record_has_all_that_the_daemons_wrote(self):
        recorded = {path: (mode, content) for path, mode, content in self.disk.whole().walk()}
        self.assertEqual(sorted(recorded), sorted(self.at_the_end))
        for path, (mode, content) in self.at_the_end.items():
            self.assertEqual(oct(stat.S_IMODE(recorded[path][0])), oct(stat.S_IMODE(mode)), path)
            self.assertTrue(recorded[path][1] == content, path)

    def test_token_is_synced_before_a_key_is_acknowledged(self):
        tokens = pathlib.PurePath("kmsd/tokens")
        orders = [order for order in self.run_of.orders() if order.what in ("create", "rotate")]
        alone = 0
        for order in orders:
            made = [change.at for change in self.disk.changes if order.sent <= change.at < order.left
                    and change.what == recorded_disk.CREATED and change.file.path.is_relative_to(tokens)
                    and change.more[0].endswith(".object")]
            synced = [begin for begin, end, path in self.disk.whole_syncs if end < order.left and path.is_relative_to(tokens)]
            self.assertTrue(made, order.facts)
            self.assertTrue(any(begin > made[0] for begin in synced), order.facts)
            if len(made) == (2 if order.answer["kind"] == "ed25519" else 1):  # and no other key meanwhile
                alone += 1
                self.assertEqual(list(map(str, self.disk.unsafe(made[0], order.left, tokens))), [], order.facts)
        self.assertGreater(alone, 0)

    def test_what_was_acknowledged_survives_every_power_loss(self):
        cuts, places, durable = self.cuts(), self.places(AT_ONCE), set(self.disk.durable_writes())
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            looks = []
            for number, cut in enumerate(cuts):
                # The long form takes one of them in turn, but of a write in part the one that has it.
                some = [False, True] if not house.IS_LONG else [number % 2 == 1 or cut in durable]
                for choices in [random.Random(f"{self.seed} {cut}") if each else None for each in some]:
                    looks.append(pool.submit(lambda cut=cut, choices=choices: self.look_after(
                        cut, self.disk.left(cut, choices), places)))
            for number, look in enumerate(concurrent.futures.as_completed(looks), 1):
                if look.exception():
                    pool.shutdown(cancel_futures=True)
                look.result()
                if number % 200 == 0:
                    print(f"{number} of {len(looks)} starts, {time.monotonic() - begin:.0f} s", flush=True)
        print(f"{len(cuts)} power losses ({sum(cut in durable for cut in cuts)} in durable writes) in {len(self.disk.notes)} "
              f"notes, {len(looks)} starts: "
              f"{len(self.run_of.orders())} orders acknowledged, none lost", flush=True)

    def test_disk_that_lies_about_syncs_is_noticed(self):
        """What makes each kind of file safe is needed: without it the last answer promised too much."""
        lies = {"the token's folder": lambda path, whole: whole,
                "the databases": lambda path, whole: is_of_database(path),
                "the audit logs": lambda path, whole: "audit" in path.parts}
        last = max(order.left for order in self.run_of.orders())
        place, = self.places(1)
        for what, is_deaf_to in lies.items():
            with self.subTest(what):
                self.disk.read(is_deaf_to)
                with self.assertRaises(AssertionError) as noticed:
                    place.look(last, self.disk.left(last))
                place.house.daemons.clear()
                print(f"syncs of {what} ignored: {str(noticed.exception).splitlines()[-1][:200]}", flush=True)


class Recorder(unittest.TestCase):
    """What the record of a small program says is left of a file with "old" in it when the power goes as it ends."""

    START = "import os, ctypes; libc = ctypes.CDLL(None); f = os.open('file', os.O_RDWR); folder = os.open('.', os.O_RDONLY); "

    def record(self, program):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())).resolve()
        (folder / "file").write_bytes(b"old")
        disk = recorded_disk.RecordedDisk(folder)
        environment = {**os.environ, **disk.begin(house.House.programs / "disk_recorder.so", lambda path: None)}
        subprocess.run([sys.executable, "-c", self.START + program], cwd=folder, env=environment, check=True)
        disk.read()
        there = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("disk.record")}
        self.assertEqual(self.files(disk.whole()), there, program)
        return disk

    @staticmethod
    def files(left):
        return {str(path): content for path, _, content in left.walk()}

    def left(self, program):
        disk = self.record(program)
        return self.files(disk.left(len(disk.notes)))

    def test_only_what_was_synced_is_left(self):
        new = "g = os.open('new', os.O_WRONLY | os.O_CREAT, 0o600); os.write(g, b'bytes'); "
        stream = ("libc.fopen.restype = ctypes.c_void_p; s = ctypes.c_void_p(libc.fopen(b'file', b'r+')); "
                  "libc.fwrite(b'NEW', 1, 3, s); libc.fflush(s); ")
        for program, left in (
                ("os.write(f, b'NEW')", {"file": b"old"}),
                ("os.write(f, b'NEW'); os.fsync(f)", {"file": b"NEW"}),
                ("os.write(f, b'NEW'); os.fdatasync(f)", {"file": b"NEW"}),
                ("os.write(f, b'NEW'); os.fsync(folder)", {"file": b"old"}),
                ("os.pwrite(f, b'E', 1); os.fsync(f); os.pwrite(f, b'X', 1)", {"file": b"oEd"}),
                ("os.ftruncate(f, 1)", {"file": b"old"}),
                ("os.ftruncate(f, 1); os.fsync(f)", {"file": b"o"}),
                ("os.pwrite(f, b'X', 0); os.pwritev(f, [b'Y', b'Z'], 4, os.RWF_DSYNC)", {"file": b"old\0YZ"}),
                ("g = os.open('file', os.O_WRONLY | os.O_DSYNC); os.write(g, b'N')", {"file": b"Nld"}),
                ("os.close(os.open('file', os.O_WRONLY | os.O_TRUNC))", {"file": b"old"}),
                (new + "os.fsync(g)", {"file": b"old"}),
                (new + "os.fsync(folder)", {"file": b"old", "new": b""}),
                (new + "os.fsync(g); os.fsync(folder)", {"file": b"old", "new": b"bytes"}),
                (new + "libc.syncfs(folder)", {"file": b"old", "new": b"bytes"}),
                (new + "os.fsync(g); os.rename('new', 'file')", {"file": b"old"}),
                (new + "os.fsync(g); os.rename('new', 'file'); os.fsync(folder)", {"file": b"bytes"}),
                (new + "os.fsync(g); os.fsync(folder); os.unlink('new')", {"file": b"old", "new": b"bytes"}),
                ("os.unlink('file')", {"file": b"old"}),
                ("os.unlink('file'); os.fsync(folder)", {}),
                (stream, {"file": b"old"}),
                (stream + "os.fsync(f)", {"file": b"NEW"})):
            with self.subTest(program):
                self.assertEqual(self.left(program), left)

    def test_durable_write_is_there_in_part_until_it_has_ended(self):
        begin, end = b"B" * recorded_disk.SECTOR, b"E" * recorded_disk.SECTOR
        disk = self.record(f"os.pwritev(f, [{begin!r}, {end!r}], 0, os.RWF_DSYNC); os.pwrite(f, b'X', 0)")
        first, = disk.durable_writes()
        left = {self.files(disk.left(first, random.Random(seed)))["file"] for seed in range(100)}
        zeros = bytes(recorded_disk.SECTOR)
        old = b"old".ljust(recorded_disk.SECTOR, b"\0")
        self.assertEqual(left, {begin + end, begin + zeros, old + end, old + zeros})
        self.assertEqual(self.files(disk.left(first))["file"], b"old")
        for seed in range(10):
            self.assertIn(self.files(disk.left(first + 1, random.Random(seed)))["file"], (begin + end, b"X" + begin[1:] + end))


if __name__ == "__main__":
    house.main()
