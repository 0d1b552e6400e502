#!/usr/bin/env python3
"""Moving in, in place: a column of a PostgreSQL table, while the application goes on writing to it."""
import contextlib
import json
import pathlib
import random
import sys
import threading
import unittest

import house
import moving_in

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import postgresql  # noqa: E402

SLOW = 240  # bound of the waits for a hundred rows, each sealed in the token, on a busy machine


def sql_text(text):
    return "'" + text.replace("'", "''") + "'"


class MovingInPlace(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if postgresql.programs() is None:
            raise unittest.SkipTest("the package postgresql is not installed")
        cls.server = postgresql.Server()
        cls.addClassCleanup(cls.server.end)
        cls.house = cls.enterClassContext(house.House())
        cls.kms, cls.vault = cls.house.start_both()
        cls.tool = moving_in.Tool(cls.house, cls.vault)
        cls.uri = cls.tool.write("database.uri", f"postgresql:///postgres?host={cls.server.folder}&port={cls.server.port}&user=postgres\n")

    def call(self, *arguments):
        return moving_in.call(self.house, self.vault, *arguments)

    def fill(self, table, column_type, rows, key_type="bigint"):
        """A table of id, credentials and a note; `rows` are pairs of id and JSON, text or None."""
        self.server.sql(f"CREATE TABLE {table} (id {key_type} PRIMARY KEY, credentials {column_type}, note text DEFAULT 'n')")
        for begin in range(0, len(rows), 200):
            values = ", ".join(f"({sql_text(str(key))}, {'NULL' if value is None else sql_text(value)})" for key, value in rows[begin:begin + 200])
            self.server.sql(f"INSERT INTO {table} (id, credentials) VALUES {values}")

    def values(self, table):
        """{id: what the column has}"""
        rows = self.server.sql(f"SELECT json_agg(json_build_array(id::text, credentials::text)) FROM {table}")
        return dict(json.loads(rows))

    def opened(self, found, context):
        """{id: what it opens to}; `found` is {id: sealed text}."""
        out, keys = {}, list(found)
        for begin in range(0, len(keys), 100):
            part = keys[begin:begin + 100]
            answer = self.call("POST", "/v1/open", {"items": [
                {"value": json.loads(found[key]), "context": context.format(id=key)} for key in part]})
            self.assertEqual(answer.status, 200, answer)
            for key, one in zip(part, answer.json()["results"]):
                out[key] = one.get("value", one)
        return out

    def wait_until_it_comes_on(self, table, goal, process):
        """So many rows are sealed, or the import has ended."""
        count = f"SELECT count(*) FROM {table} WHERE credentials LIKE '{{\"__enc\":2%'"
        house.wait_until(lambda: process.poll() is not None or int(self.server.sql(count)) >= goal, "the import comes on", SLOW,
                         every=0.05)

    def how(self, table, *more):
        return ["postgres", "--database-file", self.uri, "--table", table, "--id", "id", "--column", "credentials",
                "--context", "accounts:{id}", *more]

    def envelopes(self, *more):
        return ["--format", "envelope", "--old-keys-file", self.tool.keys, *more]

    @house.both_forms
    def test_every_kind_of_column_is_sealed_where_it_is(self):
        for number, column_type in enumerate(("text", "character varying", "json", "jsonb") if house.IS_LONG else ("text", "jsonb")):
            table = f"public.kinds{number}"
            rows = [(i, json.dumps(moving_in.envelope(moving_in.secret_of(i)))) for i in range(60)]
            rows[5] = (5, None)
            rows[7] = (7, json.dumps({"token": "planted-plaintext"}))
            self.fill(table, column_type, rows)
            before = self.values(table)
            dry = self.tool.report("import", *self.how(table), *self.envelopes(), "--dry-run", expect=1)
            self.assertEqual((dry["records"], dry["imported"], dry["failed"]), (59, 58, 1))
            self.assertEqual(self.values(table), before)
            report = self.tool.report("import", *self.how(table), *self.envelopes(), expect=1)
            self.assertEqual((report["imported"], report["failed"]), (58, 1))
            self.assertEqual(report["failures"][0]["place"], "id 7")
            found = self.values(table)
            self.assertEqual((found.pop("5"), found.pop("7")), (None, before["7"]))
            self.assertEqual(self.opened(found, "accounts:{id}"), {key: moving_in.secret_of(int(key)) for key in found})
            again = self.tool.report("import", *self.how(table), *self.envelopes(), expect=1)
            self.assertEqual((again["imported"], again["already_there"], again["sealed_before"]), (0, 0, 58))
            verdict = self.tool.report("verify-migration", *self.how(table), expect=1)
            self.assertEqual((verdict["opened"], verdict["not_sealed"], verdict["without_secret"]), (58, 1, 1))
        source = self.tool.lines("odd-keys.jsonl", [{"id": key, "credentials": moving_in.envelope(moving_in.secret_of(key))} for key in (0, 1)]
                                 + [{"id": "no-number", "credentials": moving_in.envelope({})}])
        verdict = self.tool.report("verify-migration", *self.how("kinds0"), *self.envelopes("--source", source), expect=1)
        self.assertEqual((verdict["opened"], verdict["missing"]), (2, 1))
        self.assertNotIn("planted", self.tool.said)

    @house.both_forms
    def test_kill_9_in_between_loses_and_doubles_nothing(self):
        count = 420 if house.IS_LONG else 220
        rows = [(i, json.dumps(moving_in.envelope(moving_in.secret_of(i)))) for i in range(count)]
        self.fill("killed", "text", rows)
        state = self.tool.folder / "killed.state"
        run = ["import", *self.how("killed"), *self.envelopes("--state", state)]
        for goal in moving_in.KILLS_AT:
            def comes_on(process, goal=goal):
                self.wait_until_it_comes_on("killed", goal, process)
            self.tool.kill_in_between(*run, after=comes_on)
        report = self.tool.report(*run)
        self.assertTrue(report["complete"])
        self.assertEqual(report["failed"], 0)
        self.assertEqual(self.opened(self.values("killed"), "accounts:{id}"), {str(i): moving_in.secret_of(i) for i in range(count)})

    @house.both_forms
    def test_what_the_application_writes_meanwhile_is_never_overwritten(self):
        count = 240 if house.IS_LONG else 60
        self.fill("busy", "text", [(i, json.dumps(moving_in.envelope({"n": 0, "id": i}))) for i in range(count)])
        newest = {i: 0 for i in range(count)}
        failures, stop = [], threading.Event()

        def write_on(number):
            """As the application of before does: it knows its envelopes only, and what it wrote last."""
            chance = random.Random(number)
            turn = 0
            while not stop.is_set():
                turn += 1
                changes = {i: turn * 10 + number for i in chance.sample(range(number, count, 2), count // 6)}
                statements = [f"UPDATE busy SET credentials = {sql_text(json.dumps(moving_in.envelope({'n': n, 'id': i})))} WHERE id = {i}"
                              for i, n in changes.items()]
                try:
                    self.server.sql(*statements)
                except RuntimeError as error:
                    failures.append(error)
                    return
                newest.update(changes)

        writers = [threading.Thread(target=write_on, args=(number,)) for number in range(2)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(3 if house.IS_LONG else 2):
                code, out, error = self.tool.run("import", *self.how("busy"), *self.envelopes("--json"))
                self.assertIn(code, (0, 1), error)
                for failure in json.loads(out)["failures"]:
                    self.assertIn("changed again and again", failure["reason"])
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        self.assertEqual(failures, [])
        report = self.tool.report("import", *self.how("busy"), *self.envelopes())
        self.assertEqual(report["imported"] + report["sealed_before"], count)
        self.assertEqual(self.opened(self.values("busy"), "accounts:{id}"),
                         {str(i): {"n": n, "id": i} for i, n in newest.items()})

    def test_verification_compares_with_an_export_of_before(self):
        keys = [f"k{i:03}" for i in range(110)]
        self.fill("compared", "jsonb", [(key, json.dumps(moving_in.envelope({"of": key}))) for key in keys], "text")
        export = self.tool.lines("compared.jsonl", [{"_id": key, "old": moving_in.envelope({"of": key})} for key in keys])
        self.tool.report("import", *self.how("compared"), *self.envelopes())
        judge = ["verify-migration", *self.how("compared"), *self.envelopes("--source", export, "--source-id", "{_id}", "--source-column", "old")]
        verdict = self.tool.report(*judge)
        self.assertEqual((verdict["good"], verdict["present"], verdict["opened"], verdict["surplus"]), (True, 110, 110, 0))
        verdict = self.tool.report(*judge, "--sample", "20")
        self.assertEqual((verdict["present"], verdict["opened"]), (110, 20))
        self.server.sql("UPDATE compared SET credentials = (SELECT credentials FROM compared WHERE id = 'k001') WHERE id = 'k002'",
                        "DELETE FROM compared WHERE id = 'k003'", "INSERT INTO compared VALUES ('new', '{}')")
        other = json.dumps(self.call("POST", "/v1/seal", {"value": {"of": "x"}, "context": "accounts:k004"}).json()["value"])
        self.server.sql(f"UPDATE compared SET credentials = {sql_text(other)} WHERE id = 'k004'")
        verdict = self.tool.report(*judge, expect=1)
        self.assertEqual((verdict["missing"], verdict["different"], verdict["opened"], verdict["surplus"]), (1, 2, 107, 1))

    def test_tables_and_connections_that_can_t_be_used_are_refused(self):
        self.server.sql("CREATE TABLE odd (id int PRIMARY KEY, loose int, short varchar(99), bytes bytea, good text)",
                        "CREATE UNIQUE INDEX ON odd (loose)")
        for table, key, column, part in (("missing", "id", "good", "no table"), ("odd", "x", "good", "no column x"),
                                         ("odd", "id", "x", "no column x"), ("odd", "loose", "good", "not unique"),
                                         ("odd", "id", "short", "character varying(99)"), ("odd", "id", "bytes", "bytea"),
                                         ("odd; DROP TABLE odd", "id", "good", "no table")):
            code, _, error = self.tool.run("import", "postgres", "--database-file", self.uri, "--table", table, "--id", key,
                                           "--column", column, "--context", "c")
            self.assertEqual(code, 1, error)
            self.assertIn(part, error)
        for more in (["--context", "odd:{nowhere}"], ["--context", "c", "--bound", "{nowhere}"]):
            code, _, error = self.tool.run("import", "postgres", "--database-file", self.uri, "--table", "odd", "--id", "id",
                                           "--column", "good", *more)
            self.assertEqual(code, 1, error)
            self.assertIn("no column nowhere", error)
        for text, part, code in (("host=/nowhere", "can't be reached", 3), ("not a connection", "no text", 2), ("", "is empty", 2)):
            found, _, error = self.tool.run("import", "postgres", "--database-file", self.tool.write("wrong", text), "--table", "odd",
                                            "--id", "id", "--column", "good", "--context", "c")
            self.assertEqual(found, code, error)
            self.assertIn(part, error)
        self.tool.environment["PGPASSWORD"] = "planted-password"
        try:
            code, _, error = self.tool.run("import", *self.how("odd"), *self.envelopes())
        finally:
            del self.tool.environment["PGPASSWORD"]
        self.assertEqual(code, 2)
        self.assertIn("PGPASSWORD", error)
        self.assertNotIn("planted-password", error)

    def test_a_service_and_a_password_file_lead_to_the_database(self):
        self.fill("served", "text", [(1, json.dumps(moving_in.envelope({"n": 1})))])
        self.server.sql("GRANT SELECT, UPDATE ON served TO strongroom")
        self.tool.write(".pg_service.conf", f"[app]\nhost=127.0.0.1\nport={self.server.port}\ndbname=postgres\nuser=strongroom\nsslmode=require\n")
        escaped = postgresql.PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
        self.tool.write(".pgpass", f"*:*:*:strongroom:{escaped}\n")
        run = ["import", "postgres", "--service", "app", "--table", "served", "--id", "id", "--column", "credentials", "--context", "c"]
        environment = dict(self.tool.environment)
        self.tool.environment.update(PGSERVICEFILE=str(self.tool.folder / ".pg_service.conf"), PGPASSFILE=str(self.tool.folder / ".pgpass"))
        try:
            report = self.tool.report(*run, *self.envelopes())
        finally:
            self.tool.environment = environment
        self.assertEqual(report["imported"], 1)

    def test_rows_that_the_table_refuses_fail_alone(self):
        self.fill("strict", "text", [(i, json.dumps(moving_in.envelope({"n": i}))) for i in range(110)])
        self.server.sql("ALTER TABLE strict ADD CHECK (id <> 60 OR credentials NOT LIKE '{\"__enc\":2%')")
        report = self.tool.report("import", *self.how("strict"), *self.envelopes(), expect=1)
        self.assertEqual((report["imported"], report["failed"]), (109, 1))
        self.assertEqual((report["failures"][0]["place"], report["failures"][0]["reason"]), ("id 60", "the table refuses the sealed value"))

    def test_what_the_old_ciphertexts_were_bound_to_is_fetched(self):
        self.fill("bound", "text", [(i, json.dumps(moving_in.envelope({"n": i}, bound=f"note-{i}:{i}"))) for i in range(3)])
        self.server.sql("UPDATE bound SET note = 'note-' || id")
        report = self.tool.report("import", *self.how("bound"), *self.envelopes("--bound", "{note}:{id}"))
        self.assertEqual(report["imported"], 3)
        self.assertEqual(self.opened(self.values("bound"), "accounts:{id}"), {str(i): {"n": i} for i in range(3)})

    def test_what_was_kept_in_clear_beside_the_ciphertexts_goes_into_the_values(self):
        self.server.sql("CREATE TABLE clients (id int PRIMARY KEY, credentials text, page bigint, active boolean, rate numeric, "
                        "accounts jsonb, scope text, ends timestamptz, born timestamp)")
        sealed = [json.dumps(moving_in.envelope(secret)) for secret in (f"not-a-token-{i}" for i in range(3))]
        self.server.sql(
            f"INSERT INTO clients VALUES (0, {sql_text(sealed[0])}, 9007199254740993, true, 1.50, '[1, {{\"a\": null}}]', '7', "
            "'2030-01-31 14:00:00+02', '2020-01-01 00:00:00')",
            f"INSERT INTO clients VALUES (1, {sql_text(sealed[1])}, NULL, NULL, 'NaN', 'null', '', NULL, NULL)",
            f"INSERT INTO clients VALUES (2, {sql_text(sealed[2])}, 3, false, 0, '1', 's', 'infinity', NULL)",
            "INSERT INTO clients VALUES (3, NULL, 4, true, 0, '1', 's', 'infinity', NULL)")
        plain = ["--plain-column", "page=facebook_page_id", "--plain-column", "active", "--plain-column", "rate", "--plain-column", "accounts",
                 "--plain-column", "scope", "--plain-column", "id=n", "--plain-time", "ends=token_expires_at", "--plain-time", "born", "--utc"]
        export = self.tool.write("clients.jsonl", self.server.sql(
            "SELECT row_to_json(c) FROM (SELECT id AS _id, credentials AS old, * FROM clients WHERE id <> 2 ORDER BY id) AS c") + "\n")
        dry = self.tool.report("import", *self.how("clients"), *self.envelopes(*plain, "--dry-run"), expect=1)
        self.assertEqual((dry["imported"], dry["failed"]), (2, 1))
        report = self.tool.report("import", *self.how("clients"), *self.envelopes(*plain, "--wrap", "access_token"), expect=1)
        self.assertEqual((report["imported"], report["failed"]), (2, 1))
        self.assertEqual([failure["place"] for failure in report["failures"]], ["id 2"])
        self.assertIn("a plain time is no time", report["failures"][0]["reason"])
        found = self.values("clients")
        self.assertEqual((found.pop("2"), found.pop("3")), (sealed[2], None))
        self.assertEqual(self.opened(found, "accounts:{id}"), {
            "0": {"access_token": "not-a-token-0", "facebook_page_id": 9007199254740993, "active": True, "rate": 1.50,
                  "accounts": [1, {"a": None}], "scope": "7", "n": 0, "token_expires_at": "2030-01-31T12:00:00.000Z",
                  "born": "2020-01-01T00:00:00.000Z"},
            "1": {"access_token": "not-a-token-1", "rate": "NaN", "n": 1}})
        # They stay where they are, for those who read them.
        self.assertEqual(self.server.sql("SELECT page FROM clients WHERE id = 0").strip(), "9007199254740993")
        again = self.tool.report("import", *self.how("clients"), *self.envelopes(*plain, "--wrap", "access_token"), expect=1)
        self.assertEqual((again["imported"], again["sealed_before"], again["failed"]), (0, 2, 1))
        self.server.sql("DELETE FROM clients WHERE id = 2")
        judge = ["verify-migration", *self.how("clients"), *self.envelopes("--source", export, "--source-id", "{_id}", "--source-column", "old")]
        verdict = self.tool.report(*judge, *plain, "--wrap", "access_token")
        self.assertEqual((verdict["good"], verdict["present"], verdict["opened"]), (True, 2, 2))
        verdict = self.tool.report(*judge, *plain[2:], "--wrap", "access_token", expect=1)
        self.assertEqual((verdict["opened"], verdict["different"]), (1, 1))

    def test_a_secret_beside_plain_columns_has_its_columns_name(self):
        self.fill("named", "text", [(1, json.dumps(moving_in.envelope("not-a-token")))])
        export = self.tool.lines("named.jsonl", [{"id": 1, "old": moving_in.envelope("not-a-token"), "note": "n"}])
        self.tool.report("import", *self.how("named"), *self.envelopes("--plain-column", "note"))
        self.assertEqual(self.opened(self.values("named"), "accounts:{id}"), {"1": {"credentials": "not-a-token", "note": "n"}})
        verdict = self.tool.report("verify-migration", *self.how("named"), *self.envelopes("--plain-column", "note", "--source", export,
                                                                                           "--source-column", "old"))
        self.assertEqual(verdict["opened"], 1)

    def test_plain_columns_that_do_not_fit_are_refused_or_fail_alone(self):
        self.fill("unfit", "text", [(1, json.dumps(moving_in.envelope({"note": "inside"}))), (2, json.dumps(moving_in.envelope({"k": 1})))])
        before = self.values("unfit")
        for plain, code, part in ((["--plain-column", "nowhere"], 1, "the table has no column nowhere"),
                                  (["--plain-time", "nowhere=note", "--allow-missing"], 1, "the table has no column nowhere"),
                                  (["--plain-column", "note=x", "--plain-column", "id=x"], 2, "two members of the secret would be called x"),
                                  (["--plain-column", "note=credentials"], 2, "two members of the secret would be called credentials"),
                                  (["--plain-column", "note", "--plain-time", "note=n"], 2, "the plain column note is named twice"),
                                  (["--plain-column", "note="], 2, "COLUMN or COLUMN=FIELD")):
            found, _, error = self.tool.run("import", *self.how("unfit"), *self.envelopes(*plain))
            self.assertEqual(found, code, error)
            self.assertIn(part, error)
        report = self.tool.report("import", *self.how("unfit"), *self.envelopes("--plain-time", "note"), expect=1)
        self.assertEqual((report["imported"], report["failed"]), (0, 2))
        self.assertEqual(self.values("unfit"), before)
        report = self.tool.report("import", *self.how("unfit"), *self.envelopes("--plain-column", "note"), expect=1)
        self.assertEqual((report["imported"], report["failures"]), (1, [
            {"place": "id 1", "reason": "the secret has a member of a plain column's name already"}]))
        after = self.values("unfit")
        self.assertEqual(after.pop("1"), before["1"])
        self.assertEqual(self.opened(after, "accounts:{id}"), {"2": {"k": 1, "note": "n"}})

    def test_an_import_with_plain_columns_goes_on_with_the_same_ones_only(self):
        self.fill("resumed", "text", [(i, json.dumps(moving_in.envelope(moving_in.secret_of(i)))) for i in range(220)])
        state = self.tool.folder / "resumed.state"
        run = ["import", *self.how("resumed"), *self.envelopes("--state", state)]
        self.tool.kill_in_between(*run, "--plain-column", "note", after=lambda process: self.wait_until_it_comes_on("resumed", 100, process))
        for other in ([], ["--plain-column", "note=n"], ["--plain-column", "note", "--utc"]):
            code, _, error = self.tool.run(*run, *other)
            self.assertEqual(code, 2, error)
            self.assertIn("with other options", error)
        report = self.tool.report(*run, "--plain-column", "note")
        self.assertEqual((report["complete"], report["failed"]), (True, 0))
        self.assertEqual(self.opened(self.values("resumed"), "accounts:{id}"),
                         {str(i): {**moving_in.secret_of(i), "note": "n"} for i in range(220)})

    def test_a_row_that_is_no_json_for_the_vault_fails_alone(self):
        rows = [(0, '{"n": 0}'), (1, '{"twice": 1, "twice": 2}'), (2, json.dumps(moving_in.nested(17))), (3, '{"n": 3}')]
        self.fill("peculiar", "json", rows)
        report = self.tool.report("import", *self.how("peculiar"), expect=1)
        self.assertEqual((report["imported"], [failure["place"] for failure in report["failures"]]), (2, ["id 1", "id 2"]))
        verdict = self.tool.report("verify-migration", *self.how("peculiar"), expect=1)
        self.assertEqual((verdict["opened"], verdict["not_sealed"]), (2, 2))
        self.assertEqual([found["place"] for found in verdict["findings"]], ["id 1", "id 2"])

    def test_a_table_that_takes_long_to_count_is_imported_all_the_same(self):
        self.fill("endless", "text", [(i, "no envelope") for i in range(110)])
        # Whoever looks at the last rows waits for longer than a statement may take.
        self.server.sql("GRANT SELECT, UPDATE ON endless TO strongroom", "ALTER TABLE endless ENABLE ROW LEVEL SECURITY",
                        "CREATE POLICY slow ON endless USING (CASE WHEN id < 100 THEN true ELSE pg_sleep(40) IS NULL END)")
        by_the_index = " ".join(f"-c enable_{way}=off" for way in ("seqscan", "sort", "bitmapscan"))
        password = postgresql.PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        where = self.tool.write("slow.conninfo", f"host=127.0.0.1 port={self.server.port} dbname=postgres user=strongroom "
                                f"password='{password}' sslmode=require options='{by_the_index}'")
        report = self.tool.report("import", "postgres", "--database-file", where, "--table", "endless", "--id", "id", "--column", "credentials",
                                  "--context", "c", *self.envelopes("--max-failures", "99"), expect=1)
        self.assertEqual((report["complete"], report["records"], report["failed"]), (False, 100, 100))

    def test_the_database_server_may_restart_meanwhile(self):
        self.fill("restarted", "text", [(i, json.dumps(moving_in.envelope({"n": i}))) for i in range(220)])
        process = self.tool.popen("import", *self.how("restarted"), *self.envelopes("--json"))
        with contextlib.suppress(RuntimeError):
            self.wait_until_it_comes_on("restarted", 100, process)
        self.server.restart()
        out, error = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, error)
        report = json.loads(out)
        self.assertEqual(report["imported"] + report["sealed_before"], 220)
        self.assertEqual(len(self.opened(self.values("restarted"), "accounts:{id}")), 220)


if __name__ == "__main__":
    house.main()
