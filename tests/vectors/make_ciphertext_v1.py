#!/usr/bin/env python3
"""Writes ciphertext_v1.json. Shares no code with the project: see openssl_envelope.py; the layout is
written down here from the drawing in kms/envelope.h. Every input is fixed, so the output is the same each time."""
import base64
import json
import struct
import uuid

from openssl_envelope import canonical, fixed, gcm

CASES = [
    ("one byte, no context", {}, b"a", 1),
    ("a connection string", {"service": "billing"}, b"postgresql://billing@db.internal/ledger", 3),
    ("bytes that are no text", {"a": "1", "B": "2", "ä": "3", "": "5"}, bytes(range(256)), 1),
    ("as long as a data key", {}, fixed("a data key", 32), 2),
    ("longest", {"size": "4096"}, fixed("longest", 4096), 4294967295),
]

vectors = []
for number, (name, context, plaintext, version) in enumerate(CASES):
    master = fixed(f"text master {number}", 32)
    key_id = uuid.UUID(bytes=fixed(f"text id {number}", 16), version=4)
    iv = fixed(f"text iv {number}", 12)
    head = b"SRct" + bytes([1, 1]) + key_id.bytes + struct.pack(">I", version)
    aad = head + canonical(context)
    sealed = head + iv + gcm(master, iv, aad, plaintext)
    vectors.append({
        "name": name, "master_key": master.hex(), "key_id": str(key_id), "key_version": version,
        "context": context, "canonical_context": canonical(context).hex(), "iv": iv.hex(),
        "plaintext": plaintext.hex(), "ciphertext": base64.b64encode(sealed).decode(),
    })

print(json.dumps({"format": "ciphertext of a small text", "version": 1, "vectors": vectors}, indent=1))
