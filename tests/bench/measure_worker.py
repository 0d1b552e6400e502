"""What it costs that the PKCS#11 module runs in a process of its own, that a token is one of two which both serve, and what
others notice when a call hangs. A part of tests/bench/measure.py, which passes what it measures with."""
import contextlib
import http.client
import json
import os
import shutil
import statistics
import sys
import threading

import house

sys.path.insert(0, str(house.SOURCE / "tests" / "support" / "faulty_pkcs11"))
import faulty_pkcs11  # noqa: E402

BATCH = 100
BATCH_CONNECTIONS = 4
DEADLINE_MS = 500
GOOD_CONNECTIONS = 4  # so few that they don't wait for one another
EVERYTHING = {"version": 1, "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]} for name in ("operator", "app")]}
RATIO = 0.85
# Two tokens that both serve, on the two processors that load and kmsd have, too: what waits together goes to one of them at
# a time, batches to both.
SET_RATIO = 0.75
SET_RATIO_OF_BATCHES = 1.0
GROWTH = 1.10
STEADY_RATE = 1800  # requests per second
STEADY_CONNECTIONS = 16
STEADY_P99 = 25  # ms


@contextlib.contextmanager
def token_house(process, module=None):
    """A kmsd with its token in a worker or in its own process."""
    with house.House() as strongroom:
        wrapped = strongroom.module
        if module:
            strongroom.faults = faulty_pkcs11.FaultControl.beside(strongroom.folder, module, wrapped)
            strongroom.module = str(strongroom.faults.library)
        strongroom.configure("kmsd", {"token": {
            "module": strongroom.module, "uri": strongroom.token_uri, "pin": {"file": "user.pin"},
            "softhsm_config": "softhsm2.conf", "process": process, "deadline_ms": DEADLINE_MS if module else 2000}})
        strongroom.write(strongroom.folder / "kmsd" / "policy.json", json.dumps(EVERYTHING))
        kms = strongroom.start("kmsd")
        with contextlib.closing(strongroom.client(kms, "operator")) as operator:
            for alias, kind in (("applications", "aes_256"), ("macs", "hmac_sha_256")):
                answer = operator.call("POST", "/v1/keys", {"alias": alias, "kind": kind})
                assert answer.status == 201, answer
        if process == "worker":
            house.wait_until(lambda: house.both_workers(kms), "a worker that serves and one that stands by")
        yield strongroom, kms


@contextlib.contextmanager
def set_house():
    """The same with its token and a copy of it as a set, after the keys were made."""
    with token_house("worker") as (strongroom, kms):
        kms.stop()
        folder = strongroom.folder / "kmsd"
        shutil.copytree(folder / "tokens", folder / "tokens-b")
        house.give(folder / "tokens-b")
        strongroom.write(folder / "softhsm2-b.conf", house.softhsm_config(folder / "tokens-b"))
        os.symlink(strongroom.bin / "strongroom-token-worker", strongroom.folder / "worker-of-b")
        token = {"module": strongroom.module, "uri": strongroom.token_uri, "pin": {"file": "user.pin"}}
        strongroom.configure("kmsd", {"token": None, "tokens": [
            {"name": "a", "softhsm_config": "softhsm2.conf", **token},
            {"name": "b", "softhsm_config": "softhsm2-b.conf", "worker_program": str(strongroom.folder / "worker-of-b"), **token}]})
        strongroom.write(folder / "policy.json", json.dumps(EVERYTHING))
        kms = strongroom.start("kmsd")
        for program in ("strongroom-token-worker", "worker-of-b"):
            house.wait_until(lambda: house.both_workers(kms, program), "a worker that serves and one that stands by")
        yield strongroom, kms


def batch_body(strongroom, kms):
    with contextlib.closing(strongroom.client(kms, "app")) as client:
        made = client.call("POST", "/v1/keys/alias/applications/data-keys", {"count": BATCH, "plaintext": False}).json()
    return '{"items":[%s]}' % ",".join('{"wrapped":"%s"}' % each["wrapped"] for each in made["data_keys"])


def compare(figures, seconds, load, unwrap_body, rounds, houses, words, bounds):
    """How fast the second house unwraps, one by one and in batches, as a part of how fast the first does."""
    for (what, make_body, connections), bound in zip((("unwrap", unwrap_body, 16),
                                                      (f"unwrap of {BATCH}", batch_body, BATCH_CONNECTIONS)), bounds):
        bodies = {name: make_body(*each) for name, each in houses.items()}
        rates = {name: [] for name in houses}
        for _ in range(2 * rounds + 1):
            for name, (strongroom, kms) in houses.items():
                rates[name].append(load(kms.port, strongroom.pki, "/v1/data-keys/unwrap", bodies[name], seconds,
                                        connections)[0])
        for name, found in rates.items():
            print(f"{what}, token {name:10} {statistics.median_low(found):8.0f} requests/s (median of {len(found)} rounds)",
                  flush=True)
        # Both of one round meet the same machine: the median of the rounds' own ratios.
        ratio = statistics.median(b / a for a, b in zip(*rates.values()))
        figures.show(f"{what}, {words}", f"{ratio:.2f}", ratio >= bound, f"at least {bound}")


def measure_ratio(figures, seconds, load, unwrap_body, rounds):
    with token_house("in_process") as inside, token_house("worker") as beside:
        compare(figures, seconds, load, unwrap_body, rounds, {"in process": inside, "worker": beside},
                "token in a worker / in process", (RATIO, RATIO))


def measure_set(figures, seconds, load, unwrap_body, rounds):
    with token_house("worker") as one, set_house() as two:
        compare(figures, seconds, load, unwrap_body, rounds, {"alone": one, "one of two": two},
                "two tokens that both serve / one", (SET_RATIO, SET_RATIO_OF_BATCHES))


def hang_once(strongroom, kms):
    """One call that hangs in the module; its caller's status."""
    strongroom.faults.set("C_Sign hang times=1")
    with contextlib.closing(strongroom.client(kms, "operator")) as client:
        with contextlib.suppress(http.client.HTTPException):
            return client.call("POST", "/v1/keys/alias/macs/mac", {"message": "AAAA"}).status
    return None


def measure_hang(figures, seconds, load, unwrap_body, rounds):
    with token_house("worker", house.House.programs / "faulty_pkcs11.so") as (strongroom, kms):
        body = unwrap_body(strongroom, kms)
        highs = {"quiet": [], "one call hangs": []}
        for _ in range(2 * rounds + 1):
            for name, found in highs.items():
                house.wait_until(lambda: house.both_workers(kms), "a worker that stands by")
                statuses = []
                hanging = threading.Thread(target=lambda: statuses.append(hang_once(strongroom, kms)))
                if name != "quiet":
                    hanging.start()
                found.append(load(kms.port, strongroom.pki, "/v1/data-keys/unwrap", body, seconds, GOOD_CONNECTIONS)[2])
                if name != "quiet":
                    hanging.join()
                    assert statuses == [503], statuses
        for name, found in highs.items():
            print(f"unwrap, {name:16} p99 {statistics.median(found):6.2f} ms ({GOOD_CONNECTIONS} connections)", flush=True)
        growth = statistics.median(b / a for a, b in zip(highs["quiet"], highs["one call hangs"]))
        figures.show("p99 of other callers' unwraps while one call hangs / quiet", f"{growth:.2f}", growth <= GROWTH,
                     f"at most {GROWTH:.2f}")


def measure_steady(figures, seconds, load, unwrap_body, rounds):
    """Answers at a rate that is given, audited, durable and compared, as kmsd does unless told otherwise."""
    with token_house("worker") as (strongroom, kms):
        body = unwrap_body(strongroom, kms)
        found = [load(kms.port, strongroom.pki, "/v1/data-keys/unwrap", body, seconds, f"{STEADY_CONNECTIONS}@{STEADY_RATE}")
                 for _ in range(rounds)]
        rate, middle, high = sorted(found, key=lambda one: one[2])[len(found) // 2]
        print(f"unwrap at {STEADY_RATE} requests/s {rate:8.0f} requests/s, p50 {middle:6.2f} ms, p99 {high:6.2f} ms "
              f"({STEADY_CONNECTIONS} connections, median of {rounds} rounds)", flush=True)
        figures.show(f"p99 of unwraps at {STEADY_RATE} requests/s", f"{high:.2f} ms",
                     high <= STEADY_P99 and rate >= 0.98 * STEADY_RATE, f"at most {STEADY_P99} ms")


def measure(figures, seconds, load, unwrap_body, rounds):
    measure_steady(figures, seconds, load, unwrap_body, rounds)
    measure_ratio(figures, seconds, load, unwrap_body, rounds)
    measure_hang(figures, seconds, load, unwrap_body, rounds)
