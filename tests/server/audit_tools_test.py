#!/usr/bin/env python3
"""kmsctl's audit commands on the files of a log and nothing else: no daemon, no token, no configuration, and, where the
test may make a network namespace (root), no network. usage: audit_tools_test.py FOLDER_OF_PROGRAMS"""
import csv
import io
import json
import os
import pathlib
import pty
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "system")]
import audit_verifier  # noqa: E402
import house  # noqa: E402
from tampering import CHECKPOINT, CLEAN, CUT_OFF, INCONSISTENT, RECORDS, TAMPERED, Sealed  # noqa: E402

VERDICTS = (CLEAN, TAMPERED, INCONSISTENT, CUT_OFF)
NO_NETWORK = ["unshare", "--net"]
if subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode != 0:
    NO_NETWORK = []


class Tools(Sealed):
    records = 300

    def setUp(self):
        super().setUp()
        self.key = f"{self.made}.pem"

    def command(self, name, *arguments):
        return [*NO_NETWORK, house.House.programs / "kmsctl", "audit", name, *map(str, arguments)]

    def run_tool(self, *arguments, expect=0):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
                              stdin=subprocess.DEVNULL, check=False)
        self.assertIn(done.returncode, [expect] if expect is not None else VERDICTS, done.stderr)
        return done.stdout

    def verify(self, expect, *more):
        """What the tool says, with which the other verifier must agree. `more`: options and their values. `expect`: the exit
        code; None: any verdict."""
        said = json.loads(self.run_tool("verify", self.log, "--key", self.key, "--json", *more, expect=expect))
        given = dict(zip(more[::2], more[1::2], strict=True))
        ends = [given.get("--from", "1"), given.get("--to", str(RECORDS))]
        period = [audit_verifier.end_of_period(end) for end in ends] if {"--from", "--to"} & {*given} else None
        kept = [given["--checkpoint"].read_bytes()] if "--checkpoint" in given else []
        other = audit_verifier.judge(self.log, audit_verifier.Key(pathlib.Path(self.key).read_text()), period, kept)
        self.assertEqual((said["exit_code"], said["first_bad"] or 0), other, more)
        return said

    def test_verify_ends_with_the_code_of_its_verdict(self):
        lines = self.lines()
        said = self.verify(CLEAN)
        self.assertEqual([said[name] for name in ("verdict", "exit_code", "first_bad", "records", "covered")], ["clean", 0, None, 300, 300])
        self.file.write_bytes(self.good.replace(b'{"sequence":200,', b'{"sequence":201,'))
        said = self.verify(TAMPERED)
        self.assertEqual([said[name] for name in ("verdict", "exit_code", "first_bad")], ["tampered", 2, 200])
        self.assertEqual(self.verify(CLEAN, "--from", "100", "--to", "199")["period"], {"first": 100, "last": 199})
        self.assertEqual(self.verify(TAMPERED, "--from", "200", "--to", "210")["first_bad"], 200)
        self.file.write_bytes(b"".join(line + b"\n" for line in lines[:250]))
        said = self.verify(CUT_OFF)
        self.assertEqual([said[name] for name in ("verdict", "exit_code", "first_bad")], ["cut_off", 4, 251])
        self.file.write_bytes(self.good)
        (self.log / "checkpoints").unlink()
        (self.log / "checkpoint").unlink()
        said = self.verify(INCONSISTENT)
        self.assertEqual([said[name] for name in ("verdict", "exit_code", "first_bad")], ["inconsistent", 3, None])

    def test_verify_judges_the_records_of_a_time(self):
        times = [json.loads(line)["time"] for line in self.lines()]
        begin = times[99]
        end = next(time for time in times if time > times[149])  # many records have the same time
        inside = [number for number, time in enumerate(times, 1) if begin <= time < end]
        period = {"first": inside[0], "last": inside[-1]}
        self.assertEqual(self.verify(CLEAN, "--from", begin, "--to", end)["period"], period)
        self.file.write_bytes(self.good.replace(b'"number":"150"', b'"number":"151"'))
        self.assertEqual(self.verify(TAMPERED, "--from", begin, "--to", end)["first_bad"], 150)
        self.file.write_bytes(self.good.replace(b'"number":"250"', b'"number":"251"'))
        self.verify(CLEAN, "--from", begin, "--to", end)
        self.verify(TAMPERED, "--from", end)

    def test_a_checkpoint_that_was_kept_elsewhere_shows_a_log_set_back(self):
        kept = self.folder / "kept"
        kept.write_bytes((self.log / "checkpoint").read_bytes())
        checkpoints = self.log / "checkpoints"
        first = checkpoints.read_bytes().split(b"\n", 5)[:5]
        self.file.write_bytes(b"".join(line + b"\n" for line in self.lines()[:CHECKPOINT]))
        for file in (checkpoints, self.log / "checkpoint"):
            file.write_bytes(b"\n".join(first) + b"\n")
        self.without_tiles()
        self.assertEqual(self.verify(CLEAN)["covered"], CHECKPOINT)
        self.assertEqual(self.verify(CUT_OFF, "--checkpoint", kept)["first_bad"], CHECKPOINT + 1)

    def forge(self, lines, times):
        """Does something to the lines of a log, or nothing; where."""
        at, other = self.random.randrange(len(lines)), self.random.randrange(len(lines))
        what = self.random.choice(("nothing", "change", "time", "remove", "insert", "cut"))
        if what == "change":
            lines[at] = lines[at].replace(b"/app", b"/foe")
        elif what == "time":
            lines[at] = lines[at].replace(times[at % len(times)].encode(), times[other % len(times)].encode())
        elif what == "remove":
            del lines[at]
        elif what == "insert":
            lines.insert(at, lines[other])
        elif what == "cut":
            del lines[at + len(lines) // 2:]
        return at

    def test_both_verifiers_agree_on_every_time_and_every_kept_checkpoint(self):
        times = [json.loads(line)["time"] for line in self.lines()]
        history, kept, met = self.log / "checkpoints", self.folder / "kept", set()
        notes = audit_verifier.split_notes(history.read_bytes())
        for _ in range(24):
            lines = self.lines()
            touched = [self.forge(lines, times) for _ in range(self.random.randrange(3))] or [self.random.randrange(len(lines))]
            self.file.write_bytes(b"".join(line + b"\n" for line in lines))
            # The log as somebody would set it back, with the checkpoints that it had then.
            left = self.random.choice((1, *[len(notes)] * 4))
            history.write_bytes(b"".join(note + b"\n" for note in notes[:left]))
            (self.log / "checkpoint").write_bytes(notes[left - 1])
            more = []
            for name in ("--from", "--to"):
                at = (self.random.choice(touched) + self.random.randrange(-1, 2)) % len(times)
                ends = (times[at], times[at], times[at][:19] + "Z", times[at][:10], str(at + 1), str(self.random.randrange(290, 320)))
                if self.random.random() < 3 / 4:
                    more += [name, self.random.choice(ends)]
            note = self.random.choice(notes)
            if self.random.random() < 1 / 4:
                note = note.replace(b"\n", b"\n1", 1)  # of another size
            kept.write_bytes(note)
            met.add(self.verify(None, *more, *(["--checkpoint", kept] if self.random.random() < 1 / 2 else []))["exit_code"])
        self.assertEqual(met, set(VERDICTS))

    def test_mistakes_of_the_caller_have_other_codes_than_verdicts(self):
        self.run_tool("verify", self.log, "--key", self.folder / "none.pem", expect=1)
        self.run_tool("verify", self.folder / "none", "--key", self.key, expect=1)
        whole = ("verify", self.log, "--key", self.key)
        for wrong in (("verify", self.log), ("verify", self.log, "--key"), (*whole, "--frm", "1"), (*whole, "more"),
                      (*whole, "--timeout", "soon"), (*whole, "--from", "yesterday"), (*whole, "--to", "2026-13-01"),
                      (*whole, "--checkpoint", self.folder / "none")):
            with self.subTest(wrong=wrong):
                self.run_tool(*wrong, expect=1)
        self.assertEqual(subprocess.run([house.House.programs / "kmsctl", "--json", "audit", "verify"], capture_output=True,
                                        check=False).returncode, 1)
        # Other commands keep the code of wrong usage.
        self.run_tool("show", self.log, "--from", "yesterday", expect=2)
        self.run_tool("check", expect=2)

    def test_what_can_not_be_said_is_no_verdict(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(self.command("verify", self.log, "--key", self.key), stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, b"can't be written" in done.stderr), (1, True), done.stderr)

    def test_a_file_that_can_not_be_read_is_no_verdict(self):
        self.file.unlink()
        self.file.mkdir()  # which nobody can read, not even root
        self.run_tool("verify", self.log, "--key", self.key, expect=1)

    def test_a_terminal_sees_a_progress_bar_and_nobody_else(self):
        done = subprocess.run(self.command("verify", self.log, "--key", self.key), capture_output=True, check=True)
        self.assertEqual(done.stderr, b"")
        ours, theirs = pty.openpty()
        done = subprocess.run(self.command("verify", self.log, "--key", self.key), stderr=theirs, stdout=subprocess.DEVNULL, check=True)
        os.close(theirs)
        with open(ours, "rb", buffering=0) as terminal:
            self.assertRegex(terminal.read(4096), rb"\r\[#+\] 100 %")

    def test_show_has_what_each_filter_asks_for(self):
        def shown(*filters):
            return [json.loads(line)["sequence"] for line in self.run_tool("show", self.log, "--json", *filters).splitlines()]

        middle = json.loads(self.lines()[149])["time"]
        self.assertEqual(shown(), list(range(1, 301)))
        self.assertEqual(shown("--last", 2), [299, 300])
        before, after = shown("--to", middle), shown("--from", middle)
        self.assertEqual(before + after, list(range(1, 301)))
        self.assertIn(150, after)
        for name, good, bad in (("--caller", "*/app", "*/foe"), ("--action", "unwrap_*", "sign"), ("--outcome", "ok", "denied")):
            self.assertEqual(len(shown(name, good)), 300, name)
            self.assertEqual(shown(name, bad), [], name)
        self.assertEqual(shown("--key", "key:none"), [])

    def test_show_follows_a_log_that_grows(self):
        start = sum(len(line) + 1 for line in self.lines()[:290])
        self.file.write_bytes(self.good[:start])
        with subprocess.Popen(self.command("show", self.log, "--follow", "--json", "--last", "1"), stdout=subprocess.PIPE, text=True) as tool:
            self.assertEqual(json.loads(tool.stdout.readline())["sequence"], 290)
            with self.file.open("ab") as log:
                log.write(self.good[start:-20])  # the last line not yet whole
            self.assertEqual([json.loads(tool.stdout.readline())["sequence"] for _ in range(9)], list(range(291, 300)))
            self.file.write_bytes(self.good)
            self.assertEqual(json.loads(tool.stdout.readline())["sequence"], 300)
            tool.terminate()

    def test_export_gives_the_lines_as_they_are_or_a_row_for_each(self):
        self.assertEqual(self.run_tool("export", self.log, "--format", "jsonl").encode(), self.good)
        rows = list(csv.DictReader(io.StringIO(self.run_tool("export", self.log, "--format", "csv"), newline="")))
        records = [json.loads(line) for line in self.lines()]
        self.assertEqual([(row["sequence"], row["request_id"], row["caller"], row["facts"]) for row in rows],
                         [(str(record["sequence"]), record["request_id"], record["caller"]["id"], f"number={record['facts']['number']}")
                          for record in records])

    def test_record_is_proven_to_who_has_the_key_only(self):
        proof = self.folder / "proof"
        for number in (1, 97, 256, 300):
            proof.write_text(self.run_tool("prove", self.log, number))
            self.assertIn(self.lines()[number - 1].decode(), self.run_tool("check", proof, "--key", self.key))
        other = self.folder / "other"
        subprocess.run([house.House.programs / "audit_cases", "make", other, "3", "ed25519"], check=True)
        self.run_tool("check", proof, "--key", f"{other}.pem", expect=1)
        self.run_tool("prove", self.log, 301, expect=1)

    def test_report_says_what_verify_says(self):
        def report():
            return self.run_tool("report", self.log, "--public-key-file", self.key)

        self.assertIn("complete and unchanged", report())
        self.file.write_bytes(self.good.replace(b'"number":"200"', b'"number":"201"'))
        page = report()
        self.assertIn("tampered with", page)
        self.assertIn("not proven good: 200", page)


if __name__ == "__main__":
    house.main()
