#!/usr/bin/env python3
"""Whatever is done to the records of a sealed log is detected and located, by the verifier that ships and by
the one that shares no code with it (tests/audit_verifier.py), which must agree on every case. The short form has a log of
400 records and tries those beside the borders of tiles and checkpoints, and some more. LONG=1: every twentieth of 1,000.
usage: audit_tamper_test.py FOLDER_OF_PROGRAMS; with LONG=1, EVERY=n tries every n-th record (1: all of them, some minutes)."""
import hashlib
import os
import pathlib
import random
import shutil
import struct
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
    algorithm, segment_bytes, end = "ed25519", None, None

    @classmethod
    def setUpClass(cls):
        made = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="strongroom-")))
        cls.made = made / "log"
        more = [str(cls.segment_bytes or 1 << 40)] + ([cls.end] if cls.end else [])
        subprocess.run([house.House.programs / "audit_cases", "make", cls.made, str(RECORDS), cls.algorithm, *more], check=True)
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

    def without_tiles(self):
        shutil.rmtree(self.log / "tile")


class Located(Sealed):
    """With the tiles at hand the place is exact."""

    def test_untouched_log_is_clean(self):
        self.assertEqual(self.judge(), (CLEAN, 0))

    def test_every_changed_byte_is_located(self):
        lines = self.lines()
        for turn, number in enumerate(places()):
            line, start = lines[number - 1], self.start_of(number)
            # In turn the first byte of a line, its last and its end; and some in between.
            edge = (0, len(line) - 1, len(line))[turn % 3]
            for at in [edge, *self.random.sample(range(len(line)), 2)]:
                changed = bytearray(self.good)
                changed[start + at] ^= 1 << self.random.randrange(7)
                self.assertEqual(self.judge(bytes(changed)), (TAMPERED, number), f"byte {at} of record {number}")
        self.assertEqual(self.judge(self.good[:-1] + b"\r"), (CUT_OFF, RECORDS))  # the last line has no end any more

    def test_every_removed_record_is_located(self):
        lines = self.lines()
        for number in places():
            expected = (TAMPERED if number < RECORDS else CUT_OFF, number)
            self.assertEqual(self.judge_lines(lines[:number - 1] + lines[number:]), expected)

    def test_every_inserted_record_is_located(self):
        lines = self.lines()
        for number in places():
            forged = lines[number - 1].replace(b"/app", b"/foe")
            self.assertEqual(self.judge_lines(lines[:number - 1] + [forged] + lines[number - 1:]), (TAMPERED, number))

    def test_every_two_swapped_records_are_located(self):
        lines = self.lines()
        for number in places(end=RECORDS):
            other = self.random.randrange(number, RECORDS)
            swapped = list(lines)
            swapped[number - 1], swapped[other] = swapped[other], swapped[number - 1]
            self.assertEqual(self.judge_lines(swapped), (TAMPERED, number))

    def test_truncation_at_every_record_is_located(self):
        lines = self.lines()
        for turn, number in enumerate(places()):
            size = len(lines[number - 1])
            cut = self.start_of(number) + (0, size // 2, size)[turn % 3]
            self.assertEqual(self.judge(self.good[:cut]), (CUT_OFF, number))

    def test_log_without_its_file_is_cut_off(self):
        self.file.unlink()
        self.assertEqual(self.judge(), (CUT_OFF, 1))

    def test_record_that_is_chained_anew_to_the_end_is_located(self):
        lines = self.lines()
        for number in range(5, RECORDS, 50) if house.IS_LONG else (5, CHECKPOINT + 1, TILE + 1):
            forged = list(lines)
            forged[number - 1] = forged[number - 1].replace(b"/app", b"/foe")
            for i in range(number, RECORDS):
                forged[i] = forged[i][:-66] + audit_verifier.leaf_hash(forged[i - 1]).hex().encode() + b'"}'
            self.assertEqual(self.judge_lines(forged), (TAMPERED, number))


class Period(Sealed):
    """Of a part of the log only what happened to that part counts."""

    def test_untouched_log_is_clean(self):
        for period in ((1, RECORDS), (TILE, TILE), (RECORDS - 10, 5 * RECORDS)):
            self.assertEqual(self.judge(period=period), (CLEAN, 0))

    def test_period_behind_the_end_of_the_log_is_cut_off(self):
        for period in ((RECORDS + 1, RECORDS + 9), (5 * RECORDS, 6 * RECORDS)):
            self.assertEqual(self.judge(period=period), (CUT_OFF, RECORDS + 1))
        self.without_tiles()
        self.assertEqual(self.judge(period=(5 * RECORDS, 6 * RECORDS)), (CUT_OFF, RECORDS + 1))

    def test_removed_records_that_reach_into_it_are_located(self):
        lines = self.lines()
        self.judge_lines(lines[:49] + lines[150:])
        for period, expected in (((100, 200), (TAMPERED, 100)), ((1, 60), (TAMPERED, 50)), ((150, 150), (TAMPERED, 150)),
                                 ((60, 70), (TAMPERED, 60)), ((1, 49), (CLEAN, 0)), ((151, RECORDS), (CLEAN, 0))):
            self.assertEqual(self.judge(period=period), expected, period)

    def expect(self, content, number, verdict=TAMPERED):
        for period, expected in (((1, number - 1), (CLEAN, 0)), ((number + 1, RECORDS), (CLEAN, 0)),
                                 ((number, number), (verdict, number)), ((1, RECORDS), (verdict, number)),
                                 ((max(1, number - 9), number + 9), (verdict, number))):
            if period[0] <= period[1]:
                self.assertEqual(self.judge(content, period), expected, f"record {number}, period {period}")

    def test_what_happened_outside_of_it_does_not_matter(self):
        lines = self.lines()
        for number in places(2, RECORDS - 1, 20 * EVERY) if house.IS_LONG else (2, TILE + 1):
            def joined(changed):
                return b"".join(line + b"\n" for line in changed)
            self.expect(joined(lines[:number - 1] + [lines[number - 1].replace(b"/app", b"/foe")] + lines[number:]), number)
            self.expect(joined(lines[:number - 1] + [b"{}"] + lines[number:]), number)
            self.expect(joined(lines[:number - 1] + lines[number:]), number)
            self.expect(joined(lines[:number - 1] + [lines[0]] + lines[number - 1:]), number)

    def test_cut_off_within_it_is_located(self):
        lines = self.lines()
        left = RECORDS * 7 // 10
        self.judge_lines(lines[:left])
        for period, expected in (((1, left), (CLEAN, 0)), ((1, left + 1), (CUT_OFF, left + 1)),
                                 ((left - 50, 5 * RECORDS), (CUT_OFF, left + 1)), ((left + 20, left + 50), (CUT_OFF, left + 1))):
            self.assertEqual(self.judge(period=period), expected, period)

    def test_both_verifiers_agree_whatever_is_done(self):
        lines = self.lines()
        for _ in range(600 // EVERY if house.IS_LONG else 30):
            forged = list(lines)
            for _ in range(self.random.randrange(1, 4)):
                at, other = self.random.randrange(len(forged)), self.random.randrange(len(forged))
                what = self.random.choice(("change", "remove", "insert", "swap", "cut", "garbage"))
                if what == "change":
                    forged[at] = forged[at].replace(b"/app", b"/foe")
                elif what == "remove":
                    del forged[at]
                elif what == "insert":
                    forged.insert(at, forged[other])
                elif what == "swap":
                    forged[at], forged[other] = forged[other], forged[at]
                elif what == "garbage":
                    forged[at] = b"garbage"
                elif len(forged) > RECORDS * 9 // 10:
                    del forged[-self.random.randrange(1, 50):]
            first = self.random.randrange(1, RECORDS)
            self.judge_lines(forged)
            self.judge(period=(first, self.random.randrange(first, RECORDS + 20)))

    def test_without_tiles_the_whole_log_is_judged(self):
        self.without_tiles()
        lines = self.lines()
        lines[99] = lines[99].replace(b"/app", b"/foe")
        self.judge_lines(lines)
        self.assertEqual(self.judge(period=(RECORDS // 2, RECORDS // 2 + 50)), (TAMPERED, 100))


class Chained(Sealed):
    """Without the tiles, chain and checkpoints say where: exactly but for what is last."""
    algorithm = "ecdsa"

    def setUp(self):
        super().setUp()
        self.without_tiles()
        self.every = max(EVERY, 7)  # each case costs more than one by tiles

    def test_untouched_log_is_clean(self):
        self.assertEqual(self.judge(), (CLEAN, 0))

    def test_changed_bytes_are_located(self):
        lines = self.lines()
        for number in places(1, RECORDS - 1, self.every):
            start, size = self.start_of(number), len(lines[number - 1])
            for at in [0, size - 1, *self.random.sample(range(size), 3)]:
                changed = bytearray(self.good)
                changed[start + at] ^= 1 << self.random.randrange(7)
                self.assertEqual(self.judge(bytes(changed)), (TAMPERED, number), f"byte {at} of {number}")

    def test_changed_last_record_is_narrowed_down_by_the_checkpoints(self):
        changed = bytearray(self.good)
        changed[-100] ^= 1
        code, number = self.judge(bytes(changed))
        self.assertEqual(code, TAMPERED)
        self.assertIn(number, range(RECORDS // CHECKPOINT * CHECKPOINT + 1, RECORDS + 1))

    def test_removed_inserted_and_swapped_records_are_located(self):
        lines = self.lines()
        for number in places(1, RECORDS - 1, self.every):
            self.assertEqual(self.judge_lines(lines[:number - 1] + lines[number:]), (TAMPERED, number))
            inserted = lines[:number] + [lines[number - 1]] + lines[number:]
            self.assertEqual(self.judge_lines(inserted), (TAMPERED, number + 1))
            swapped = lines[:number - 1] + [lines[number], lines[number - 1]] + lines[number + 1:]
            self.assertEqual(self.judge_lines(swapped), (TAMPERED, number))

    def test_truncation_is_located(self):
        lines = self.lines()
        for number in [0, *places(1, RECORDS, self.every)]:
            self.assertEqual(self.judge_lines(lines[:number]), (CUT_OFF, number + 1))

    def test_history_that_is_chained_anew_is_narrowed_down_by_the_checkpoints(self):
        for number in (1, CHECKPOINT, CHECKPOINT + 1, RECORDS // 2, RECORDS * 97 // 100):
            forged = self.lines()
            forged[number - 1] = forged[number - 1].replace(b"/app", b"/foe")
            for i in range(number, RECORDS):
                forged[i] = forged[i][:-66] + audit_verifier.leaf_hash(forged[i - 1]).hex().encode() + b'"}'
            self.assertEqual(self.judge_lines(forged), (TAMPERED, (number - 1) // CHECKPOINT * CHECKPOINT + 1))


class Checkpoints(Sealed):
    def history(self):
        return self.log / "checkpoints"

    def test_every_changed_byte_of_the_checkpoints_is_noticed(self):
        for file in (self.history(), self.log / "checkpoint"):
            good = file.read_bytes()
            for at in range(0, len(good), (5 if file == self.history() else 1) if house.IS_LONG else 7):
                changed = bytearray(good)
                changed[at] ^= 1 << self.random.randrange(7)
                file.write_bytes(bytes(changed))
                code, _ = self.judge()
                # A line end that is gone joins the last note to nothing: it counts as torn, and is in the other file.
                self.assertEqual(code, INCONSISTENT if at < len(good) - 260 or file != self.history() else code)
                self.assertIn(code, (INCONSISTENT, CLEAN))
            file.write_bytes(good)

    def test_log_without_checkpoints_proves_nothing(self):
        self.history().unlink()
        (self.log / "checkpoint").unlink()
        self.assertEqual(self.judge(), (INCONSISTENT, 0))

    def test_checkpoints_of_another_key_prove_nothing(self):
        other = self.folder / "other"
        subprocess.run([house.House.programs / "audit_cases", "make", other, "10", "ed25519"], check=True)
        shutil.copy(other / "checkpoint", self.log / "checkpoint")
        self.assertEqual(self.judge(), (INCONSISTENT, 0))

    def test_records_behind_the_last_checkpoint_are_chained(self):
        lines = self.lines()
        notes = audit_verifier.split_notes(self.history().read_bytes())
        self.history().write_bytes(b"".join(note + b"\n" for note in notes[:-1]))
        (self.log / "checkpoint").write_bytes(notes[-2])
        self.assertEqual(self.judge(), (CLEAN, 0))
        changed = list(lines)
        at = RECORDS - 5
        changed[at] = changed[at].replace(b"/app", b"/foe")
        self.assertEqual(self.judge_lines(changed), (TAMPERED, at + 1))
        self.assertEqual(self.judge_lines(lines[:at] + lines[at + 1:]), (TAMPERED, at + 1))
        self.assertEqual(self.judge(self.good + b'{"sequence":%d,"ti' % (RECORDS + 1)), (CLEAN, 0))  # torn by a crash

    def test_damaged_tiles_do_not_hide_anything(self):
        tile = self.log / "tile" / "0" / "000"
        self.assertEqual(tile.stat().st_size, 32 * TILE)
        tile.write_bytes(b"x" * 32 * TILE)
        self.assertEqual(self.judge(), (CLEAN, 0))
        lines = self.lines()
        lines[100] = lines[100].replace(b"/app", b"/foe")
        self.assertEqual(self.judge_lines(lines), (TAMPERED, 101))


class Segments(Sealed):
    segment_bytes = 30 * RECORDS

    def segments(self):
        return sorted(self.log.glob("audit-*.jsonl*"))

    def test_log_of_many_files_is_one_log(self):
        self.assertGreater(len(self.segments()), 3)
        self.assertEqual(self.judge(), (CLEAN, 0))

    def test_compressed_segments_are_the_same_log(self):
        for segment in self.segments():
            subprocess.run(["gzip", segment], check=True)
        self.assertEqual(self.judge(), (CLEAN, 0))

    def test_missing_segment_is_located(self):
        for segment in self.segments():
            content = segment.read_bytes()
            segment.unlink()
            self.assertEqual(self.judge(), (TAMPERED, int(segment.name[6:-6])))
            segment.write_bytes(content)

    def test_changes_are_located_over_the_borders_of_files(self):
        for segment in self.segments():
            content, first = segment.read_bytes(), int(segment.name[6:-6])
            lines = content.split(b"\n")
            segment.write_bytes(content.replace(b"/app", b"/foe", 1))
            self.assertEqual(self.judge(), (TAMPERED, first))
            segment.write_bytes(b"\n".join(lines[:-2]) + b"\n")
            self.assertEqual(self.judge(), (TAMPERED, first + len(lines) - 2))
            segment.write_bytes(content[:-1])  # no end of its last line, but no crash in a closed file either
            self.assertEqual(self.judge(), (CLEAN, 0))
            segment.write_bytes(content)


class Pruned(Segments):
    """Old segments were removed by retention, which says so in the log."""
    end = "prune"

    def test_log_of_many_files_is_one_log(self):
        # The growing one may have been closed by the record of the removal itself.
        self.assertLessEqual(len(self.segments()), 2)
        self.assertEqual(self.judge(), (CLEAN, 0))

    def test_period_of_removed_records_is_clean_as_long_as_retention_said_so(self):
        self.assertEqual(self.judge(period=(1, 50)), (CLEAN, 0))
        self.assertEqual(self.judge(period=(1, RECORDS)), (CLEAN, 0))
        self.segments()[0].unlink()
        self.assertEqual(self.judge(period=(1, 50)), (TAMPERED, 1))

    def test_missing_segment_is_located(self):
        self.segments()[0].unlink()
        self.assertEqual(self.judge(), (TAMPERED, 1))  # more is gone than retention said

    def test_nothing_proves_what_is_left_without_tiles(self):
        self.without_tiles()
        self.assertEqual(self.judge(), (TAMPERED, 1))

    def test_records_that_are_gone_without_a_word_are_missing(self):
        self.judge(self.good.replace(b"audit_prune", b"audit_prunx"))
        self.assertEqual(self.judge()[0], TAMPERED)


def frame(lines, offset=0):
    """Of audit.journal, as server/audit_journal.h draws it."""
    text = b"".join(line + b"\n" for line in lines)
    head = b"SRjrnl\0\1" + bytes(16) + struct.pack(">QQQ", 1, offset, len(text)) + text
    return head + hashlib.sha256(head).digest()


class Crashed(Sealed):
    """The machine ended in the middle: what audit.jsonl lost stands in audit.journal, and both verifiers say so."""
    end = "crash"
    covered = RECORDS // CHECKPOINT * CHECKPOINT

    def setUp(self):
        super().setUp()
        self.journal = self.log / "audit.journal"

    def expect(self, content, verdict, only):
        self.assertEqual(self.judge(content), verdict)
        self.assertEqual(self.judges.journal_only, only)

    def test_log_that_lost_nothing_is_clean(self):
        self.expect(None, (CLEAN, 0), 0)

    def test_records_that_only_the_journal_has_are_counted_and_judged_with_the_others(self):
        lines = self.lines()
        for turn, number in enumerate(places()):
            size = len(lines[number - 1])
            cut = self.start_of(number) + (0, size // 2, size)[turn % 3]
            self.expect(self.good[:cut], (CLEAN, 0), RECORDS + 1 - number)
            self.assertEqual(self.judge(period=(number, number)), (CLEAN, 0))
        self.file.unlink()
        self.expect(None, (CLEAN, 0), RECORDS)

    def test_holes_are_filled_from_the_journal(self):
        for number in places(end=RECORDS):
            at = self.start_of(number) + 50
            self.expect(self.good[:at] + bytes(300) + self.good[at + 300:], (CLEAN, 0), RECORDS + 1 - number)
            self.expect(self.good[:at] + bytes(9999), (CLEAN, 0), RECORDS + 1 - number)

    def test_what_the_journal_lost_too_is_cut_off(self):
        whole = self.journal.read_bytes()
        for number in (CHECKPOINT, self.covered + 5):
            lines = self.lines()[:number]
            at = whole.index(lines[-1]) + len(lines[-1]) + 1
            self.journal.write_bytes(whole[:at + 31])  # of its frame's digest one byte is missing
            have = len(audit_verifier.journal_lines(self.log))
            self.assertLess(have, number)  # none when all of them are in one frame
            self.expect(b"", (CUT_OFF, have + 1) if have < self.covered else (CLEAN, 0), have)
        self.journal.write_bytes(frame(self.lines())[:-1])
        self.expect(b"", (CUT_OFF, 1), 0)

    def test_records_between_file_and_journal_are_missed(self):
        lines = self.lines()
        self.journal.write_bytes(frame(lines[200:], self.start_of(201)))
        self.expect(self.good[:self.start_of(150)], (TAMPERED, 150), RECORDS - 200)

    def test_journal_proves_nothing_against_a_checkpoint(self):
        lines = self.lines()
        forged = list(lines)
        forged[99] = forged[99].replace(b"/app", b"/foe")
        self.journal.write_bytes(frame(forged))
        self.expect(None, (CLEAN, 0), 0)
        self.expect(self.good[:self.start_of(50)], (TAMPERED, 100), RECORDS - 49)

    def test_record_behind_the_checkpoints_that_is_chained_anew_is_told_by_the_journal(self):
        for number in (self.covered + 1, RECORDS - 3, RECORDS):
            forged = self.lines()
            forged[number - 1] = forged[number - 1].replace(b"/app", b"/foe")
            for i in range(number, RECORDS):
                forged[i] = forged[i][:-66] + audit_verifier.leaf_hash(forged[i - 1]).hex().encode() + b'"}'
            self.expect(b"".join(line + b"\n" for line in forged), (TAMPERED, number), 0)
            self.assertEqual(self.judge(period=(1, number - 1)), (CLEAN, 0))
            self.assertEqual(self.judge(period=(number, RECORDS)), (TAMPERED, number))

    def test_both_verifiers_agree_whatever_is_done(self):
        whole, lines = self.journal.read_bytes(), self.lines()
        for _ in range(600 // EVERY if house.IS_LONG else 40):
            forged = list(lines)
            for _ in range(self.random.randrange(0, 3)):
                at, other = self.random.randrange(len(forged)), self.random.randrange(len(forged))
                what = self.random.choice(("change", "remove", "swap", "hole"))
                if what == "change":
                    forged[at] = forged[at].replace(b"/app", b"/foe")
                elif what == "remove":
                    del forged[at]
                elif what == "swap":
                    forged[at], forged[other] = forged[other], forged[at]
                else:
                    forged[at] = forged[at][:20] + bytes(len(forged[at]) - 20)
            content = b"".join(line + b"\n" for line in forged)
            journal = bytearray(whole)
            what = self.random.choice(("whole", "flip", "cut", "part"))
            if what == "flip":
                journal[self.random.randrange(len(journal))] ^= 1
            elif what == "cut":
                del journal[self.random.randrange(len(journal)):]
            elif what == "part":
                begin = self.random.randrange(RECORDS)
                journal = frame(lines[begin:self.random.randrange(begin, RECORDS) + 1], self.start_of(begin + 1))
            self.journal.write_bytes(bytes(journal))
            first = self.random.randrange(1, RECORDS)
            self.judge(content[:self.random.randrange(len(content) // 2, len(content) + 1)])
            self.judge(period=(first, self.random.randrange(first, RECORDS + 20)))


class SecondVerifier(unittest.TestCase):
    def test_it_stays_small_enough_to_be_read(self):
        lines = pathlib.Path(audit_verifier.__file__).read_text().split("\n")
        self.assertLessEqual(sum(bool(line.strip()) for line in lines), 200)


if __name__ == "__main__":
    house.main()
