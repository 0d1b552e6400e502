#!/usr/bin/env python3
"""A log of 1,000 records in which every byte of every record is changed, and every record is changed, removed, doubled, swapped
with another or cut off: each is detected and located, by the verifier that ships and by tests/audit_verifier.py.
The short form: each byte goes through what judges the lines when a part of a log is verified (PeriodWatch; judge_period), and
each record has one of the changes in turn, for which the whole log is verified. LONG=1: each record has all of the changes; and
of each byte the whole log is verified by the one that ships, of every fortieth by both (half an hour; EVERY=n: of every n-th).
usage: audit_every_record_test.py FOLDER_OF_PROGRAMS; EVERY=n takes every n-th record in the short form, too."""
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "system")]
import audit_verifier  # noqa: E402
import house  # noqa: E402
from tampering import CUT_OFF, TAMPERED, Sealed  # noqa: E402

RECORDS = 1000
EVERY = house.number("EVERY", 1, 1)
PERIOD_HALVES = ((1, RECORDS // 2), (RECORDS // 2 + 1, RECORDS))


def changed_byte(line, number, at):
    """As audit_cases changes it."""
    return line[:at] + bytes([line[at] ^ 1 << (at + number) % 5]) + line[at + 1:]


class EveryRecord(Sealed):
    records = RECORDS
    changes = ("first byte", "some byte", "last byte", "line end", "removed", "inserted", "swapped", "cut off")

    def change(self, what, i, lines):
        """What the file has then, and what a verifier must say."""
        line, number = lines[i], i + 1
        if what == "cut off":
            start = self.starts[i]
            return self.good[:start + (0, len(line) // 2, len(line))[i % 3]], (CUT_OFF, number)
        if what == "line end":
            end = self.starts[i] + len(line)
            joined = self.good[:end] + b" " + self.good[end + 1:]
            return joined, (CUT_OFF if number == RECORDS else TAMPERED, number)
        found = (TAMPERED, number)
        if what == "removed":
            lines = lines[:i] + lines[i + 1:]
            found = (CUT_OFF if number == RECORDS else TAMPERED, number)
        elif what == "inserted":
            lines = lines[:i] + [line.replace(b"/app", b"/foe")] + lines[i:]
        elif what == "swapped":
            far, near, lines = (i + self.random.randrange(1, RECORDS)) % RECORDS, i - 1 if i > 0 else 1, list(lines)
            other = self.random.choice((far, near))
            lines[i], lines[other] = lines[other], lines[i]
            found = (TAMPERED, min(i, other) + 1)
        else:
            at = {"first byte": 0, "some byte": self.random.randrange(len(line)), "last byte": len(line) - 1}[what]
            bit = self.random.randrange(7)  # which may make it a line end
            lines = lines[:i] + [line[:at] + bytes([line[at] ^ 1 << bit]) + line[at + 1:]] + lines[i + 1:]
        return b"".join(line + b"\n" for line in lines), found

    def setUp(self):
        super().setUp()
        self.starts = [0]
        for line in self.lines():
            self.starts.append(self.starts[-1] + len(line) + 1)

    def programs(self, how, periods, every=1):
        """The outcomes that audit_cases has for the bytes of those records, each period in a process and on a copy of its own."""
        started = []
        for first, last in periods:
            copy = self.folder / f"copy-{first}"
            shutil.copytree(self.made, copy)
            command = [house.House.programs / "audit_cases", "bytes", f"{self.made}.pem", copy, how, str(first), str(last), str(every)]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started

    def located(self, started):
        """How many bytes were tried of each record; fails unless each of them was located."""
        tried = {}
        for process in started:
            for line in process.stdout:
                number, count, *found = map(int, line.split())
                # Without its end the last line is none.
                is_last_end = number == RECORDS and found[0] == CUT_OFF and count == 1
                self.assertEqual(found, [CUT_OFF if is_last_end else TAMPERED, number], f"record {number}")
                tried[number] = tried.get(number, 0) + count
            process.stdout.close()
            self.assertEqual(process.wait(), 0)
        return tried

    @unittest.skipIf(EVERY > 1, "the whole of it, or nothing")
    @house.both_forms
    def test_every_changed_byte_of_every_record_is_located(self):
        theirs = self.programs("period", ((1, RECORDS),))
        told, lines = audit_verifier.tile_leaves(self.log, RECORDS), self.lines()
        for i, line in enumerate(lines):
            number, before = i + 1, lines[max(0, i - 1):i]
            found = {audit_verifier.judge_period([*before, changed_byte(line, number, at)], True, told, number, number, [])
                     for at in range(len(line))}
            self.assertEqual(found, {(TAMPERED, number)}, f"record {number}")
        self.assertEqual(self.located(theirs), {i + 1: len(line) for i, line in enumerate(lines)})

    def try_changes(self, changes_of):
        lines = self.lines()
        for i in range(EVERY - 1, RECORDS, EVERY):
            for what in changes_of(i):
                content, found = self.change(what, i, lines)
                self.assertEqual(self.judge(content), found, f"record {i + 1}, {what}")

    def test_every_record_with_one_change_in_turn_is_located_in_the_whole_log(self):
        self.try_changes(lambda i: [self.changes[i // EVERY % len(self.changes)]])

    @house.long_form
    def test_every_record_with_each_change_is_located_in_the_whole_log(self):
        self.try_changes(lambda i: self.changes)

    @house.long_form
    def test_every_changed_byte_is_located_in_the_whole_log(self):
        theirs = self.programs("whole", PERIOD_HALVES, EVERY)
        lines, every = self.lines(), max(40, EVERY)
        key = audit_verifier.Key(pathlib.Path(f"{self.made}.pem").read_text())
        for i, line in enumerate(lines):
            number = i + 1
            for at in range(number % every, len(line) + 1, every):
                changed = changed_byte(line + b"\n", number, at)
                self.file.write_bytes(self.good[:self.starts[i]] + changed + self.good[self.starts[i + 1]:])
                expected = (CUT_OFF if (number, at) == (RECORDS, len(line)) else TAMPERED, number)
                self.assertEqual(audit_verifier.judge(self.log, key), expected, f"byte {at} of record {number}")
        tried = self.located(theirs)
        self.assertEqual(tried, {i + 1: len(range((i + 1) % EVERY, len(line) + 1, EVERY)) for i, line in enumerate(lines)})


if __name__ == "__main__":
    house.main()
