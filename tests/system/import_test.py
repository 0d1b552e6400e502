#!/usr/bin/env python3
"""Moving in, from files: vaultctl import and verify-migration against real daemons, with exports as applications have
them. What was encrypted by Node is in tests/vectors; the rest is made here with OpenSSL."""
import contextlib
import csv
import json
import os
import pathlib
import pty
import select
import time
import unittest

import house
import moving_in

VECTORS = house.SOURCE / "tests" / "vectors"
SLOW = 240  # bound of the waits for a hundred records, each sealed in the token, on a busy machine


class MovingIn(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.house = cls.enterClassContext(house.House())
        cls.kms, cls.vault = cls.house.start_both(
            {"reveal": {"reason_required": [{"caller": "*", "resources": ["credential:acme/reason-*"]}]}})
        cls.tool = moving_in.Tool(cls.house, cls.vault)

    def call(self, *arguments):
        return moving_in.call(self.house, self.vault, *arguments)

    def reveal(self, name):
        answer = self.call("POST", house.credential_path("acme", name, "/reveal"), {})
        self.assertEqual(answer.status, 200, answer)
        return answer.json()

    def names(self, prefix):
        found, cursor = [], ""
        while True:
            page = self.call("GET", "/v1/owners/acme/credentials?limit=100" + (f"&cursor={cursor}" if cursor else "")).json()
            found += [one["name"] for one in page["credentials"] if one["name"].startswith(prefix)]
            cursor = page.get("next_cursor", "")
            if not cursor:
                return found

    def envelopes(self, name, count):
        """An export of envelopes, and how to import it."""
        records = [{"tenant": "acme", "id": f"{name}-{i}", "plan": "pro", "expires": 1896091200 + i,
                    "credentials": moving_in.envelope(moving_in.secret_of(i), "v1" if i % 2 else "v2")} for i in range(count)]
        return records, ["--format", "envelope", "--old-keys-file", self.tool.keys, "--column", "credentials",
                         "--owner", "{tenant}", "--name", "{id}", "--metadata", "plan", "--expires-at", "expires"]

    def test_envelopes_become_credentials_and_bad_ones_are_reported_by_their_place(self):
        records, how = self.envelopes("env", 130)
        records[3]["credentials"]["ct"] = records[4]["credentials"]["ct"]
        records[5]["credentials"]["kid"] = "v9"
        records[6]["id"] = "a/b"
        records[7]["credentials"] = None
        records[8]["credentials"] = {"token": "planted-plaintext"}
        file = self.tool.lines("env.jsonl", records)
        with file.open("a") as out:
            out.write('{"broken": "planted-in-a-broken-line\n')

        dry = self.tool.report("import", "file", file, *how, "--dry-run", expect=1)
        self.assertEqual((dry["records"], dry["imported"], dry["without_secret"], dry["failed"]), (131, 125, 1, 5))
        self.assertEqual(self.names("env-"), [])
        self.assertFalse(os.path.exists(f"{file}.import-state"))

        report = self.tool.report("import", "file", file, *how, expect=1)
        self.assertTrue(report["complete"])
        # On a busy machine an answer may come too late, and what was stored is found there when it is asked again.
        self.assertEqual(report["imported"] + report["already_there"], 125)
        self.assertEqual((report["records"], report["without_secret"]), (131, 1))
        self.assertEqual(report["failures"], dry["failures"])
        self.assertEqual([failure["place"].split(",")[0] for failure in report["failures"]],
                         ["record 4", "record 6", "record 7", "record 9", "record 131"])
        self.assertEqual(len(self.names("env-")), 125)
        for i in (0, 1, 129):
            found = self.reveal(f"env-{i}")
            self.assertEqual(found["secret"], moving_in.secret_of(i))
            self.assertEqual((found["version"], found["metadata"]), (1, {"plan": "pro"}))
            self.assertTrue(found["expires_at"].startswith("2030-01-31T12:0"))
        self.assertNotIn("planted", self.tool.said)

        code, out, error = self.tool.run("import", "file", file, *how)
        self.assertEqual(code, 1)
        self.assertIn("is complete", error)
        os.remove(f"{file}.import-state")
        again = self.tool.report("import", "file", file, *how, expect=1)
        self.assertEqual((again["imported"], again["already_there"]), (0, 125))
        self.assertEqual(self.reveal("env-0")["version"], 1)

    @house.both_forms
    def test_kill_9_makes_no_credential_twice_and_loses_none(self):
        count = 420 if house.IS_LONG else 220
        records, how = self.envelopes("kill", count)
        file = self.tool.lines("kill.jsonl", records)
        state = f"{file}.import-state"
        killed = 0
        for goal in moving_in.KILLS_AT:
            killed += self.tool.kill_in_between("import", "file", file, *how, after=lambda process, goal=goal: house.wait_until(
                lambda: moving_in.state_position(state) >= goal or process.poll() is not None, "the import comes on", SLOW))
        self.assertGreater(killed, 0)
        report = self.tool.report("import", "file", file, *how)
        self.assertTrue(report["resumed"])
        self.assertEqual((report["records"], report["failed"]), (count, 0))
        self.assertEqual(report["imported"] + report["already_there"], count)
        self.assertEqual(len(self.names("kill-")), count)
        for i in range(0, count, 50):
            found = self.reveal(f"kill-{i}")
            self.assertEqual((found["version"], found["secret"]), (1, moving_in.secret_of(i)))
        verdict = self.tool.report("verify-migration", "file", file, *how)
        self.assertEqual((verdict["good"], verdict["present"], verdict["opened"]), (True, count, count))

    @house.both_forms
    def test_sealed_values_go_to_a_file_whole_and_once_whatever_is_killed(self):
        count = 420 if house.IS_LONG else 220
        records = [{"_id": {"$oid": f"{i:024x}"}, "credentials": moving_in.envelope(moving_in.secret_of(i)), "note": f"é{i}"}
                   for i in range(count)]
        file, out = self.tool.lines("values.jsonl", records), self.tool.folder / "sealed.jsonl"
        how = ["--format", "envelope", "--old-keys-file", self.tool.keys, "--column", "credentials", "--context", "accounts:{_id.$oid}"]
        run = ["import", "file", file, *how, "--out", out]
        state = f"{file}.import-state"
        for goal in moving_in.KILLS_AT:
            self.tool.kill_in_between(*run, after=lambda process, goal=goal: house.wait_until(
                lambda: moving_in.state_position(state) >= goal or process.poll() is not None, "the import comes on", SLOW))
            if out.exists() and goal == 100:
                with out.open("ab") as torn:  # what a crash may leave behind the last state
                    torn.write(b'{"_id":')
        report = self.tool.report(*run)
        self.assertEqual((report["records"], report["imported"], report["failed"]), (count, count, 0))
        self.assertEqual(out.stat().st_mode & 0o777, 0o600)
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual([line["_id"] for line in lines], [record["_id"] for record in records])
        self.assertEqual([line["note"] for line in lines], [record["note"] for record in records])
        items = [{"value": line["credentials"], "context": f"accounts:{line['_id']['$oid']}"} for line in lines[-100:]]
        opened = self.call("POST", "/v1/open", {"items": items}).json()["results"]
        self.assertEqual([one["value"] for one in opened], [moving_in.secret_of(i) for i in range(count - 100, count)])

        verdict = self.tool.report("verify-migration", "file", file, *how, "--sealed-file", out, "--sample", "50")
        self.assertEqual((verdict["good"], verdict["present"], verdict["opened"], verdict["surplus"]), (True, count, 50, 0))
        del lines[10]
        lines[20]["credentials"], lines[21]["credentials"] = lines[21]["credentials"], lines[20]["credentials"]
        changed = self.tool.lines("changed.jsonl", lines)
        verdict = self.tool.report("verify-migration", "file", file, *how, "--sealed-file", changed, expect=1)
        self.assertEqual((verdict["missing"], verdict["different"], verdict["opened"]), (1, 2, count - 3))

        # What is sealed already stays as it is, and comes through.
        again = self.tool.report("import", "file", out, *how, "--out", self.tool.folder / "again.jsonl")
        self.assertEqual((again["imported"], again["already_there"]), (0, count))
        self.assertEqual((self.tool.folder / "again.jsonl").read_text(), out.read_text())
        code, _, error = self.tool.run("import", "file", file, *how, "--out", out, "--state", self.tool.folder / "other.state")
        self.assertEqual(code, 2)
        self.assertIn("exists already", error)

    @house.both_forms
    def test_what_node_encrypted_is_imported_from_csv_and_arrays(self):
        vectors = json.loads((VECTORS / "legacy_secrets.json").read_text())["vectors"]
        wanted = [v for v in vectors if v["expect"] == "opens" and v["plaintext"].startswith("{") and v["bound"] == "" and isinstance(v["held"], str)]
        self.assertGreater(len(wanted), 30)
        taken = {}
        for vector in wanted:
            # One run for each way to encrypt.
            taken.setdefault((vector["format"], vector.get("layout", ""), vector.get("encoding", ""), vector.get("iv_bytes", 0),
                              vector["keys"], vector["key_encoding"], vector.get("salt", "")), []).append(vector)
        number = 0
        for way, group in list(taken.items())[::1 if house.IS_LONG else 12]:
            kind, layout, encoding, iv_bytes, keys, key_encoding, salt = way
            number += 1
            file = self.tool.folder / f"node-{number}.csv"
            with file.open("w", newline="") as out:
                writer = csv.writer(out)
                writer.writerow(["name", "token"])
                writer.writerows([f"node-{number}-{i}", vector["held"]] for i, vector in enumerate(group))
            how = ["--format", kind, "--old-encoding", key_encoding, "--old-keys-file", self.tool.write("node.key", keys)]
            if layout:
                how += ["--layout", layout, "--encoding", encoding, "--iv-bytes", iv_bytes]
            if salt:
                how += ["--old-salt", salt]
            report = self.tool.report("import", "file", file, *how, "--column", "token", "--owner", "acme", "--name", "{name}")
            self.assertEqual(report["imported"] + report["already_there"], len(group), way)
            self.assertEqual(self.reveal(f"node-{number}-0")["secret"], json.loads(group[0]["plaintext"]))

    def test_plaintext_comes_from_csv_columns_and_json_arrays(self):
        file = self.tool.write("plain.csv", 'name;user;password;expiry\nplain-1;"a;b";"p ""q""\nr";2030-01-31 12:00:00\nplain-2;u;w;\n')
        report = self.tool.report("import", "file", file, "--delimiter", ";", "--column", "user", "--column", "password", "--as", "text",
                                  "--owner", "acme", "--name", "{name}", "--expires-at", "expiry", "--utc")
        self.assertEqual(report["imported"], 2)
        found = self.reveal("plain-1")
        self.assertEqual(found["secret"], {"user": "a;b", "password": 'p "q"\nr'})
        self.assertEqual(found["expires_at"], "2030-01-31T12:00:00.000Z")
        file = self.tool.write("plain.json", json.dumps([{"name": f"array-{i}", "token": f"t{i}"} for i in range(3)], indent=2))
        report = self.tool.report("import", "file", file, "--column", "token", "--as", "text", "--wrap", "access_token",
                                  "--owner", "acme", "--name", "{name}")
        self.assertEqual(report["imported"], 3)
        self.assertEqual(self.reveal("array-2")["secret"], {"access_token": "t2"})

    def test_a_mistyped_column_is_refused_or_named_in_the_report(self):
        file = self.tool.write("typed.csv", "name,token,plan,ends\ntyped-1,t,pro,2030-01-31T12:00:00Z\n")
        good = {"--column": "token", "--owner": "acme", "--name": "{name}", "--metadata": "plan", "--expires-at": "ends"}

        def options(**wrong):
            return ["--as", "text", "--wrap", "t", *(part for pair in {**good, **wrong}.items() for part in pair)]

        for option, typed in (("--metadata", "plam"), ("--expires-at", "emds"), ("--name", "{nane}"), ("--column", "tokem"),
                              ("--bound", "user:{uid}")):
            for command in (["import", "file", file], ["verify-migration", "file", file]):
                code, _, error = self.tool.run(*command, *options(**{option: typed}))
                self.assertEqual(code, 2, error)
                self.assertIn("no column " + typed.split("{")[-1].rstrip("}"), error)
        self.assertEqual(self.names("typed-"), [])
        self.assertEqual(self.tool.report("import", "file", file, *options())["columns_not_found"], [])

        file = self.tool.lines("typed.jsonl", [{"name": "typed-2", "token": "t", "plan": "pro"}, {"name": "typed-3", "token": "t"}])
        self.assertEqual(self.tool.report("import", "file", file, *options(), "--dry-run")["columns_not_found"], ["ends"])
        wrong = options(**{"--metadata": "plam", "--expires-at": "plan"})
        _, out, _ = self.tool.run("import", "file", file, *wrong, "--dry-run")
        self.assertIn("no record has a column plam", out)
        self.assertNotIn("column plan", out)
        self.tool.report("import", "file", file, *options())
        verdict = self.tool.report("verify-migration", "file", file, *options(**{"--metadata": "plam"}))
        self.assertEqual((verdict["opened"], verdict["columns_not_found"]), (2, ["plam", "ends"]))

    def test_a_secret_that_is_nested_too_deep_fails_alone(self):
        records = [{"id": i, "s": moving_in.nested(17 if i == 2 else 16)} for i in range(4)]
        file, out = self.tool.lines("deep.jsonl", records), self.tool.folder / "deep-sealed.jsonl"
        how = ["--column", "s", "--context", "deep:{id}"]
        report = self.tool.report("import", "file", file, *how, "--out", out, expect=1)
        self.assertEqual((report["imported"], report["failed"]), (3, 1))
        self.assertEqual(report["failures"], [{"place": "record 3, line 3", "reason": "the secret is nested deeper than 16 levels"}])
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        # The vault would refuse the whole call for the first.
        lines[0]["s"] = moving_in.nested(17)
        changed = self.tool.lines("deep-changed.jsonl", lines)
        verdict = self.tool.report("verify-migration", "file", file, *how, "--sealed-file", changed, expect=1)
        self.assertEqual((verdict["unreadable"], verdict["different"], verdict["opened"]), (1, 1, 2))

    def test_records_without_a_secret_go_to_the_output_as_they_are(self):
        records = [{"id": 0, "s": None}, {"id": 1, "s": {"n": 1}}, {"id": 2, "s": "", "n": 1.50}, {"id": 3, "s": {"__enc": 7}}, {"id": 4}]
        file, out = self.tool.lines("some.jsonl", records), self.tool.folder / "some-sealed.jsonl"
        how = ["--column", "s", "--context", "some:{id}", "--allow-missing"]
        report = self.tool.report("import", "file", file, *how, "--out", out, expect=1)
        self.assertEqual((report["records"], report["imported"], report["without_secret"], report["failed"]), (5, 1, 3, 1))
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual(lines[1]["s"]["__enc"], 2)
        self.assertEqual([lines[0], *lines[2:]], [records[0], records[2], records[4]])
        verify = ["verify-migration", "file", file, *how, "--sealed-file"]
        verdict = self.tool.report(*verify, out, expect=1)
        self.assertEqual((verdict["without_secret"], verdict["opened"], verdict["missing"], verdict["unreadable"]), (3, 1, 0, 1))
        verdict = self.tool.report(*verify, self.tool.lines("some-less.jsonl", lines[1:]), expect=1)
        self.assertEqual((verdict["opened"], verdict["missing"], verdict["surplus"]), (1, 1, 0))

    def test_where_a_reason_is_asked_for_it_is_given(self):
        file = self.tool.lines("reason.jsonl", [{"name": f"reason-{i}", "s": {"n": i}} for i in range(3)])
        how = ["--column", "s", "--owner", "acme", "--name", "{name}"]
        report = self.tool.report("import", "file", file, *how, expect=1)
        self.assertEqual(report["failed"], 3)
        self.assertIn("invalid_argument: \"reason\" is missing", report["failures"][0]["reason"])
        state = ["--state", self.tool.folder / "reason.state"]
        report = self.tool.report("import", "file", file, *how, *state, "--reason", "moving in, ticket 4711")
        self.assertEqual((report["already_there"], report["failed"]), (3, 0))
        verdict = self.tool.report("verify-migration", "file", file, *how, expect=1)
        self.assertEqual((verdict["different"], verdict["opened"]), (3, 0))
        verdict = self.tool.report("verify-migration", "file", file, *how, "--reason", "verified, ticket 4712")
        self.assertEqual((verdict["good"], verdict["opened"]), (True, 3))
        said = "".join(file.read_text(errors="replace") for file in (self.house.folder / "vaultd" / "audit").iterdir())
        for text in ("moving in, ticket 4711", "verified, ticket 4712"):
            self.assertIn(text, said)
        for command in (["import", "file", file, *how, "--reason", "two\nlines"],
                        ["verify-migration", "file", file, *how, "--reason", "x" * 257],
                        ["import", "file", file, "--column", "s", "--context", "c", "--out", "o", "--reason", "values"]):
            code, _, error = self.tool.run(*command)
            self.assertEqual(code, 2, error)
            self.assertIn("--reason", error)

    def test_another_secret_that_is_there_is_kept_unless_replaced(self):
        file = self.tool.lines("there.jsonl", [{"name": "there", "s": {"n": 1}}, {"name": "there", "s": {"n": 2}}])
        how = ["--column", "s", "--owner", "acme", "--name", "{name}"]
        report = self.tool.report("import", "file", file, *how, expect=1)
        self.assertEqual((report["imported"], report["failed"]), (1, 1))
        self.assertIn("already", report["failures"][0]["reason"])
        self.assertEqual(self.reveal("there")["secret"], {"n": 1})
        report = self.tool.report("import", "file", file, *how, "--replace", "--state", self.tool.folder / "replace.state")
        self.assertEqual((report["imported"], report["already_there"]), (1, 1))
        found = self.reveal("there")
        self.assertEqual((found["secret"], found["version"]), ({"n": 2}, 2))

    def test_what_is_not_allowed_fails_by_record_and_a_limit_ends_it(self):
        file = self.tool.lines("forbidden.jsonl", [{"owner": "globex", "s": {}}] * 3 + [{"owner": "acme", "s": {}}])
        report = self.tool.report("import", "file", file, "--column", "s", "--owner", "{owner}", "--name", "allowed", expect=1)
        self.assertEqual((report["failed"], report["imported"] + report["already_there"]), (3, 1))
        self.assertIn("permission_denied", report["failures"][0]["reason"])
        bad = self.tool.write("bad.jsonl", "no json\n" * 50)
        code, _, error = self.tool.run("import", "file", bad, "--column", "s", "--owner", "acme", "--name", "x", "--max-failures", "10")
        self.assertEqual(code, 1)
        self.assertIn("--max-failures", error)
        self.assertEqual(moving_in.state_position(f"{bad}.import-state"), 11)

    def test_a_migration_is_judged_by_what_is_missing_and_what_differs(self):
        records, how = self.envelopes("judge", 60)
        file = self.tool.lines("judge.jsonl", records)
        self.tool.report("import", "file", file, *how)
        self.call("PUT", house.credential_path("acme", "judge-7"), {"secret": {"other": 1}})
        self.call("DELETE", house.credential_path("acme", "judge-9"))
        verdict = self.tool.report("verify-migration", "file", file, *how, expect=1)
        self.assertEqual((verdict["missing"], verdict["different"], verdict["opened"]), (1, 1, 58))
        self.assertEqual(sorted(one["place"] for one in verdict["findings"]), ["record 10, line 10", "record 8, line 8"])
        verdict = self.tool.report("verify-migration", "file", file, *how, "--sample", "0", expect=1)
        self.assertEqual((verdict["missing"], verdict["present"], verdict["opened"]), (1, 59, 0))
        self.assertGreaterEqual(verdict["surplus"], 0)

    def test_without_the_key_service_it_stops_and_goes_on_later(self):
        records, how = self.envelopes("away", 30)
        file = self.tool.lines("away.jsonl", records)
        self.kms.stop()
        try:
            stopped = self.tool.report("import", "file", file, *how, "--patience", "0", expect=3)
            self.assertFalse(stopped["complete"])
            self.assertIn("stopped_by", stopped)
            self.assertEqual(stopped["failed"], 0)
        finally:
            # At its old port, which vaultd knows.
            self.house.configure("kmsd", {"listen": {"address": "127.0.0.1", "port": self.kms.port}})
            MovingIn.kms = self.house.start("kmsd")
        report = self.tool.report("import", "file", file, *how)
        self.assertEqual((report["resumed"], report["failed"], report["records"]), (True, 0, 30))
        self.assertEqual(report["imported"] + report["already_there"], 30)

    def test_keys_come_from_private_files_and_terminals_only(self):
        records, how = self.envelopes("key", 1)
        file = self.tool.lines("key.jsonl", records)
        code, _, error = self.tool.run("import", "file", file, *how, "--old-key=abc")
        self.assertNotEqual(code, 0)
        self.assertIn("would show a secret", error)
        open_to_all = self.tool.write("open.key", moving_in.ring_text(), 0o644)
        code, _, error = self.tool.run("import", "file", file, *how[:2], "--old-keys-file", open_to_all, *how[4:])
        self.assertEqual(code, 2)
        self.assertIn("chmod 0600", error)
        code, _, error = self.tool.run("import", "file", file, *how[:2], "--old-keys-file", self.tool.write("short", "v1:bm90LWEta2V5"), *how[4:])
        self.assertEqual(code, 2)
        self.assertIn("entry 1", error)
        self.assertNotIn("bm90LWEta2V5", error)

    def test_on_a_terminal_it_asks_for_the_keys_and_shows_how_far_it_is(self):
        records, how = self.envelopes("tty", 110)
        file = self.tool.lines("tty.jsonl", records)
        pid, terminal = pty.fork()
        if pid == 0:
            arguments = self.tool.start + ["import", "file", str(file), *[str(one) for one in how[:2] + how[4:]]]
            os.execve(arguments[0], arguments, self.tool.environment)
        said, is_typed, end = b"", False, time.monotonic() + house.PATIENCE_SECONDS
        with contextlib.suppress(OSError):  # the end of the program ends the terminal
            while time.monotonic() < end:
                if select.select([terminal], [], [], 1)[0]:
                    said += os.read(terminal, 4096)
                if b"old key ring" in said and not is_typed:
                    is_typed = True
                    os.write(terminal, moving_in.ring_text().encode() + b"\n")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, said)
        self.assertIn(b"] ", said)
        self.assertRegex(said, rb"\[#+\.*\] +\d+ %  \d+ records")
        self.assertRegex(said, rb"imported and opened again +110")
        self.assertNotIn(moving_in.ring_text().encode()[8:40], said, "typed without echo")

    @house.both_forms
    def test_a_large_file_is_never_in_memory(self):
        def peak(count):
            file = self.tool.lines("large.jsonl", ({"name": f"n{i}", "s": {"x": "y" * 2000}} for i in range(count)))
            process = self.tool.popen("import", "file", file, "--column", "s", "--owner", "acme", "--name", "{name}", "--dry-run", "--json")
            seen = 0
            while process.poll() is None:
                with contextlib.suppress(OSError, ValueError, StopIteration):
                    status = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
                    seen = max(seen, int(next(line for line in status if line.startswith("VmHWM")).split()[1]))
                time.sleep(0.01)
            out, _ = process.communicate()
            self.assertEqual(json.loads(out)["imported"], count)
            self.assertGreater(seen, 0)
            return seen

        many = 50_000 if house.IS_LONG else 8_000
        small = peak(1_000)
        self.assertLess(peak(many) - small, 8 * 1024, f"KiB more for {(many - 1_000) // 500} MiB more")

    def test_mistakes_are_named(self):
        records, how = self.envelopes("mistake", 1)
        file = self.tool.lines("mistake.jsonl", records)
        for arguments, part in (
                ((file,), "--column"),
                ((file, "--column", "credentials"), "owner and a name"),
                ((file, *how, "--layout", "iv:data"), "--layout"),
                ((file, "--column", "x", "--owner", "{", "--name", "x"), "columns like"),
                ((file, "--column", "x", "--context", "c"), "--out"),
                ((file, "--column", "x", "--context", "c", "--out", "o", "--replace"), "--replace"),
                ((self.tool.folder / "missing", *how), "missing"),
                ((file, *how, "--input", "csv"), "headings")):
            code, _, error = self.tool.run("import", "file", *arguments)
            self.assertEqual(code, 2, (arguments, error))
            self.assertIn(part, error)
        self.tool.run("import", "file", file, *how)
        code, _, error = self.tool.run("import", "file", file, *how, "--wrap", "x")
        self.assertEqual(code, 2)
        self.assertIn("with other options", error)
        table = self.tool.write("form.csv", "name,s\nform-1,{}\n")
        form = ["import", "file", table, "--column", "s", "--owner", "acme", "--name", "{name}"]
        self.tool.report(*form)
        self.tool.report(*form, "--input", "csv", "--delimiter", ",")
        for other in (["--input", "jsonl"], ["--delimiter", ";"]):
            code, _, error = self.tool.run(*form, *other)
            self.assertEqual(code, 2, error)
            self.assertIn("with other options", error)
        with file.open("a") as out:
            out.write("{}\n")
        code, _, error = self.tool.run("import", "file", file, *how)
        self.assertEqual(code, 2)
        self.assertIn("was changed since", error)
        code, out, _ = self.tool.run("import", "file", "--help")
        self.assertEqual(code, 0)
        for part in ("Examples:", "makes nothing twice", "store_credential", "--dry-run"):
            self.assertIn(part, out)

    @classmethod
    def tearDownClass(cls):
        said = cls.tool.said + cls.vault.log.read_text()
        for file in (cls.house.folder / "vaultd" / "audit").iterdir():
            said += file.read_text(errors="replace")
        assert "not-a-token" not in said, "a secret was said aloud"
        super().tearDownClass()


if __name__ == "__main__":
    house.main()
