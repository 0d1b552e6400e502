#!/usr/bin/env python3
"""What the documents say is what the programs do: the configuration's schemas accept and refuse what
the daemons accept and refuse, and the requests of README.md run as they stand there."""
import copy
import functools
import json
import os
import re
import subprocess
import unittest

import jsonschema

import house

EXAMPLES = house.SOURCE / "deploy" / "examples"


def without_comments(text):
    """JSON with // comments, which stand behind a blank or at the start of a line."""
    return re.sub(r"(^|\s)//[^\n]*", r"\1", text)


def objects_in(value, path=()):
    """Every object of `value` with its path, the outermost first."""
    if isinstance(value, dict):
        yield path, value
        for name, member in value.items():
            yield from objects_in(member, (*path, name))


def at(value, path):
    for name in path:
        value = value[name]
    return value


def some(cases, every):
    """All of them in the long form, else one of so many."""
    return list(cases)[::1 if house.IS_LONG else every]


def fields_of(config):
    """(path of an object, name of a member, the member)"""
    return [(path, field, member) for path, value in objects_in(config) for field, member in value.items()]


class Schemas(unittest.TestCase):
    """Each change to a sound configuration is judged by the schema and by the daemon itself."""

    @classmethod
    def setUpClass(cls):
        cls.house = house.House()
        cls.house.__enter__()
        cls.house.configure("vaultd", kms_port=7443)

    @classmethod
    def tearDownClass(cls):
        cls.house.__exit__(None, None, None)

    def daemon_accepts(self, name, config):
        file = self.house.folder / name / "tried.json"
        self.house.write(file, json.dumps(config))
        done = subprocess.run([self.house.bin / name, "--config", file, "--check-config"], capture_output=True,
                              text=True, check=False, stdin=subprocess.DEVNULL, cwd="/", **self.house.as_daemon)
        return done.returncode == 0, done.stderr

    @staticmethod
    @functools.cache  # checking a schema takes longer than the daemon's start
    def schema_of(name):
        schema = json.loads((EXAMPLES / f"{name}.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        return jsonschema.Draft202012Validator(schema)

    def check_both(self, name, config, accepted, what):
        with self.subTest(daemon=name, what=what):
            self.assertEqual(self.schema_of(name).is_valid(config), accepted, "the schema")
            by_daemon, said = self.daemon_accepts(name, config)
            self.assertEqual(by_daemon, accepted, said)

    def base(self, name):
        config = json.loads((self.house.folder / name / f"{name}.json").read_text())
        example = json.loads(without_comments((EXAMPLES / f"{name}.json").read_text()))
        # All that the example has and that names no file of the machine it is for.
        for part in ("workers", "limits", "values", "compat", "log"):
            if part in example:
                config[part] = example[part]
        # The same in both; one is enough.
        if name == "vaultd":
            config["identity"] = self.identity(example["identity"])
            config["audit"].update({"context": {"default": "clear", "fields": {"user": "drop"}},
                                    "checkpoints": {**example["audit"]["checkpoints"], "refuse_after_seconds": 60,
                                                    "keep_days": 9, "compress_days": 3}})
            config["kms"]["witness"] = {"on_conflict": "report"}
            config["compat"]["broker"]["refresh"] = {
                "endpoints": [{"url": "https://login.example.com/token", "ca": str(self.house.pki / "ca.crt"),
                               "client_authentication": "body"}],
                "deadline_ms": 700, "max_concurrent": 2, "pause_seconds": 9}
        return config

    def identity(self, example):
        """The example's, with files that are there."""
        hash_file = self.house.folder / "vaultd" / "sync.hash"
        self.house.write(hash_file, "sha256:" + 64 * "0")
        key_file = self.house.folder / "vaultd" / "api-tokens.key"
        self.house.write(key_file, 43 * "k")
        example["api_tokens"]["key_file"] = str(key_file)
        example["shared_secrets"]["callers"][0]["hash_files"] = [str(hash_file)]
        example["introspection"]["ca"] = example["jwt"][0]["jwks"]["ca"] = str(self.house.pki / "ca.crt")
        return example

    def test_the_examples_fit_their_schemas(self):
        for name in ("kmsd", "vaultd"):
            config = json.loads(without_comments((EXAMPLES / f"{name}.json").read_text()))
            errors = [error.message for error in self.schema_of(name).iter_errors(config)]
            self.assertEqual(errors, [], name)

    def test_policies_and_budgets_fit_their_schemas(self):
        for path in (house.SOURCE / "policies").glob("*.json"):
            if path.name == "cases.json" or path.name.endswith(".schema.json"):
                continue
            name = "budgets" if path.name == "budgets.json" else "policy"
            schema = json.loads((path.parent / f"{name}.schema.json").read_text())
            jsonschema.Draft202012Validator.check_schema(schema)
            document = json.loads(without_comments(path.read_text()))
            errors = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
            self.assertEqual(errors, [], path.name)

    def test_a_sound_configuration_is_accepted_by_both(self):
        for name in ("kmsd", "vaultd"):
            self.check_both(name, self.base(name), True, "as it is")

    @house.both_forms
    def test_an_unknown_field_is_refused_by_both(self):
        for name in ("kmsd", "vaultd"):
            base = self.base(name)
            for path, _ in some(objects_in(base), 8):
                config = copy.deepcopy(base)
                at(config, path)["surprise"] = 1
                self.check_both(name, config, False, (*path, "surprise"))

    @house.both_forms
    def test_a_missing_part_is_judged_alike(self):
        for name in ("kmsd", "vaultd"):
            base = self.base(name)
            for path, field, _ in some(fields_of(base), 17):
                config = copy.deepcopy(base)
                del at(config, path)[field]
                if field == "api_tokens":  # its routes go with it, and what is said of them
                    at(config, path).pop("routes", None)
                self.check_both(name, config, self.schema_of(name).is_valid(config), ("without", *path, field))

    def test_places_to_listen_are_judged_alike(self):
        base = self.base("kmsd")
        tcp = {"address": "127.0.0.1", "port": 0}
        for part, value, accepted in (
            ("listen", {"address": "unix:kmsd.sock"}, True),
            ("listen", {"address": "unix:kmsd.sock", "mode": "0660", "also": [tcp]}, True),
            ("listen", {"address": "unix:kmsd.sock", "port": 1}, False),
            ("listen", {"address": "unix:kmsd.sock", "mode": "0755"}, False),
            ("listen", {"address": "127.0.0.1"}, False),
            ("listen", {**tcp, "mode": "0600"}, False),
            ("listen", {**tcp, "also": [{"address": "::1"}]}, False),
            ("metrics", tcp, True),
            ("metrics", {**tcp, "also": []}, False),
            ("tls", {**base["tls"], "client_crl": []}, True),
            ("tls", {**base["tls"], "client_crl": "ca.crl"}, False),
        ):
            self.check_both("kmsd", {**base, part: value}, accepted, (part, value))

    def test_several_tokens_are_judged_alike(self):
        base = self.base("kmsd")
        one = base.pop("token")
        first, second = {"name": "a", **one}, {"name": "b-2", **one}
        for tokens, accepted in (
            ([first, second], True),
            ([first], True),
            ([], False),
            ([one], False),
            ([{**first, "name": "A"}], False),
            ([{**first, "name": ""}], False),
            ([{**first, "process": "worker"}], False),
            ([{**first, "surprise": 1}], False),
            ([first, {"name": "b"}], False),
            ([{**first, "deadline_ms": 99}], False),
            ([{**first, "name": f"t{number}"} for number in range(9)], False),
            ({"a": one}, False),
        ):
            self.check_both("kmsd", {**base, "tokens": tokens}, accepted, tokens)
        self.check_both("kmsd", {**base, "token": one, "tokens": [first]}, False, "both")
        self.check_both("kmsd", base, False, "neither")
        refused, said = self.daemon_accepts("kmsd", {**base, "tokens": [first, first]})
        self.assertFalse(refused)
        self.assertIn('"tokens[1].name" stands twice', said)

    def test_what_is_said_of_values_is_judged_alike(self):
        for values, accepted in (
            ({}, True),
            ({"owners": {"spiffe://strongroom/a": "shop", "token:ci": "shop"}}, True),
            ({"owners": {"spiffe://strongroom/a": "a/b"}}, False),
            ({"owners": {"spiffe://strongroom/a": ".."}}, False),
            ({"owners": {"": "shop"}}, False),
            ({"passthrough": {}}, True),
            ({"passthrough": {"until": "2030-01-31T12:00:00Z"}}, True),
            ({"passthrough": {"until": "2030-01-31"}}, False),
            ({"passthrough": {"after": "2030-01-31T12:00:00Z"}}, False),
            ({"passthrough": True}, False),
        ):
            self.check_both("vaultd", {**self.base("vaultd"), "values": values}, accepted, values)

    def test_the_write_through_is_judged_alike(self):
        self.house.write(self.house.folder / "vaultd" / "directus.token", "a-static-token\n")
        os.chmod(self.house.folder / "vaultd" / "directus.token", 0o600)
        least = {"url": "https://127.0.0.1:8055", "collection": "c", "token": {"file": "directus.token"}}
        for directus, accepted in (
            (least, True),
            ({**least, "deadline_ms": 50, "max_concurrent": 1, "read_back": True}, True),
            ({**least, "url": "http://127.0.0.1"}, False),
            ({**least, "collection": "a/b"}, False),
            ({**least, "collection": "c" * 65}, False),
            ({**least, "token": {"prompt": True}}, False),
            ({**least, "token": "directus.token"}, False),
            ({**least, "deadline_ms": 49}, False),
            ({**least, "deadline_ms": 10_001}, False),
            ({**least, "max_concurrent": 0}, False),
            ({**least, "read_back": 1}, False),
            *(({other: value for other, value in least.items() if other != name}, False) for name in least),
            ({**least, "more": 1}, False),
        ):
            self.check_both("vaultd", {**self.base("vaultd"), "compat": {"shared_secret": {"directus": directus}}}, accepted, directus)

    def test_the_cache_of_data_keys_is_judged_alike(self):
        whole = {"max_age_seconds": 300, "max_entries": 4096, "max_uses": 1000000}
        for cache, accepted in (
            (whole, True),
            ({**whole, "max_age_seconds": 301}, False),
            ({**whole, "max_entries": 4097}, False),
            ({**whole, "max_uses": 1000001}, False),
            *(({**whole, name: 0}, False) for name in whole),
            *(({other: value for other, value in whole.items() if other != name}, False) for name in whole),
            ({**whole, "more": 1}, False),
            ({}, False),
            (True, False),
        ):
            self.check_both("vaultd", {**self.base("vaultd"), "data_key_cache": cache}, accepted, cache)

    @house.both_forms
    def test_a_field_of_another_type_is_refused_by_both(self):
        for name in ("kmsd", "vaultd"):
            base = self.base(name)
            for path, field, member in some(fields_of(base), 16):
                config = copy.deepcopy(base)
                at(config, path)[field] = [] if not isinstance(member, list) else "text"
                self.check_both(name, config, False, (*path, field))

    @house.both_forms
    def test_the_store_for_several_nodes_is_judged_alike(self):
        self.house.write(self.house.folder / "kmsd" / "database.password", "secret\n")
        store = {"host": "127.0.0.1", "port": 5432, "database": "d", "user": "u", "schema": "s_1", "connections": 8,
                 "deadline_ms": 3000, "password": {"file": "../kmsd/database.password"},
                 "tls": {"ca": "ca.crt", "certificate": "c.crt", "key": "c.key"}}
        for name in ("kmsd", "vaultd"):
            base = self.base(name)

            def check(accepted, what, change, store_itself=False):
                config = {**base, "store": {"postgresql": copy.deepcopy(store)}}
                change(config["store"] if store_itself else config["store"]["postgresql"])
                if accepted is None:
                    accepted = self.schema_of(name).is_valid(config)
                self.check_both(name, config, accepted, what)

            check(True, "as it is", lambda changed: None)
            check(False, "both stores", lambda changed: changed.update(sqlite="x.db"), store_itself=True)
            check(False, "no store", lambda changed: changed.clear(), store_itself=True)
            check(False, "unknown", lambda changed: changed.update(surprise=1))
            for field in some(store, 3):
                check(None, ("without", field), lambda changed, gone=field: changed.pop(gone))
                check(False, ("mistyped", field), lambda changed, other=field: changed.update({other: []}))
            for field, value in some((("schema", "S"), ("connections", 1), ("user", "a b"), ("deadline_ms", 499), ("schema", "pg_s"),
                                      ("tls", {"ca": "c", "key": "k"}), ("host", ""), ("schema", "1s"), ("tls", {})), 3):
                check(False, (field, value), lambda changed, name=field, to=value: changed.update({name: to}))


class Readme(unittest.TestCase):
    def test_its_requests_run_as_they_stand(self):
        text = (house.SOURCE / "README.md").read_text()
        block = next(block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "as()" in block)
        with house.House() as strongroom:
            kms, vault = strongroom.start_both()
            for given, there in (("var/pki", str(strongroom.pki)), (":7443", f":{kms.port}"),
                                 (":7444", f":{vault.port}"), ("curl -sS", "curl -sS --fail-with-body")):
                self.assertIn(given, block)
                block = block.replace(given, there)
            done = subprocess.run(["bash", "-e", "-c", "set -o pipefail\n" + block.replace("; echo; }", " && echo; }")],
                                  capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        requests = [line for line in block.splitlines() if line.startswith("as ")]
        self.assertEqual(len(answers), len(requests))
        self.assertTrue(any(answer.get("secret") == {"user": "me", "password": "correct horse"} for answer in answers))


if __name__ == "__main__":
    house.main()
