#!/usr/bin/env python3
"""Tampering with an audit log of many files, some of them compressed or removed by retention, and with one that a crash cut
short. usage: audit_tamper_files_test.py FOLDER_OF_PROGRAMS; LONG=1 and EVERY=n as for audit_tamper_test.py."""
import gzip
import hashlib
import pathlib
import struct
import subprocess
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "system")]
import audit_verifier  # noqa: E402
import house  # noqa: E402
from tampering import CHECKPOINT, CLEAN, CUT_OFF, EVERY, RECORDS, TAMPERED, Sealed, places  # noqa: E402


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


class Compressed(Sealed):
    segment_bytes = 30 * RECORDS

    def test_damage_to_a_compressed_segment_is_located(self):
        segments = sorted(self.log.glob("audit-*.jsonl"))
        segment, number, following = segments[1], *[int(each.name[6:-6]) for each in segments[1:3]]
        text = segment.read_bytes()
        subprocess.run(["gzip", "-n", segment], check=True)
        packed = segment.with_name(segment.name + ".gz")
        good = packed.read_bytes()

        def judge(content):
            packed.write_bytes(content)
            code, bad = self.judge()
            if code == CLEAN:  # as with a time in its head, or bits that count for nothing
                return self.assertEqual(gzip.decompress(content), text)
            self.assertEqual(code, TAMPERED)
            self.assertIn(bad, range(number, following + 1))  # what could be read may be good
            self.assertEqual(self.judge(period=(1, bad - 1)), (CLEAN, 0))
            self.assertEqual(self.judge(period=(bad, bad)), (TAMPERED, bad))

        for at in [*range(12), *self.random.sample(range(12, len(good) - 12), 20), *range(len(good) - 12, len(good))]:
            changed = bytearray(good)
            changed[at] ^= 1 << self.random.randrange(8)
            judge(bytes(changed))
        for content in (b"", good[:5], good[:-1], good[:len(good) // 2], good + b"x"):
            judge(content)


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
            self.chain_anew(forged, number)
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
        self.assertLessEqual(pathlib.Path(audit_verifier.__file__).read_text().count("\n"), 200)


if __name__ == "__main__":
    house.main()
