#!/usr/bin/env python3
"""Measures the real daemons against an empty handler on the same edge, in one run. Called by
tests/bench/run; prints one line for each figure and ends with 1 when one does not hold."""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import house  # noqa: E402
import measure_worker  # noqa: E402
import stores  # noqa: E402
from figures import (BARE_DECRYPT, BATCH, BATCH_CONNECTIONS, CONNECTIONS, PAIRED_ROUNDS, ROUNDS, Figures,  # noqa: E402
                     bare_decrypt, in_turn, load, memory_mib, ratio_of)

EMPTY_SERVER = "bench_empty_server"
UNAUDITED = "bench_kmsd_unaudited"
AUDITED_CONNECTIONS = ((16, 0.20), (64, 0.10))  # and what auditing may cost
VERIFIED_RECORDS = 1_000_000
SLOW_PEERS = 2000
GOOD_CONNECTIONS = 4
EDGE_ROUNDS = 5  # of ten seconds and more each, until all slow peers have come
KEYS = 100
STARTS = 5
FEW = 10  # keys
MANY = 10_000
RULES = 1_000
FEW_BINDINGS = 10
MANY_BINDINGS = 10_000
MANY_IN_TOKEN = 1_000  # SoftHSM takes about 6 ms to make each


@contextlib.contextmanager
def empty_server(strongroom):
    command = [strongroom.bin / EMPTY_SERVER, strongroom.pki / "kmsd.crt", strongroom.pki / "kmsd.key",
               strongroom.pki / "ca.crt", strongroom.folder / "kmsd" / "empty-audit"]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True,
                          **strongroom.as_daemon) as server:
        try:
            server.port = int(server.stdout.readline())
            yield server
        finally:
            server.terminate()


def measure_rates(figures, strongroom, kms, vault, seconds):
    with contextlib.closing(strongroom.client(kms, "app")) as client:
        made = client.call("POST", "/v1/keys/alias/applications/data-keys", {"context": {"tenant": "acme"}}).json()
    unwrap = '{"wrapped":"%s","context":{"tenant":"acme"}}' % made["data_keys"][0]["wrapped"]
    with contextlib.closing(strongroom.client(vault, "app")) as client:
        secret = {"access_token": "example-" + "0" * 180, "account_id": "17840000000000000"}
        assert client.call("PUT", house.credential_path("acme", "bench"), {"secret": secret}).status == 201
    with empty_server(strongroom) as empty:
        kinds = {"empty handler": (empty.port, "/empty", unwrap),
                 "unwrap": (kms.port, "/v1/data-keys/unwrap", unwrap),
                 "reveal": (vault.port, house.credential_path("acme", "bench", "/reveal"), "")}
        results = {kind: [] for kind in kinds}
        for number in range(PAIRED_ROUNDS):
            for kind in in_turn(kinds, number):
                port, path, body = kinds[kind]
                results[kind].append(load(port, strongroom.pki, path, body, seconds))
    median = {kind: statistics.median_low(found) for kind, found in results.items()}
    for kind, (rate, middle, high) in median.items():
        print(f"{kind:16} {rate:8.0f} requests/s, p50 {middle:6.2f} ms, p99 {high:6.2f} ms "
              f"({CONNECTIONS} connections, median of {PAIRED_ROUNDS} rounds)", flush=True)
    rates = {kind: [rate for rate, _, _ in found] for kind, found in results.items()}
    ratio = ratio_of(rates, "unwrap", "empty handler")
    figures.show("unwrap, audited and durable / empty handler", f"{ratio:.2f}", ratio >= 0.30, "at least 0.30")
    ratio = ratio_of(rates, "reveal", "unwrap")
    figures.show("reveal / unwrap", f"{ratio:.2f}", ratio >= 0.30, "at least 0.30")


def make_batch(strongroom, kms):
    """The body of an unwrap of BATCH items, and the id of their master key in the token."""
    with contextlib.closing(strongroom.client(kms, "app")) as client:
        made = client.call("POST", "/v1/keys/alias/applications/data-keys",
                           {"context": {"tenant": "acme"}, "count": BATCH, "plaintext": False}).json()
    with contextlib.closing(strongroom.client(kms, "operator")) as operator:
        key = operator.call("GET", "/v1/keys/alias/applications").json()
    items = ",".join('{"wrapped":"%s","context":{"tenant":"acme"}}' % each["wrapped"] for each in made["data_keys"])
    return '{"items":[%s]}' % items, key["versions"][-1]["token_key_id"].replace("-", "")


def measure_batches(figures, strongroom, kms, seconds):
    body, token_key_id = make_batch(strongroom, kms)
    found = {"batched unwrap": [], "bare loop, 1 thread": [], f"bare loop, {os.cpu_count()} threads": []}
    for _ in range(ROUNDS):
        rate, _, _ = load(kms.port, strongroom.pki, "/v1/data-keys/unwrap", body, seconds, BATCH_CONNECTIONS)
        found["batched unwrap"].append(rate * BATCH)
        for name, threads in (("bare loop, 1 thread", 1), (f"bare loop, {os.cpu_count()} threads", os.cpu_count())):
            found[name].append(float(bare_decrypt(strongroom, token_key_id, threads, seconds, body=body)))
    median = {name: statistics.median_low(rates) for name, rates in found.items()}
    for name, rate in median.items():
        print(f"{name:24} {rate:8.0f} items/s (median of {ROUNDS} rounds)", flush=True)
    ratio = median["batched unwrap"] / median["bare loop, 1 thread"]
    figures.show(f"unwrap of {BATCH}, {BATCH_CONNECTIONS} callers / bare PKCS#11 loop, per item", f"{ratio:.2f}",
                 ratio >= 0.8, "at least 0.8")


def add_records(strongroom, count):
    """Puts records of keys into the store that no token has: disabled, their versions destroyed. kmsd must be stopped."""
    with contextlib.closing(sqlite3.connect(strongroom.folder / "kmsd" / "kms.db")) as store, store:
        store.row_factory = sqlite3.Row
        key = dict(store.execute("SELECT * FROM keys ORDER BY created_at DESC LIMIT 1").fetchone())
        version = dict(store.execute("SELECT * FROM key_versions WHERE key_id = ?", (key["id"],)).fetchone())
        for number in range(count):
            key.update(id=str(uuid.uuid4()), state="disabled", created_at=key["created_at"] + 1)
            version.update(key_id=key["id"], token_key_id=str(uuid.uuid4()), state="destroyed",
                           destroyed_at=key["created_at"], request="")
            for table, row in (("keys", key), ("key_versions", version)):
                names = ", ".join(row)
                marks = ", ".join("?" for _ in row)
                store.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))


@contextlib.contextmanager
def house_with_keys(records, in_token):
    """A kmsd with FEW real keys, and with as many records and token keys beside them."""
    with house.House([BARE_DECRYPT]) as strongroom:
        kms = strongroom.start("kmsd")
        with contextlib.closing(strongroom.client(kms, "operator")) as operator:
            for number in range(FEW):
                alias = "applications" if number == 0 else f"key-{number}"
                assert operator.call("POST", "/v1/keys", {"alias": alias}).status == 201
        if records or in_token:
            kms.stop()
            add_records(strongroom, records)
            bare_decrypt(strongroom, "fill", in_token)
            kms = strongroom.start("kmsd")
        yield strongroom, kms


def measure_many_keys(figures, seconds):
    """The same calls on two services at a time, one with few keys and one with many."""
    with house_with_keys(0, 0) as few, house_with_keys(MANY - FEW, MANY_IN_TOKEN) as many:
        calls = {"describe": ("/v1/keys/alias/applications", "operator", "GET"),
                 f"list of {FEW}": (f"/v1/keys?limit={FEW}", "operator", "GET"),
                 "unwrap": ("/v1/data-keys/unwrap", "app", "POST")}
        bodies = {}
        for strongroom, kms in (few, many):
            with contextlib.closing(strongroom.client(kms, "app")) as client:
                made = client.call("POST", "/v1/keys/alias/applications/data-keys", {}).json()
            bodies[kms.port] = '{"wrapped":"%s"}' % made["data_keys"][0]["wrapped"]
        for name, (path, caller, method) in calls.items():
            rates = {"few": [], "many": []}
            for _ in range(ROUNDS):
                for which, (strongroom, kms) in (("few", few), ("many", many)):
                    body = bodies[kms.port] if method == "POST" else ""
                    rates[which].append(load(kms.port, strongroom.pki, path, body, seconds, caller=caller, method=method)[0])
            ratio = statistics.median_low(rates["few"]) / statistics.median_low(rates["many"])
            figures.show(f"{name}, time with {MANY} keys to {FEW}" if method == "GET"
                         else f"{name}, time with {FEW + MANY_IN_TOKEN} keys in the token to {FEW}",
                         f"{ratio:.2f}", ratio < 1.5, "under 1.5")


def measure_memory(figures, daemon, when):
    resident, shared = memory_mib(daemon.pid)
    value = f"{resident:.1f} MiB" + ("" if shared is None else f" (its share {shared:.1f})")
    figures.show(f"memory of {daemon.name}, {when}", value, resident < 32, "under 32 MiB")


def measure_starts(figures, strongroom, kms):
    with contextlib.closing(strongroom.client(kms, "operator")) as operator:
        for number in range(KEYS - 1):
            assert operator.call("POST", "/v1/keys", {"alias": f"key-{number}"}).status == 201
    kms.stop()
    taken = []
    for _ in range(STARTS):
        begin = time.monotonic()
        kms = strongroom.start("kmsd")
        taken.append(time.monotonic() - begin)
        measured = kms
        if len(taken) < STARTS:
            kms.stop()
    median = statistics.median(taken)
    figures.show(f"kmsd, start to ready with {KEYS} keys", f"{median:.2f} s (longest {max(taken):.2f})", median < 0.5,
                 "under 0.5 s")
    return measured


def measure_daemons(figures, seconds):
    with house.House([EMPTY_SERVER]) as strongroom:
        kms, vault = strongroom.start_both()
        measure_memory(figures, vault, "idle after start")
        measure_rates(figures, strongroom, kms, vault, seconds)
        measure_memory(figures, vault, "idle after that load")
        measure_memory(figures, kms, "idle after that load")
        vault.stop()
        begin = time.monotonic()
        vault = strongroom.start("vaultd")
        taken = time.monotonic() - begin
        figures.show("vaultd, start to ready", f"{taken:.2f} s", taken < 0.5, "under 0.5 s")
        kms = measure_starts(figures, strongroom, kms)
        measure_memory(figures, kms, f"idle after start with {KEYS} keys")


def measure_batches_alone(figures, seconds):
    with house_with_keys(0, 0) as (strongroom, kms):
        measure_batches(figures, strongroom, kms, seconds)


@contextlib.contextmanager
def slow_peers(strongroom, port):
    """SLOW_PEERS of them hang on; afterwards `fewest` is how many did at any time, and `handshakes` how many were done. Real
    ones have processors of their own: here they get what the others leave, which is what the idle policy means; a nice
    value of 19 would be a small share, but taken in slices of milliseconds, for which good clients would wait. `fewest` and
    `handshakes` tell whether what they got was enough."""
    command = ["chrt", "--idle", "0", house.House.programs / "bench_slow_peers", port, strongroom.pki, SLOW_PEERS]
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peers:
        peers.stdout.readline()
        try:
            yield peers
        finally:
            peers.stdin.close()
            peers.fewest, peers.handshakes = map(int, (peers.stdout.readline() or "0 0").split())


def ask_gently(strongroom, port, seconds):
    """A few good clients that ask one request after the other: success in percent, and the 99th percentile in ms."""
    done = subprocess.run(
        [house.House.programs / "bench_load_client", str(port), strongroom.pki, "app", str(GOOD_CONNECTIONS), str(seconds),
         "/empty"],
        input="{}", text=True, capture_output=True, check=False)
    rate, _, high, errors = done.stdout.split()
    answers = float(rate) * seconds
    return 100 * answers / (answers + int(errors)), float(high) / 1000


def measure_edge(figures, seconds):
    """Good clients alone, and among slow peers, in turn."""
    seconds *= 2  # few rounds, as the peers take their time: so that one's 99th percentile is no chance
    idle, found, fewest, handshakes = [], [], SLOW_PEERS, []
    with house.House([EMPTY_SERVER]) as strongroom, empty_server(strongroom) as empty:
        ask_gently(strongroom, empty.port, 1)
        before, _ = memory_mib(empty.pid)
        after = before
        for _ in range(EDGE_ROUNDS):
            ask_gently(strongroom, empty.port, 1)  # until the peers of the round before are gone
            idle.append(ask_gently(strongroom, empty.port, seconds)[1])
            begin = time.monotonic()
            with slow_peers(strongroom, empty.port) as peers:
                found.append(ask_gently(strongroom, empty.port, seconds))
                after = max(after, memory_mib(empty.pid)[0])
            handshakes.append(peers.handshakes / (time.monotonic() - begin))
            fewest = min(fewest, peers.fewest)
    among = [high for _, high in found]
    # Both of one round meet the same machine: the median of the rounds' own ratios.
    ratios = [with_peers / alone for alone, with_peers in zip(idle, among)]
    ratio = statistics.median(ratios)
    print(f"edge, p99 of good clients: {statistics.median(idle):.2f} ms alone, {statistics.median(among):.2f} ms among slow peers "
          f"(which shake hands {statistics.median(handshakes):.0f} times a second); ratios {', '.join(f'{each:.2f}' for each in ratios)}",
          flush=True)
    figures.show("slow peers there at any time", f"{fewest} of {SLOW_PEERS}", fewest >= 0.95 * SLOW_PEERS, "at least 95 %")
    success = min(percent for percent, _ in found)
    figures.show(f"success among {SLOW_PEERS} slow peers", f"{success:.2f} %", success >= 99.9, "at least 99.9 %")
    figures.show("p99 among them / p99 alone", f"{ratio:.2f}", ratio <= 3, "at most 3")
    figures.show("p99 among them", f"{statistics.median(among):.2f} ms", statistics.median(among) <= 100, "at most 100 ms")
    figures.show("memory that they take", f"{after - before:.1f} MiB", after - before < 64, "under 64 MiB")


def small_policy():
    """The operator may do everything, the application what it needs: the least that a gate can be asked."""
    return {"version": 1, "roles": {
        "operator": [{"id": "operator", "effect": "allow", "actions": ["*"], "resources": ["*"]}],
        "application": [{"id": "application", "effect": "allow", "actions": ["create_data_key", "unwrap_data_key"],
                         "resources": ["key:alias/applications"]}]},
        "bindings": [{"caller": "spiffe://strongroom/operator", "roles": ["operator"]},
                     {"caller": "spiffe://strongroom/app", "roles": ["application"]},
                     {"caller": "token:app", "roles": ["application"]}]}


def policy_of_rules(count):
    """The same rights, found among `count` rules of the caller's role that name its action, half of them denials."""
    policy = small_policy()
    conditions = {"network": ["127.0.0.0/8"], "context": {"tenant": ["acme", "other-*"]},
                  "authentication": ["client_certificate", "api_token"]}
    rules = [{"id": f"rule-{number}", "effect": "deny" if number % 2 else "allow", "actions": ["unwrap_data_key"],
              "resources": [f"key:alias/application-{number}", f"key:tag/team=team-{number}"], "when": conditions}
             for number in range(count - 3)]
    own = {"id": "own", "effect": "allow", "actions": ["create_data_key", "unwrap_data_key"],
           "resources": ["key:alias/app*"], "when": conditions}
    outside = {"id": "outside", "effect": "deny", "actions": ["*"], "resources": ["*"],
               "unless": {"network": ["127.0.0.0/8"]}}
    night = {"id": "never", "effect": "deny", "actions": ["unwrap_data_key"], "resources": ["key:*"],
             "when": {"context": {"tenant": ["nobody"]}}}
    policy["roles"]["application"] = [*rules, own, outside, night]
    return policy


def all_budgets():
    """Every kind of limit, none of them reached."""
    limit = {"id": "all", "actions": ["*"], "rate": {"per_second": 1_000_000, "burst": 1_000_000}, "concurrent": 1000,
             "quota": {"hour": 10**9, "day": 10**10, "month": 10**11}, "records": {"per": "day", "limit": 100_000}}
    return {"version": 1, "suspension": {"overruns": 1000, "within_seconds": 60}, "tiers": {"pro": [limit]},
            "bindings": [{"caller": "spiffe://strongroom/*", "tier": "pro"}, {"caller": "token:*", "tier": "pro"}]}


@contextlib.contextmanager
def gate_house(policy, budgets):
    """A kmsd behind that gate, an unwrap that it allows and, where it has budgets, the file of an API token that its
    caller shows. Without, the caller is known by the connection's certificate, which costs a request nothing."""
    with house.House() as strongroom:
        if budgets is not None:
            strongroom.configure("kmsd", {"budgets": {"file": "budgets.json"},
                                          "identity": {"api_tokens": {"key_file": "api-tokens.key"}}})
            strongroom.write(strongroom.folder / "kmsd" / "budgets.json", json.dumps(budgets))
            strongroom.write(strongroom.folder / "kmsd" / "api-tokens.key", os.urandom(32).hex() + "\n")
        strongroom.write(strongroom.folder / "kmsd" / "policy.json", json.dumps(policy))
        kms = strongroom.start("kmsd")
        with contextlib.closing(strongroom.client(kms, "operator")) as operator:
            assert operator.call("POST", "/v1/keys", {"alias": "applications"}).status == 201
            bearer_file = None
            if budgets is not None:
                made = operator.call("POST", "/v1/api-tokens", {"name": "app"})
                assert made.status == 201, made
                bearer_file = strongroom.folder / "app.token"
                strongroom.write(bearer_file, made.json()["token"] + "\n")
        with contextlib.closing(strongroom.client(kms, "app")) as client:
            made = client.call("POST", "/v1/keys/alias/applications/data-keys", {"context": {"tenant": "acme"}}).json()
        yield strongroom, kms, '{"wrapped":"%s","context":{"tenant":"acme"}}' % made["data_keys"][0]["wrapped"], bearer_file


def decisions(bindings):
    """Nanoseconds for a decision, by kind of binding."""
    done = subprocess.run([house.House.programs / "bench_policy_decisions", str(bindings)], capture_output=True, text=True,
                          check=True)
    return {kind: int(taken) for kind, taken in (line.split() for line in done.stdout.splitlines())}


def measure_gate(figures, seconds):
    """The same unwrap through the least gate and through one with an API token, many rules and all budgets."""
    with gate_house(small_policy(), None) as without, gate_house(policy_of_rules(RULES), all_budgets()) as full:
        rates = {"without": [], "with": []}
        gates = {"without": without, "with": full}
        for number in range(PAIRED_ROUNDS):
            for which in in_turn(gates, number):
                strongroom, kms, body, bearer_file = gates[which]
                rates[which].append(
                    load(kms.port, strongroom.pki, "/v1/data-keys/unwrap", body, seconds, bearer_file=bearer_file)[0])
    ratio = ratio_of(rates, "with", "without")
    for which, found in rates.items():
        print(f"unwrap {which:8} {statistics.median_low(found):8.0f} requests/s (median of {len(found)} rounds)", flush=True)
    figures.show(f"unwrap, API token, {RULES} rules, budgets / none", f"{ratio:.2f}", ratio >= 0.85, "at least 0.85")
    few, many = decisions(FEW_BINDINGS), decisions(MANY_BINDINGS)
    for kind, taken in many.items():
        ratio = taken / few[kind]
        figures.show(f"decision, {MANY_BINDINGS} bindings ({kind}) to {FEW_BINDINGS}", f"{ratio:.2f} ({taken} ns)", ratio <= 3,
                     "at most 3")


def unwrap_body(strongroom, kms):
    with contextlib.closing(strongroom.client(kms, "app")) as client:
        made = client.call("POST", "/v1/keys/alias/applications/data-keys", {"context": {"tenant": "acme"}}).json()
    return '{"wrapped":"%s","context":{"tenant":"acme"}}' % made["data_keys"][0]["wrapped"]


@contextlib.contextmanager
def audited_house(audit, unaudited=False):
    """A kmsd with that audit log, or the one that keeps none; gives its port, its PKI and the body of an unwrap."""
    with house.House([UNAUDITED] if unaudited else []) as strongroom:
        strongroom.configure("kmsd", {"audit": audit})
        if unaudited:
            os.replace(strongroom.bin / UNAUDITED, strongroom.bin / "kmsd")
        kms = strongroom.start("kmsd")
        with contextlib.closing(strongroom.client(kms, "operator")) as operator:
            assert operator.call("POST", "/v1/keys", {"alias": "applications"}).status == 201
        yield kms.port, strongroom.pki, unwrap_body(strongroom, kms)


def measure_auditing(figures, seconds):
    """The same kmsd four times, side by side: what the record, the sync and the checkpoints cost an unwrap."""
    memory = tempfile.mkdtemp(dir="/dev/shm", prefix="strongroom-")
    try:
        if os.geteuid() == 0:
            os.chown(memory, house.UNPRIVILEGED, house.UNPRIVILEGED)
        with contextlib.ExitStack() as stack:
            houses = {
                "no auditing": stack.enter_context(audited_house({"directory": "audit"}, unaudited=True)),
                "audited in memory": stack.enter_context(audited_house({"directory": f"{memory}/audit"})),
                "audited, durable": stack.enter_context(audited_house({"directory": "audit"})),
                "durable, checkpoints": stack.enter_context(audited_house({"directory": "audit", "checkpoints": {}})),
            }
            for connections, bound in AUDITED_CONNECTIONS:
                rates = {name: [] for name in houses}
                for number in range(PAIRED_ROUNDS):
                    for name in in_turn(houses, number):
                        port, pki, body = houses[name]
                        rates[name].append(load(port, pki, "/v1/data-keys/unwrap", body, seconds, connections)[0])
                rate = {name: statistics.median_low(found) for name, found in rates.items()}
                for name, found in rate.items():
                    print(f"{name:24} {found:8.0f} unwraps/s ({connections} connections, median of {PAIRED_ROUNDS} rounds)",
                          flush=True)
                cost = {name: 1 - ratio_of(rates, name, "no auditing") for name in rates}
                figures.show(f"durable auditing of an unwrap, {connections} connections, costs", f"{cost['audited, durable']:.0%}",
                             cost["audited, durable"] <= bound, f"at most {bound:.0%}")
                print(f"  of it without a disk: {cost['audited in memory']:.0%}; with checkpoints: "
                      f"{cost['durable, checkpoints']:.0%}", flush=True)
    finally:
        shutil.rmtree(memory, ignore_errors=True)


def measure_verification(figures, _seconds):
    """kmsctl audit verify on a million records."""
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder:
        log = pathlib.Path(folder) / "log"
        subprocess.run([house.House.programs / "audit_cases", "make", log, str(VERIFIED_RECORDS), "ed25519"], check=True)
        size = sum(path.stat().st_size for path in log.glob("audit*.jsonl")) / 2**20
        taken = []
        for more in ([], [], ["--from", str(VERIFIED_RECORDS // 2)]):
            begin = time.monotonic()
            done = subprocess.run([house.House.programs / "kmsctl", "audit", "verify", log, "--key", f"{log}.pem", *more],
                                  capture_output=True, text=True, check=False)
            taken.append(time.monotonic() - begin)
            if done.returncode != 0:
                sys.exit(f"audit verify: {done.stdout}{done.stderr}")
        figures.show(f"audit verify of {VERIFIED_RECORDS} records ({size:.0f} MiB)",
                     f"{min(taken[:2]):.1f} s (a part: {taken[2]:.1f})", min(taken[:2]) <= 10, "at most 10 s")


def measure_audit(figures, seconds):
    measure_auditing(figures, seconds)
    measure_verification(figures, seconds)


def measure_token_set(figures, seconds):
    measure_worker.measure_set(figures, seconds, load, unwrap_body, ROUNDS)


def measure_token_worker(figures, seconds):
    measure_worker.measure(figures, seconds, load, unwrap_body, ROUNDS)


PARTS = {"edge": measure_edge, "daemons": measure_daemons, "batches": measure_batches_alone, "keys": measure_many_keys,
         "gate": measure_gate, "audit": measure_audit,
         "stores": stores.measure_stores, "worker": measure_token_worker,
         "tokens": measure_token_set}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, help="one part of the figures")
    parser.add_argument("--records", type=int, default=1_000_000, help="credentials in the stores that are many")
    arguments = parser.parse_args()
    house.House.programs = pathlib.Path(arguments.programs).resolve()
    stores.RECORDS = arguments.records
    figures = Figures()
    for name, measure in PARTS.items():
        if arguments.only in (None, name):
            measure(figures, arguments.seconds)
    print(f"{os.cpu_count()} processors; load, daemons and the empty handler share them")
    sys.exit(0 if figures.good else 1)


if __name__ == "__main__":
    main()
