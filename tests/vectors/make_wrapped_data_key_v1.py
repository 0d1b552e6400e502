#!/usr/bin/env python3
"""Writes wrapped_data_key_v1.json. Shares no code with the project: see openssl_envelope.py; the layout is
written down here from the drawing in kms/envelope.h. Every input is fixed, so the output is the same each time."""
import base64
import json
import struct
import uuid

from openssl_envelope import canonical, fixed, gcm

CASES = [
    ("no context, 32 bytes", {}, 32, 1),
    ("one entry", {"owner": "acme"}, 32, 1),
    ("the vault's context", {"owner": "acme", "credential": "ads/meta", "version": "3"}, 32, 2),
    ("order is by bytes, not by letters", {"a": "1", "B": "2", "ä": "3", "Z": "4", "": "5"}, 32, 1),
    ("empty value and text beyond the first plane", {"empty": "", "key": "\U0001F511"}, 32, 7),
    ("shortest data key", {"size": "16"}, 16, 1),
    ("longest data key", {"size": "64"}, 64, 4294967295),
]

vectors = []
for number, (name, context, size, version) in enumerate(CASES):
    master = fixed(f"master {number}", 32)
    key_id = uuid.UUID(bytes=fixed(f"id {number}", 16), version=4)
    iv = fixed(f"iv {number}", 12)
    data_key = fixed(f"data key {number}", size)
    head = b"SRdk" + bytes([1, 1]) + key_id.bytes + struct.pack(">I", version)
    aad = head + canonical(context)
    wrapped = head + iv + gcm(master, iv, aad, data_key)
    vectors.append({
        "name": name, "master_key": master.hex(), "key_id": str(key_id), "key_version": version,
        "context": context, "canonical_context": canonical(context).hex(), "iv": iv.hex(),
        "data_key": data_key.hex(), "wrapped": base64.b64encode(wrapped).decode(),
    })

print(json.dumps({"format": "wrapped data key", "version": 1, "vectors": vectors}, indent=1))
