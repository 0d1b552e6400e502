#!/usr/bin/env python3
"""Stores the example credentials in the vault, shows the stored row, reveals each and compares.
Called by deploy/quickstart; exit code 0 only when every credential came back as it was stored and
none of its secrets can be read in the database."""
import argparse
import http.client
import json
import pathlib
import re
import ssl
import sys
import urllib.parse

SHOWN_CHARACTERS = 60  # of each long value in the row that is shown


class Vault:
    """The vault as the caller "app"."""

    def __init__(self, url, pki):
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "app.crt", pki / "app.key")
        self._connection = http.client.HTTPSConnection(urllib.parse.urlsplit(url).netloc, context=context, timeout=10)

    def call(self, method, path, body=None):
        """The answer's status and its JSON."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def demand(self, method, path, body=None):
        status, answer = self.call(method, path, body)
        if status not in (200, 201):
            sys.exit(f"  the vault answered {status} to {method} {path}: {json.dumps(answer)}")
        return answer


def path_of(credential, tail=""):
    owner, name = (urllib.parse.quote(credential[field], safe="") for field in ("owner", "name"))
    return f"/v1/owners/{owner}/credentials/{name}{tail}"


def texts_of(value):
    """Every text of a secret that is long enough to be looked for."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) and len(value) >= 12 else []


def shortened(row):
    """The sealed record, each long value cut for the eye."""
    def cut(value):
        return value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}… ({len(value)} characters)"
    return {name: cut(value) if isinstance(value, str) else value for name, value in json.loads(row).items()}


def store(vault, credential):
    """Stores the credential, unless it is there already with this very secret. What was done, in words."""
    status, answer = vault.call("POST", path_of(credential, "/reveal"))
    if status == 200 and answer["secret"] == credential["secret"]:
        return f"was stored before (version {answer['version']})"
    body = {field: value for field, value in credential.items() if field not in ("owner", "name")}
    return f"stored as version {vault.demand('PUT', path_of(credential), body)['version']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("vault", "pki", "database", "credentials"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    vault = Vault(arguments.vault, pathlib.Path(arguments.pki))
    credentials = json.loads(pathlib.Path(arguments.credentials).read_text())["credentials"]
    good = True
    for credential in credentials:
        done = store(vault, credential)
        revealed = vault.demand("POST", path_of(credential, "/reveal"))
        same = revealed["secret"] == credential["secret"]
        good = good and same
        print(f"  {credential['owner']}/{credential['name']}: {done}, revealed: {'the same' if same else 'DIFFERENT'}")
    database = pathlib.Path(arguments.database).read_bytes()
    rows = re.findall(rb'\{"__enc":[23][^}]*\}', database)
    if not rows:
        sys.exit(f"  no sealed record in {arguments.database}")
    print("  One row as the database holds it:")
    for name, value in shortened(rows[-1]).items():
        print(f"    {name:10} {value}")
    readable = [text for credential in credentials for text in texts_of(credential["secret"]) if text.encode() in database]
    print(f"  Secrets that can be read in the database: {len(readable) or 'none'}")
    sys.exit(0 if good and not readable else 1)


if __name__ == "__main__":
    main()
