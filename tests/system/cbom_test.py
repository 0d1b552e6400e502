#!/usr/bin/env python3
"""`kmsctl inventory --format cyclonedx` of keys of every kind and state against CycloneDX's own schema
(ECMA-424), which its JavaScript library carries. Skips where npm is missing or does not reach a registry:
nothing of the schema is in this repository."""
import contextlib
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import unittest
import warnings

import jsonschema

import house

LIBRARY = "@cyclonedx/cyclonedx-library@10.3.0"
SCHEMA = "bom-1.6.SNAPSHOT.schema.json"
REFERENCED = ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
FETCH_SECONDS = 60
KINDS = ("aes_256", "hmac_sha_256", "ecdsa_p256", "ecdsa_p384", "ed25519", "rsa_pss_3072", *["rsa_pss_4096"] * house.IS_LONG)
EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": "spiffe://strongroom/operator", "roles": ["all"]}]}


def fetch_schemas():
    """The schema, and those it refers to by their $id."""
    if not shutil.which("npm"):
        raise unittest.SkipTest("npm is not installed, and the schema comes with an npm package")
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(["npm", "pack", "--silent", "--prefer-offline", LIBRARY], cwd=folder, check=False,
                                  capture_output=True, text=True, timeout=FETCH_SECONDS)
        except subprocess.TimeoutExpired:
            raise unittest.SkipTest(f"npm did not fetch {LIBRARY} within {FETCH_SECONDS} s") from None
        if done.returncode != 0:
            raise unittest.SkipTest(f"npm can't fetch {LIBRARY} here")
        package = next(pathlib.Path(folder).glob("*.tgz"))
        with tarfile.open(package) as archive:
            read = [json.load(archive.extractfile(f"package/res/schema/{name}")) for name in (SCHEMA, *REFERENCED)]
        return read[0], {schema["$id"]: schema for schema in read}


def validator():
    schema, by_id = fetch_schemas()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer releases have another way; both have this one
        resolver = jsonschema.RefResolver(schema["$id"], schema, store=by_id)
        return jsonschema.Draft7Validator(schema, resolver=resolver)


class Cbom(unittest.TestCase):
    def order(self, client, path, body=None):
        answer = client.call("POST", path, body or {})
        self.assertIn(answer.status, (200, 201), answer)
        return answer.json()

    def make_keys(self, client):
        """One of each kind with two versions, and an AES key in each state. How many halves and keys that makes."""
        made = 3
        for kind in KINDS:
            key = self.order(client, "/v1/keys", {"kind": kind, "alias": kind.replace("_", "-")})["id"]
            made += 1 if kind in ("aes_256", "hmac_sha_256") else 2
            if house.IS_LONG or not kind.startswith("rsa"):  # of which it takes the token seconds to find one
                self.order(client, f"/v1/keys/{key}/rotate")
                made += 1 if kind in ("aes_256", "hmac_sha_256") else 2
        for order in ("disable", "mark-compromised", "schedule-deletion"):
            key = self.order(client, "/v1/keys", {"description": order})["id"]
            self.order(client, f"/v1/keys/{key}/{order}")
        return made

    @house.both_forms
    def test_the_bill_of_materials_is_what_the_schema_says(self):
        schema = validator()
        with house.House() as strongroom:
            strongroom.write(strongroom.folder / "kmsd" / "policy.json", json.dumps(EVERYTHING))
            kms = strongroom.start("kmsd")
            with contextlib.closing(strongroom.client(kms, "operator")) as client:
                made = self.make_keys(client)
            pki = strongroom.pki
            done = subprocess.run(
                [strongroom.bin / "kmsctl", "--url", f"https://127.0.0.1:{kms.port}", "--ca", pki / "ca.crt",
                 "--certificate", pki / "operator.crt", "--key-file", pki / "operator.key",
                 "inventory", "--format", "cyclonedx"], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        bom = json.loads(done.stdout)
        faults = [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}" for fault in schema.iter_errors(bom)]
        self.assertEqual(faults, [])
        assets = [each["cryptoProperties"]["assetType"] for each in bom["components"]]
        self.assertEqual(assets.count("algorithm"), len(KINDS))
        self.assertEqual(assets.count("related-crypto-material"), made)
        # The schema is one that refuses.
        bom["components"][0]["cryptoProperties"]["assetType"] = "treasure"
        self.assertFalse(schema.is_valid(bom))


if __name__ == "__main__":
    house.main()
