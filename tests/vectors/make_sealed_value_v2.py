#!/usr/bin/env python3
"""Writes sealed_value_v2.json. Shares no code with the project: see openssl_envelope.py; the layout is
written down here from the drawing in vault/sealed.h. Every input is fixed, so the output is the same each time."""
import base64
import hashlib
import hmac
import json
import struct
import uuid

from openssl_envelope import fixed, gcm

SALT = b"strongroom sealed credential 2"


def hkdf_sha512(key, info):
    """RFC 5869, one block: 32 bytes."""
    extracted = hmac.new(SALT, key, hashlib.sha512).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha512).digest()[:32]


def prefixed(text):
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded


def value_aad(owner, context):
    return b"SRsv\x02" + prefixed(owner) + prefixed(context)


def credential_aad(owner, name, version):
    return b"SRsc\x02" + prefixed(owner) + prefixed(name) + struct.pack(">Q", version)


def flip(data, at=0):
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def seal(number, aad, plaintext, change=lambda fields: fields):
    """The data key and the sealed JSON; `change` may damage the byte fields."""
    data_key = fixed(f"data key of value {number}", 32)
    key_id = uuid.UUID(bytes=fixed(f"master key of value {number}", 16), version=4)
    version = number % 5 + 1
    iv = fixed(f"iv of value {number}", 12)
    fields = {
        "dek": b"SRdk\x01\x01" + key_id.bytes + struct.pack(">I", version) + fixed(f"wrapped {number}", 12 + 32 + 16),
        "kc": hkdf_sha512(data_key, b"key commitment"),
        "iv": iv,
        "ct": gcm(hkdf_sha512(data_key, b"record key"), iv, aad, plaintext.encode()),
    }
    fields = change(fields)
    sealed = {"__enc": 2, "kid": f"{key_id}/{version}"}
    sealed.update({name: base64.b64encode(data).decode() for name, data in fields.items()})
    return data_key.hex(), sealed


APP = "spiffe://strongroom/app"
PLAIN = '{"access_token":"IGQVJ-not-a-token"}'
OPENS = [
    ("an object", APP, "accounts:42:credentials", PLAIN),
    ("an empty object", "acme", "c", "{}"),
    ("a text", "token:ci", "settings.smtp", '"not-a-password"'),
    ("null", "acme", "c", "null"),
    ("text beyond ASCII", "CN=Zo\u00eb,O=Acme", "c", '{"name":"\u00fc\U0001f511"}'),
    ("longest context of the API", "acme", "x" * 128, "[1.50,2]"),
    ("long owner", "o" * 1000, "c", "true"),
]
FAILS = [
    # What is asked for, and the AAD that it was sealed with.
    ("another owner", "acme", "c", value_aad("acmf", "c")),
    ("another context", "acme", "accounts:42", value_aad("acme", "accounts:43")),
    ("the border between owner and context moved", "acme", "c", value_aad("acm", "ec")),
    ("owner and context exchanged", "acme", "c", value_aad("c", "acme")),
    ("sealed as a credential", "acme", "c", credential_aad("acme", "c", 1)),
    ("sealed as version 1 of this format", "acme", "c", b"SRsv\x01" + value_aad("acme", "c")[5:]),
]
DAMAGED = [
    ("commitment flipped", lambda fields: {**fields, "kc": flip(fields["kc"], 31)}),
    ("iv flipped", lambda fields: {**fields, "iv": flip(fields["iv"])}),
    ("ciphertext flipped", lambda fields: {**fields, "ct": flip(fields["ct"])}),
    ("tag flipped", lambda fields: {**fields, "ct": flip(fields["ct"], -1)}),
    ("ciphertext cut", lambda fields: {**fields, "ct": fields["ct"][:-1]}),
    ("master key of dek differs from kid", lambda fields: {**fields, "dek": flip(fields["dek"], 25)}),
]

vectors = []


def add(name, expect, owner, context, plaintext, data_key, sealed):
    vectors.append({"name": name, "expect": expect, "owner": owner, "context": context, "data_key": data_key,
                    "plaintext": plaintext, "sealed": sealed})


for name, owner, context, plaintext in OPENS:
    add(name, "opens", owner, context, plaintext, *seal(len(vectors), value_aad(owner, context), plaintext))
for name, owner, context, aad in FAILS:
    add(name, "integrity_failure", owner, context, PLAIN, *seal(len(vectors), aad, PLAIN))
for name, change in DAMAGED:
    add(name, "integrity_failure", "acme", "c", PLAIN, *seal(len(vectors), value_aad("acme", "c"), PLAIN, change))

print(json.dumps({
    "format": "sealed value, version 2; drawn in vault/sealed.h",
    "source": "made by make_sealed_value_v2.py with OpenSSL and Python's hmac; checked by verify_sealed.mjs and by tests/vault/sealed_test.cpp",
    "fields": "data_key in hexadecimal; expect is \"opens\" or \"integrity_failure\"; plaintext is what a vector that opens gives",
    "vectors": vectors,
}, indent=1))
