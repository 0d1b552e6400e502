#!/usr/bin/env python3
"""Measures the real daemons against an empty handler on the same edge, in one run. Called by
tests/bench/run; prints one line for each figure and ends with 1 when one does not hold."""
import argparse
import contextlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import house  # noqa: E402

EMPTY_SERVER = "bench_empty_server"
CONNECTIONS = 16
ROUNDS = 3  # of each kind, in turn, so that a slow moment of the machine meets them all
KEYS = 100
STARTS = 5


def load(port, pki, path, body, seconds):
    """Answers per second, median and 99th percentile in milliseconds."""
    done = subprocess.run(
        [house.House.programs / "bench_load_client", str(port), pki, "app", str(CONNECTIONS), str(seconds), path],
        input=body, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{path}: {done.stderr}{done.stdout}")
    rate, median, high, _ = done.stdout.split()
    return float(rate), float(median) / 1000, float(high) / 1000


def memory_mib(pid):
    """Resident MiB, and the proportional share where we may see it."""
    resident = int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024
    with contextlib.suppress(PermissionError):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return resident, int(re.search(r"Pss:\s+(\d+)", text).group(1)) / 1024
    return resident, None


class Figures:
    def __init__(self):
        self.good = True

    def show(self, what, value, holds, bound):
        self.good = self.good and holds
        print(f"{what:58} {value:28} {bound:14} {'holds' if holds else 'DOES NOT HOLD'}", flush=True)


@contextlib.contextmanager
def empty_server(strongroom):
    command = [strongroom.bin / EMPTY_SERVER, strongroom.pki / "kmsd.crt", strongroom.pki / "kmsd.key",
               strongroom.pki / "ca.crt", strongroom.folder / "kmsd" / "empty-audit"]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True,
                          **strongroom.as_daemon) as server:
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def measure_rates(figures, strongroom, kms, vault, seconds):
    with contextlib.closing(strongroom.client(kms, "app")) as client:
        made = client.call("POST", "/v1/keys/alias/applications/data-keys", {"context": {"tenant": "acme"}}).json()
    unwrap = '{"wrapped":"%s","context":{"tenant":"acme"}}' % made["data_keys"][0]["wrapped"]
    with contextlib.closing(strongroom.client(vault, "app")) as client:
        secret = {"access_token": "example-" + "0" * 180, "account_id": "17840000000000000"}
        assert client.call("PUT", house.credential_path("acme", "bench"), {"secret": secret}).status == 201
    with empty_server(strongroom) as empty_port:
        kinds = {"empty handler": (empty_port, "/empty", unwrap),
                 "unwrap": (kms.port, "/v1/data-keys/unwrap", unwrap),
                 "reveal": (vault.port, house.credential_path("acme", "bench", "/reveal"), "")}
        results = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, (port, path, body) in kinds.items():
                results[kind].append(load(port, strongroom.pki, path, body, seconds))
    median = {kind: statistics.median_low(found) for kind, found in results.items()}
    for kind, (rate, middle, high) in median.items():
        print(f"{kind:16} {rate:8.0f} requests/s, p50 {middle:6.2f} ms, p99 {high:6.2f} ms "
              f"({CONNECTIONS} connections, median of {ROUNDS} rounds)", flush=True)
    ratio = median["unwrap"][0] / median["empty handler"][0]
    figures.show("unwrap, audited and durable / empty handler", f"{ratio:.2f}", ratio >= 0.30, "at least 0.30")
    ratio = median["reveal"][0] / median["unwrap"][0]
    figures.show("reveal / unwrap", f"{ratio:.2f}", ratio >= 0.30, "at least 0.30")


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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs")
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    house.House.programs = pathlib.Path(arguments.programs).resolve()
    figures = Figures()
    with house.House([EMPTY_SERVER]) as strongroom:
        kms, vault = strongroom.start_both()
        measure_memory(figures, vault, "idle after start")
        measure_rates(figures, strongroom, kms, vault, arguments.seconds)
        measure_memory(figures, vault, "idle after that load")
        measure_memory(figures, kms, "idle after that load")
        vault.stop()
        begin = time.monotonic()
        vault = strongroom.start("vaultd")
        seconds = time.monotonic() - begin
        figures.show("vaultd, start to ready", f"{seconds:.2f} s", seconds < 0.5, "under 0.5 s")
        kms = measure_starts(figures, strongroom, kms)
        measure_memory(figures, kms, f"idle after start with {KEYS} keys")
    print(f"{os.cpu_count()} processors; load, daemons and the empty handler share them")
    sys.exit(0 if figures.good else 1)


if __name__ == "__main__":
    main()
