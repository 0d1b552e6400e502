"""What the parts of measure.py have in common: load, memory, the bare token, and how a figure is shown."""
import contextlib
import pathlib
import re
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import house  # noqa: E402

BARE_DECRYPT = "bench_bare_decrypt"
CONNECTIONS = 16
ROUNDS = 3  # of each kind, in turn, so that a slow moment of the machine meets them all
PAIRED_ROUNDS = 2 * ROUNDS + 1  # where the figure is a ratio of two kinds of one round
BATCH = 100  # items
BATCH_CONNECTIONS = 4


def load(port, pki, path, body, seconds, connections=CONNECTIONS, caller="app", method="POST", bearer_file=None):
    """Answers per second, median and 99th percentile in milliseconds."""
    done = subprocess.run(
        [house.House.programs / "bench_load_client", str(port), pki, caller, str(connections), str(seconds), path, method,
         *([bearer_file] if bearer_file else [])],
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


def in_turn(kinds, number):
    """The kinds of round `number`, forwards and backwards by turns: what drifts meets both ends alike."""
    return list(kinds) if number % 2 == 0 else list(kinds)[::-1]


def ratio_of(rates, above, below):
    """The median of the rounds' own ratios: both of one round meet the same machine."""
    return statistics.median(a / b for a, b in zip(rates[above], rates[below]))


class Figures:
    def __init__(self):
        self.good = True

    def show(self, what, value, holds, bound):
        self.good = self.good and holds
        print(f"{what:58} {value:28} {bound:14} {'holds' if holds else 'DOES NOT HOLD'}", flush=True)


def bare_decrypt(strongroom, *arguments, body=""):
    """Runs the bare PKCS#11 program on the house's token, as the daemons' user."""
    folder = strongroom.folder / "kmsd"
    done = subprocess.run(
        [strongroom.bin / BARE_DECRYPT, strongroom.module, "strongroom", folder / "user.pin", *map(str, arguments)],
        input=body, text=True, capture_output=True, check=False,
        env={"SOFTHSM2_CONF": str(folder / "softhsm2.conf")}, **strongroom.as_daemon)
    if done.returncode != 0:
        sys.exit(f"{BARE_DECRYPT}: {done.stderr}")
    return done.stdout
