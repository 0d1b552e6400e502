#!/usr/bin/env python3
"""Writes sealed_credential_v3.json. Shares no code with the project: see openssl_envelope.py; the layout is
written down here from the drawing in vault/sealed.h. Every input is fixed, so the output is the same each time."""
import base64
import copy
import hashlib
import hmac
import json
import struct
import uuid

from openssl_envelope import fixed, gcm

SALT = b"strongroom sealed credential 2"
NOON = 1_800_000_000_000


def hkdf_sha512(key, info):
    """RFC 5869, one block: 32 bytes."""
    extracted = hmac.new(SALT, key, hashlib.sha512).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha512).digest()[:32]


def prefixed(text, length=">H"):
    encoded = text.encode()
    return struct.pack(length, len(encoded)) + encoded


def digest(whole, sort=sorted):
    drawn = b"SRsa\x03" + struct.pack(">qqQ", whole["created_at"], whole["updated_at"], whole["first_version"])
    drawn += prefixed(whole["metadata"], ">I")
    drawn += struct.pack(">H", len(whole["tags"]))
    for name, value in sort(whole["tags"].items()):
        drawn += prefixed(name) + prefixed(value)
    return hashlib.sha256(drawn).digest()


def aad_of_format_2(place):
    return b"SRsc\x02" + prefixed(place["owner"]) + prefixed(place["credential"]) + struct.pack(">Q", place["version"])


def aad_of(place, attributes):
    expires_at = place.get("expires_at")
    return (b"SRsc\x03" + aad_of_format_2(place)[5:] + struct.pack(">q", place["created_at"])
            + struct.pack(">Bq", expires_at is not None, expires_at or 0)
            + struct.pack(">Q", place.get("restored_from", 0)) + attributes)


vectors = []


def add(name, expect, place, sealed_for=None, aad=None, attributes=None, change=lambda fields: fields, mark=3, plaintext=None):
    """A vector that asks for `place` what was sealed for `sealed_for`; the other arguments damage it."""
    number = len(vectors)
    sealed_for = sealed_for or place
    plaintext = plaintext or '{"access_token":"IGQVJ-not-a-token"}'
    attributes = attributes or digest(sealed_for["whole"])
    data_key = fixed(f"data key of credential {number}", 32)
    key_id = uuid.UUID(bytes=fixed(f"master key of credential {number}", 16), version=4)
    version = number % 5 + 1
    iv = fixed(f"iv of credential {number}", 12)
    aad = aad or aad_of(sealed_for, attributes)
    fields = {
        "dek": b"SRdk\x01\x01" + key_id.bytes + struct.pack(">I", version) + fixed(f"wrapped {number}", 12 + 32 + 16),
        "kc": hkdf_sha512(data_key, b"key commitment"),
        "iv": iv,
        "attributes": attributes,
        "ct": gcm(hkdf_sha512(data_key, b"record key"), iv, aad, plaintext.encode()),
    }
    sealed = {"__enc": mark, "kid": f"{key_id}/{version}"}
    sealed.update({field: base64.b64encode(data).decode() for field, data in change(fields).items()})
    vectors.append({"name": name, "expect": expect, **place, "data_key": data_key.hex(), "plaintext": plaintext, "sealed": sealed})


def flip(data, at=0):
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def with_changed(place, *path, value):
    """`place` with another value, or without it when that is None."""
    changed = copy.deepcopy(place)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


PLAIN = {"owner": "acme", "credential": "instagram", "version": 1, "created_at": NOON,
         "whole": {"created_at": NOON, "updated_at": NOON, "first_version": 1, "metadata": "{}", "tags": {}}}
FULL = {"owner": "acme", "credential": "instagram", "version": 7, "created_at": NOON, "expires_at": NOON + 3_600_000,
        "restored_from": 3,
        "whole": {"created_at": NOON - 86_400_000, "updated_at": NOON, "first_version": 2, "metadata": '{"account":"17841"}',
                  "tags": {"env": "prod", "team": "payments"}}}

add("nothing but a secret", "opens", PLAIN)
add("everything", "opens", FULL)
add("an empty object", "opens", PLAIN, plaintext="{}")
add("text beyond ASCII", "opens", with_changed(FULL, "whole", "metadata", value='{"name":"\u00fc\U0001f511"}'),
    plaintext='{"name":"Zo\u00eb"}')
add("expires with the epoch", "opens", with_changed(PLAIN, "expires_at", value=0))
add("times before the epoch", "opens", {**PLAIN, "created_at": -1, "expires_at": -2})
add("largest version", "opens", {**PLAIN, "version": 2**53, "restored_from": 2**53 - 1})
add("first version not known", "opens", with_changed(FULL, "whole", "first_version", value=0))
add("longest names", "opens", {**FULL, "owner": "o" * 128, "credential": "n" * 128})
add("largest metadata", "opens", with_changed(FULL, "whole", "metadata", value='{"m":"' + "x" * 8184 + '"}'))
add("most tags, sorted by bytes", "opens",
    with_changed(FULL, "whole", "tags", value={name + "-" * 63: name + "+" * 127 for name in "zZaA10bByYxXcCdD"}))

for path, value in [
        (("owner",), "acmf"), (("credential",), "instagran"), (("version",), 8), (("created_at",), NOON + 1),
        (("expires_at",), NOON + 3_600_001), (("expires_at",), None), (("restored_from",), 2), (("restored_from",), None),
        (("whole", "created_at"), NOON), (("whole", "updated_at"), NOON + 1), (("whole", "first_version"), 1), (("whole", "metadata"), '{"account":"17842"}'),
        (("whole", "metadata"), "{}"), (("whole", "tags"), {}), (("whole", "tags", "team"), "search"),
        (("whole", "tags", "team"), None), (("whole", "tags", "more"), "tags"),
        (("whole", "tags"), {"env": "prodteam", "payments": "x"})]:
    add(f"another {'.'.join(path)} ({value})"[:100], "integrity_failure", with_changed(FULL, *path, value=value), sealed_for=FULL)
add("expires with the epoch, sealed without an end", "integrity_failure", {**PLAIN, "expires_at": 0}, sealed_for=PLAIN)
add("attributes of an edited credential", "integrity_failure", with_changed(FULL, "whole", "tags", value={}),
    aad=aad_of(FULL, digest(FULL["whole"])), attributes=digest({**FULL["whole"], "tags": {}}))
add("tags not sorted", "integrity_failure", FULL,
    attributes=digest(FULL["whole"], lambda tags: sorted(tags, reverse=True)))
add("sealed as format 2", "integrity_failure", FULL, aad=aad_of_format_2(FULL))
add("format 3 said to be 2", "integrity_failure", FULL, mark=2,
    change=lambda fields: {name: data for name, data in fields.items() if name != "attributes"})
add("format 3 said to be 2, attributes left", "integrity_failure", FULL, mark=2)
add("attributes missing", "integrity_failure", FULL,
    change=lambda fields: {name: data for name, data in fields.items() if name != "attributes"})
for name, change in [
        ("commitment flipped", lambda fields: {**fields, "kc": flip(fields["kc"], 31)}),
        ("iv flipped", lambda fields: {**fields, "iv": flip(fields["iv"])}),
        ("attributes flipped", lambda fields: {**fields, "attributes": flip(fields["attributes"])}),
        ("attributes cut", lambda fields: {**fields, "attributes": fields["attributes"][:-1]}),
        ("ciphertext flipped", lambda fields: {**fields, "ct": flip(fields["ct"])}),
        ("tag flipped", lambda fields: {**fields, "ct": flip(fields["ct"], -1)}),
        ("master key of dek differs from kid", lambda fields: {**fields, "dek": flip(fields["dek"], 25)})]:
    add(name, "integrity_failure", FULL, change=change)

print(json.dumps({
    "format": "sealed credential, version 3; drawn in vault/sealed.h",
    "source": "made by make_sealed_credential_v3.py with OpenSSL and Python's hmac and hashlib; checked by verify_sealed.mjs and by tests/vault/sealed_test.cpp",
    "fields": "data_key in hexadecimal; times in milliseconds since 1970; whole is what the database has of the credential as a whole; expect is \"opens\" or \"integrity_failure\"; plaintext is what a vector that opens gives",
    "vectors": vectors,
}, indent=1))
