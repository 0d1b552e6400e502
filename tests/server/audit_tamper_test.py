#!/usr/bin/env python3
"""Whatever is done to the records or checkpoints of a sealed log is detected and located, for the whole log and for a part,
with the tiles and without. The short form has a log of 400 records and tries those beside the borders of tiles and
checkpoints, and some more. LONG=1: every twentieth of 1,000. usage: audit_tamper_test.py FOLDER_OF_PROGRAMS; with LONG=1,
EVERY=n tries every n-th record (1: all of them, some minutes)."""
import pathlib
import shutil
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "system")]
import audit_verifier  # noqa: E402
import house  # noqa: E402
from tampering import CHECKPOINT, CUT_OFF, CLEAN, EVERY, INCONSISTENT, RECORDS, TAMPERED, TILE, Sealed, places  # noqa: E402


class Located(Sealed):
    """With the tiles at hand the place is exact; audit_every_record_test.py tries it on every record."""

    def test_untouched_log_is_clean(self):
        self.assertEqual(self.judge(), (CLEAN, 0))

    def test_log_without_its_file_is_cut_off(self):
        self.file.unlink()
        self.assertEqual(self.judge(), (CUT_OFF, 1))

    def test_record_that_is_chained_anew_to_the_end_is_located(self):
        lines = self.lines()
        for number in range(5, RECORDS, 50) if house.IS_LONG else (5, CHECKPOINT + 1, TILE + 1):
            forged = list(lines)
            forged[number - 1] = forged[number - 1].replace(b"/app", b"/foe")
            self.chain_anew(forged, number)
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
            self.chain_anew(forged, number)
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


if __name__ == "__main__":
    house.main()
