#!/usr/bin/env python3
"""Writes legacy_secrets_openssl.json: the old formats of legacy_secrets.json, made by OpenSSL: CBC by the
command, GCM by its library. Every input is fixed, so the output is the same each time."""
import base64
import json
import subprocess

from openssl_envelope import fixed, gcm

PLAIN = '{"access_token":"not-a-token","n":1.50}'
key, iv = fixed("legacy key", 32), fixed("legacy iv", 12)
block_iv = fixed("legacy block iv", 16)


def cbc(plaintext):
    return subprocess.run(["openssl", "enc", "-aes-256-cbc", "-K", key.hex(), "-iv", block_iv.hex()], input=plaintext.encode(),
                          stdout=subprocess.PIPE, check=True).stdout


def vector(name, **fields):
    return {"name": name, "bound": "", "plaintext": PLAIN, "expect": "opens", **fields}


sealed = gcm(key, iv, b"", PLAIN.encode())
bound = gcm(key, iv, b"row 7", PLAIN.encode())
ring = json.dumps({"2024": base64.b64encode(key).decode()})
one = {"keys": key.hex() + "\n", "key_encoding": "hex"}


def envelope(text):
    return {"__enc": 1, "kid": "2024", "iv": base64.b64encode(iv).decode(), "ct": base64.b64encode(text).decode()}


vectors = [
    vector("envelope by OpenSSL", format="envelope", keys=ring, key_encoding="base64", held=envelope(sealed)),
    vector("envelope by OpenSSL, bound", format="envelope", keys=ring, key_encoding="base64", bound="row 7", held=envelope(bound)),
    vector("gcm by OpenSSL", format="gcm", layout="iv:data+tag", encoding="hex", iv_bytes=12, held=f"{iv.hex()}:{sealed.hex()}", **one),
    vector("cbc by OpenSSL", format="cbc", layout="iv:data", encoding="hex", iv_bytes=16, held=f"{block_iv.hex()}:{cbc(PLAIN).hex()}", **one),
    vector("cbc by OpenSSL, one block of padding", format="cbc", layout="iv:data", encoding="hex", iv_bytes=16,
           held=f"{block_iv.hex()}:{cbc(PLAIN[:32]).hex()}", **one | {"plaintext": PLAIN[:32]}),
]

print(json.dumps({
    "format": "secrets as applications encrypted them by themselves; drawn in vault/import/old_format.h",
    "source": "made by make_legacy_secrets_openssl.py with OpenSSL; checked by tests/vault/import_test.cpp",
    "fields": "as in legacy_secrets.json",
    "vectors": vectors,
}, indent=1))
