"""What the tests of tampered audit logs share: a log that is made once for each class, a copy of it for each test, and both
verifiers, the one that ships and tests/audit_verifier.py, which share no code and must agree on every case."""
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "system")]
import audit_verifier  # noqa: E402
import house  # noqa: E402

RECORDS = house.number("RECORDS", 400, 1000)
EVERY = house.number("EVERY", 20, 20)  # for the long form
TILE = 256
CHECKPOINT = 97  # what audit_cases.cpp has between two
CLEAN, TAMPERED, INCONSISTENT, CUT_OFF = 0, 2, 3, 4


def places(begin=1, end=RECORDS + 1, every=EVERY):
    """The numbers of the records that are tried, from `begin` and before `end`."""
    if house.IS_LONG:
        return range(begin, end, every)
    beside = {1, CHECKPOINT, CHECKPOINT + 1, TILE, TILE + 1, RECORDS - 1, RECORDS, *random.Random(1).sample(range(2, RECORDS), 3)}
    return [number for number in sorted(beside) if begin <= number < end]


class Judges:
    """Both verifiers, on logs of one key."""

    def __init__(self, key):
        self.key = audit_verifier.Key(pathlib.Path(key).read_text())
        self.process = subprocess.Popen([house.House.programs / "audit_cases", "judge", key], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def judge(self, folder, period=None):
        self.process.stdin.write(" ".join(map(str, [folder, *(period or [])])) + "\n")
        self.process.stdin.flush()
        theirs = audit_verifier.judge(folder, self.key, period)
        line = self.process.stdout.readline().split()
        ours, self.journal_only = (int(line[0]), int(line[1])), int(line[2])
        assert ours == theirs, f"{ours} by the one that ships, {theirs} by the other"
        if ours[0] != INCONSISTENT:  # which may be told before a line is read
            other = audit_verifier.read_lines(pathlib.Path(folder))[1]
            assert self.journal_only == other, f"{self.journal_only} only in the journal, {other} by the other verifier"
        return ours

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@house.both_forms
class Sealed(unittest.TestCase):
    """Each test has a copy of its own of the log that its class has made."""
    algorithm, segment_bytes, end, records = "ed25519", None, None, RECORDS

    @classmethod
    def setUpClass(cls):
        made = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="strongroom-")))
        cls.made = made / "log"
        more = [str(cls.segment_bytes or 1 << 40)] + ([cls.end] if cls.end else [])
        subprocess.run([house.House.programs / "audit_cases", "make", cls.made, str(cls.records), cls.algorithm, *more], check=True)
        cls.judges = Judges(f"{cls.made}.pem")
        cls.addClassCleanup(cls.judges.close)

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="strongroom-")))
        self.log = self.folder / "log"
        shutil.copytree(self.made, self.log)
        self.file = self.log / "audit.jsonl"
        self.good = self.file.read_bytes()
        self.random = random.Random(1)

    def lines(self):
        return self.good.split(b"\n")[:-1]

    def start_of(self, number):
        return sum(len(line) + 1 for line in self.lines()[:number - 1])

    def judge(self, content=None, period=None):
        if content is not None:
            self.file.write_bytes(content)
        return self.judges.judge(self.log, period)

    def judge_lines(self, lines):
        return self.judge(b"".join(line + b"\n" for line in lines))

    @staticmethod
    def chain_anew(lines, number):
        """What follows on record `number` follows on what stands there now."""
        for i in range(number, len(lines)):
            lines[i] = lines[i][:-66] + audit_verifier.leaf_hash(lines[i - 1]).hex().encode() + b'"}'

    def without_tiles(self):
        shutil.rmtree(self.log / "tile")
