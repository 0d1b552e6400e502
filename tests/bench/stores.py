"""The vault with many records: batched reveals, stores and reveals among a million others, and moving all of them to a new
version of the master key."""
import contextlib
import json
import os
import pathlib
import re
import sqlite3
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import house  # noqa: E402
import postgresql  # noqa: E402
from figures import BARE_DECRYPT, BATCH, BATCH_CONNECTIONS, CONNECTIONS, ROUNDS, bare_decrypt, load  # noqa: E402

RECORDS = 1_000_000  # measure.py sets it
FEW_RECORDS = 1_000
SEALED_ROWS = "bench_sealed_rows"
ROWS_OF_COMMIT = 10_000  # of rows that are made while kmsd needs the same disk: it waits for no large write
OWNERS = 1_000  # of the records that are only there
SECRET = {"access_token": "example-" + "0" * 180, "account_id": "17840000000000000"}
PATIENCE_SECONDS = 3600


class Vault:
    """Both daemons, vaultd on SQLite or on a PostgreSQL server of its own, and whatever lies in its store."""

    def __init__(self, on_postgresql):
        self.on_postgresql = on_postgresql

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self.server = None
        try:
            if self.on_postgresql:
                self.server = postgresql.Server(fsync="on")
                self._stack.callback(self.server.end)
            self.house = self._stack.enter_context(house.House([BARE_DECRYPT, SEALED_ROWS]))
            self.kms = self.house.start("kmsd")
            with contextlib.closing(self.house.client(self.kms, "operator")) as operator:
                assert operator.call("POST", "/v1/keys", {"alias": "credentials"}).status == 201
            changes = {"store": self.server.config(schema="vaultd")} if self.server else {}
            self.house.configure("vaultd", changes, kms_port=self.kms.port)
            self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error):
        self._stack.__exit__(*error)

    def start(self):
        self.daemon = self.house.start("vaultd")

    def call(self, name, *arguments):
        with contextlib.closing(self.house.client(self.daemon, name)) as client:
            return client.call(*arguments)

    def store(self, name):
        answer = self.call("app", "PUT", house.credential_path("acme", name), {"secret": SECRET})
        assert answer.status in (200, 201), answer

    def fill(self, count):
        """So many records of other owners that nobody asks for, each as large as a real one."""
        sealed = json.dumps({"__enc": 3, "kid": "0" * 38, "dek": "A" * 116, "kc": "A" * 44, "iv": "A" * 16, "attributes": "A" * 44, "ct": "A" * 330})
        key = "0e4f9d3a-52a0-4b7c-9a43-0123456789ab"
        numbers = (f"generate_series(0, {count - 1}) AS s(n)" if self.server else "s")
        recursive = ("" if self.server else
                     f"WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1}) ")
        self.run(
            "INSERT INTO credentials (owner, name, current_version, last_version, metadata, created_at, updated_at) "
            f"{recursive}SELECT 'owner-' || (n % {OWNERS}), 'c' || n, 1, 1, '{{}}', 1, 1 FROM {numbers}",
            "INSERT INTO versions (credential, version, sealed, key_id, key_version, created_at) "
            f"SELECT id, 1, '{sealed}', '{key}', 1, 1 FROM credentials WHERE owner LIKE 'owner-%'")

    def fill_sealed(self, count):
        """So many records of one owner that open."""
        made = subprocess.Popen(
            [self.house.bin / SEALED_ROWS, f"https://127.0.0.1:{self.kms.port}", self.house.pki, "acme", str(count)],
            stdout=subprocess.PIPE, text=True, **self.house.as_daemon)
        self.daemon.stop()
        with contextlib.closing(self._connect()) as store, store:
            for number, line in enumerate(made.stdout, start=1_000_000_000):
                name, sealed, key, version = line.rstrip("\n").split("\t")
                store.execute("INSERT INTO credentials (id, owner, name, current_version, last_version, metadata, created_at, "
                              "updated_at) VALUES (?, 'acme', ?, 1, 1, '{}', 1, 1)", (number, name))
                store.execute("INSERT INTO versions (credential, version, sealed, key_id, key_version, created_at) "
                              "VALUES (?, 1, ?, ?, ?, 1)", (number, sealed, key, version))
                if number % ROWS_OF_COMMIT == 0:
                    store.commit()
        if made.wait() != 0:
            sys.exit(SEALED_ROWS + " failed")
        self.start()

    def _connect(self):
        return sqlite3.connect(self.house.folder / "vaultd" / "vault.db")

    def run(self, *statements):
        """In the database, while vaultd is stopped."""
        self.daemon.stop()
        if self.server:
            self.server.sql("SET search_path = vaultd; " + "; ".join(statements))
            self.server.sql("VACUUM ANALYZE vaultd.credentials", "VACUUM ANALYZE vaultd.versions")
        else:
            with contextlib.closing(self._connect()) as store, store:
                for statement in statements:
                    store.execute(statement)
        self.start()


def measure_batched_reveals(figures, seconds):
    with Vault(False) as vault:
        for number in range(BATCH):
            vault.store(f"b{number}")
        body = json.dumps({"items": [{"name": f"b{number}"} for number in range(BATCH)]})
        single, batched = [], []
        for _ in range(ROUNDS):
            port, pki = vault.daemon.port, vault.house.pki
            single.append(load(port, pki, house.credential_path("acme", "b0", "/reveal"), "", seconds, CONNECTIONS)[0])
            batched.append(load(port, pki, "/v1/owners/acme/reveal", body, seconds, BATCH_CONNECTIONS)[0] * BATCH)
        one, many = statistics.median_low(single), statistics.median_low(batched)
        print(f"reveal {one:8.0f} records/s alone, {many:8.0f} by {BATCH} (median of {ROUNDS} rounds)", flush=True)
        figures.show(f"reveal of {BATCH} at once / one by one, per record", f"{many / one:.2f}", many >= 4 * one, "at least 4")


def measure_sizes(figures, seconds, on_postgresql):
    """The same calls on two vaults at a time, one with few records and one with many. A store makes a version after the
    other of one credential, one caller at a time."""
    where = "PostgreSQL" if on_postgresql else "SQLite"
    body = json.dumps({"secret": SECRET})
    with Vault(on_postgresql) as few, Vault(on_postgresql) as many:
        for vault, count in ((few, FEW_RECORDS), (many, RECORDS)):
            vault.fill(count)
            for name in ("measured", "stored"):
                vault.store(name)
        os.sync()  # what filled them is not to be written while others wait for their own
        calls = {"reveal": (house.credential_path("acme", "measured", "/reveal"), "", "POST", CONNECTIONS),
                 "store": (house.credential_path("acme", "stored"), body, "PUT", 1)}
        for name, (path, sent, method, connections) in calls.items():
            ratios = []
            for _ in range(2 * ROUNDS + 1):
                rates = [load(vault.daemon.port, vault.house.pki, path, sent, seconds, connections, method=method)[0]
                         for vault in (few, many)]
                ratios.append(rates[0] / rates[1])
            ratio = statistics.median(ratios)  # both of one round meet the same machine
            figures.show(f"{name}, time with {RECORDS} records to {FEW_RECORDS}, {where}", f"{ratio:.2f}", ratio <= 1.3,
                         "at most 1.3")


def rewrap_loop(vault, seconds):
    """Decrypt and encrypt again, per second, by the bare token."""
    with contextlib.closing(vault.house.client(vault.kms, "vaultd")) as client:
        made = client.call("POST", "/v1/keys/alias/credentials/data-keys", {"count": BATCH, "plaintext": False}).json()
    with contextlib.closing(vault.house.client(vault.kms, "operator")) as operator:
        key = operator.call("GET", "/v1/keys/alias/credentials").json()
    body = '{"items":[%s]}' % ",".join('{"wrapped":"%s"}' % each["wrapped"] for each in made["data_keys"])
    token_key = key["versions"][-1]["token_key_id"].replace("-", "")
    return statistics.median_low(float(bare_decrypt(vault.house, token_key, 1, seconds, "rewrap", body=body))
                                 for _ in range(ROUNDS))


def most_memory(daemon):
    """The most that it had resident, in MiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{daemon.pid}/status").read_text()).group(1)) / 1024


def measure_rewrap(figures, seconds):
    with Vault(False) as vault:
        vault.fill_sealed(RECORDS)
        loop = rewrap_loop(vault, seconds)
        with contextlib.closing(vault.house.client(vault.kms, "operator")) as operator:
            assert operator.call("POST", "/v1/keys/alias/credentials/rotate").status == 200
        begin = time.monotonic()
        job = vault.call("operator", "POST", "/v1/rewrap-jobs").json()
        while job["state"] != "completed":
            time.sleep(0.2)
            assert time.monotonic() - begin < PATIENCE_SECONDS, job
            job = vault.call("operator", "GET", "/v1/rewrap-jobs/" + job["id"]).json()
        rate = RECORDS / (time.monotonic() - begin)
        assert job["safe_to_retire"]["safe"] and job["records"]["done"] == RECORDS, job
        memory = most_memory(vault.daemon)
        print(f"rewrap {rate:8.0f} records/s, the token alone {loop:8.0f} (one thread)", flush=True)
        figures.show(f"rewrap of {RECORDS} records / decrypt and encrypt on the token", f"{rate / loop:.2f}",
                     rate >= 0.5 * loop, "at least 0.5")
        figures.show("the most memory of vaultd meanwhile", f"{memory:.1f} MiB", memory < 64, "under 64 MiB")
        revealed = vault.call("app", "POST", house.credential_path("acme", f"c{RECORDS - 1}", "/reveal"))
        assert revealed.status == 200 and revealed.json()["key_version"] == 2, revealed


def measure_stores(figures, seconds):
    measure_batched_reveals(figures, seconds)
    for on_postgresql in (False, True):
        if on_postgresql and postgresql.programs() is None:
            print("no PostgreSQL server is installed: its figures are left out", flush=True)
            continue
        measure_sizes(figures, seconds, on_postgresql)
    measure_rewrap(figures, seconds)
