#!/usr/bin/env python3
"""A second after use no copy of a PIN, of an unwrapped data key or of a revealed secret is left in the
memory of the daemons and of kmsd's token workers, and kmsd itself never has the PKCS#11 module. Root reads all of it: TRIALS data keys are unwrapped and as
many secrets revealed, one by one and in batches, so many at a time, and after a second each of these is searched for, and the
data keys of the secrets' records. Also what free() leaves of a copy is found, and base64 at each alignment. The connections
stay open meanwhile: what they read and wrote is to be gone all the same."""
import base64
import contextlib
import os
import re
import subprocess
import sys
import time
import unittest

import house

TRIALS = house.number("TRIALS", 12, 1000)
AT_A_TIME = 50  # few enough that none is gone only because many came after it
CHUNK = 16 << 20
PAGE = 4096
# The C library's free() writes its lists over the first 16 bytes of a small piece: the end of what was in it stays.
TAIL_BYTES, SHORTEST_TAIL = 16, 12

# Puts values at rest in memory that malloc gave, which is freed or not. They are never whole elsewhere in the process: it is
# told them masked, and writes them byte by byte.
PLANTER = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
planted = []
for masked in (bytes.fromhex(each) for each in sys.argv[2:]):
    planted.append(libc.malloc(len(masked)))
    for at, byte in enumerate(masked):
        libc.memset(planted[-1] + at, byte ^ 0xAA, 1)
if sys.argv[1] == "freed":
    for piece in planted:
        libc.free(piece)
print(flush=True)
sys.stdin.read()
"""


def forms(value):
    """The byte strings by which a copy of `value`, or what free() left of it, is found: its end, as it is and in base64 at each
    alignment."""
    tail = value[-TAIL_BYTES:]
    assert len(tail) >= SHORTEST_TAIL, "too short to tell from chance"
    found = [tail]
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + tail)
        # What depends on neighbours is cut.
        found.append(text[4 if shift else 0:].rstrip(b"=")[:-1])
    return found


def memory_of(pid):
    """Everything that the process can write to: (name of the mapping, bytes)."""
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        ranges = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw\S* \S+ \S+ \S+ *(.*)$", maps.read(), re.MULTILINE)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, name in ranges:
            at, last = int(begin, 16), int(end, 16)
            parts = []
            while at < last:
                with contextlib.suppress(OSError):
                    memory.seek(at)
                    parts.append(memory.read(min(CHUNK, last - at)))
                at += CHUNK
            yield name or "anonymous", without_empty_pages(b"".join(parts))


def without_empty_pages(content):
    """Most of the memory was never written to, and no secret reaches over a whole page of zeros."""
    empty = bytes(PAGE)
    return b"".join(page for page in (content[at:at + PAGE] for at in range(0, len(content), PAGE)) if page != empty)


def copies(pid, needles):
    """(what, mapping) for each needle that is found."""
    found = []
    for mapping, content in memory_of(pid):
        found += [(what, mapping) for what, forms in needles.items() if any(form in content for form in forms)]
    return found


@unittest.skipUnless(os.geteuid() == 0, "only root can read the memory of a process that is not dumpable")
class Memory(unittest.TestCase):
    maxDiff = None
    @classmethod
    def setUpClass(cls):
        cls.house = cls.enterClassContext(house.House())
        cls.kms, cls.vault = cls.house.start_both()
        cls.seen_in_store = set()
        cls.workers = house.wait_until(lambda: house.both_workers(cls.kms), "a worker that serves and one that stands by")

    def connect(self):
        """Of each round its own, since an idle connection does not last for ever."""
        self.app, self.owner, self.vaults = (
            self.enterContext(contextlib.closing(self.house.client(daemon, name)))
            for daemon, name in ((self.kms, "app"), (self.vault, "app"), (self.kms, "vaultd")))

    @staticmethod
    def forms_of_key(text):
        """Of a data key in base64: of its bytes, which is its text at any alignment too."""
        return forms(base64.b64decode(text))

    def use_keys(self, numbers):
        """Each is made and unwrapped alone, and once more with the others."""
        needles, items = {}, []
        for number in numbers:
            context = {"n": str(number)}
            made = self.app.call("POST", "/v1/keys/alias/applications/data-keys", {"context": context}).json()
            wrapped, text = (made["data_keys"][0][name] for name in ("wrapped", "plaintext"))
            items.append({"wrapped": wrapped, "context": context})
            answer = self.app.call("POST", "/v1/data-keys/unwrap", items[-1])
            self.assertEqual(answer.json()["plaintext"], text)
            needles[f"data key {number}"] = self.forms_of_key(text)
        self.unwrap_many(needles, items)
        batch = self.app.call("POST", "/v1/keys/alias/applications/data-keys", {"count": len(items)}).json()["data_keys"]
        needles |= {f"data key {number} of a batch": self.forms_of_key(made["plaintext"])
                    for number, made in zip(numbers, batch, strict=True)}
        self.unwrap_many(needles, [{"wrapped": made["wrapped"]} for made in batch])
        return needles

    def unwrap_many(self, needles, items):
        answer = self.app.call("POST", "/v1/data-keys/unwrap", {"items": items})
        results = answer.json()["results"]
        self.assertEqual(len(results), len(items))
        for result in results:
            self.assertIn(self.forms_of_key(result["plaintext"]), needles.values())

    def use_secrets(self, numbers):
        needles, secrets = {}, []
        for number in numbers:
            # Of every length, so that each way of keeping short and long texts is met.
            secret = {"access_token": os.urandom(6 + number % 40).hex(), "pin": os.urandom(6).hex()}
            path = house.credential_path("acme", f"memory-{number}")
            self.assertEqual(self.owner.call("PUT", path, {"secret": secret}).status, 201)
            self.assertEqual(self.owner.call("POST", path + "/reveal").json()["secret"], secret)
            needles[f"secret {number}"] = [form for text in secret.values() for form in forms(text.encode())]
            needles[f"data key of secret {number}"] = self.forms_of_key(self.record_data_key(f"memory-{number}"))
            secrets.append(secret)
        items = [{"name": f"memory-{number}"} for number in numbers]
        answer = self.owner.call("POST", "/v1/owners/acme/reveal", {"items": items})
        self.assertEqual([result.get("secret") for result in answer.json()["results"]], secrets)
        return needles

    def record_data_key(self, name):
        """As vaultd itself has it opened. Only vaultd can ask its database: the file is searched for what is new there."""
        content = (self.house.folder / "vaultd" / "vault.db").read_bytes()
        (wrapped,) = set(re.findall(rb'"dek":"([A-Za-z0-9+/=_-]+)"', content)) - self.seen_in_store
        self.seen_in_store.add(wrapped)
        opened = self.vaults.call("POST", "/v1/data-keys/unwrap", {
            "wrapped": wrapped.decode(), "context": {"owner": "acme", "credential": name, "version": "1"}})
        self.assertEqual(opened.status, 200, opened)
        return opened.json()["plaintext"]

    @house.both_forms
    def test_nothing_is_left_a_second_after_use(self):
        # In base64 too: so the worker gives it to the read-back program.
        pins = {f"{name} PIN": forms(pin.encode()) for name, pin in self.house.pins.items()}
        searches = 0
        for first in range(0, TRIALS, AT_A_TIME):
            numbers = range(first, min(first + AT_A_TIME, TRIALS))
            self.connect()
            needles = {**self.use_keys(numbers), **self.use_secrets(numbers), **pins}
            self.assertEqual(len(needles), 4 * len(numbers) + len(pins))
            time.sleep(1)  # the promise itself: a second after use
            self.assertEqual(house.workers_of(self.kms), self.workers)
            for pid in (self.kms.pid, self.vault.pid, *self.workers):
                self.assertEqual(copies(pid, needles), [], pid)
                searches += 1
        print(f"{TRIALS} data keys and {TRIALS} secrets with theirs, as many data keys in batches, {searches} searches through a process's memory: nothing found")

    def test_the_module_is_in_the_workers_and_not_in_kmsd(self):
        module = os.path.realpath(self.house.module)
        for worker in self.workers:
            self.assertIn(module, house.mapped_files(worker))
        self.assertNotIn(module, house.mapped_files(self.kms.pid))
        self.assertEqual([name for name in house.mapped_files(self.kms.pid) if "softhsm" in name.lower()], [])

    def test_kmsd_opened_neither_the_module_nor_the_token(self):
        # What it has open now; that it never had the PIN is the search above.
        opened = [os.readlink(f"/proc/{self.kms.pid}/fd/{number}") for number in os.listdir(f"/proc/{self.kms.pid}/fd")]
        for path in opened:
            self.assertFalse(path.endswith(("user.pin", ".so")) or "/tokens/" in path, path)

    def test_the_search_finds_what_is_there(self):
        self.assertEqual({what for what, _ in copies(self.kms.pid, {"name": [b"strongroom"], "none": [os.urandom(16)]})},
                         {"name"})

    def found_in_another(self, manner, values, needles):
        with subprocess.Popen([sys.executable, "-c", PLANTER, manner, *(bytes(byte ^ 0xAA for byte in value).hex() for value in values)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as planter:
            planter.stdout.readline()
            found = {what for what, _ in copies(planter.pid, needles)}
            planter.stdin.close()
        return found

    def test_the_search_finds_what_free_leaves_of_a_key(self):
        key = os.urandom(32)
        needles = {"whole": [key], "its end": forms(key), "another": forms(os.urandom(32))}
        self.assertEqual(self.found_in_another("kept", [key], needles), {"whole", "its end"})
        self.assertEqual(self.found_in_another("freed", [key], needles), {"its end"})

    def test_the_search_finds_base64_at_each_alignment(self):
        values = [os.urandom(size) for size in (16, 24, 32, 33, 34, 64)]
        texts, needles = [], {}
        for value in values:
            for shift in range(3):
                texts.append(base64.b64encode(os.urandom(shift) + value + os.urandom(5)))
                needles[f"{len(value)} after {shift}"] = forms(value)
        self.assertEqual(self.found_in_another("kept", texts, needles), set(needles))
        # One by one, since all alignments of one value have the same needles.
        for shift in range(3):
            text = base64.b64encode(os.urandom(shift) + values[2] + os.urandom(5))
            self.assertEqual(self.found_in_another("freed", [text], {"it": forms(values[2])}), {"it"}, shift)


if __name__ == "__main__":
    house.main()
