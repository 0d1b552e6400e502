#!/usr/bin/env python3
"""Writes wrapped_data_key_v1.json. Shares no code with the project: AES-256-GCM is OpenSSL's
libcrypto through ctypes, and the layout is written down here a second time, from the drawing in
kms/envelope.h. Every input is fixed, so the output is the same each time."""
import base64
import ctypes
import ctypes.util
import hashlib
import json
import struct
import uuid

crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
    getattr(crypto, name).restype = ctypes.c_void_p


def gcm(key, iv, aad, plaintext):
    """Ciphertext followed by the 16-byte tag."""
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    cipher = ctypes.c_void_p(crypto.EVP_aes_256_gcm())
    length = ctypes.c_int()
    out = ctypes.create_string_buffer(len(plaintext) + 16)
    tag = ctypes.create_string_buffer(16)
    assert crypto.EVP_EncryptInit_ex(context, cipher, None, key, iv) == 1
    assert crypto.EVP_EncryptUpdate(context, None, ctypes.byref(length), aad, len(aad)) == 1
    assert crypto.EVP_EncryptUpdate(context, out, ctypes.byref(length), plaintext, len(plaintext)) == 1
    ciphertext = out.raw[: length.value]
    assert crypto.EVP_EncryptFinal_ex(context, out, ctypes.byref(length)) == 1
    assert crypto.EVP_CIPHER_CTX_ctrl(context, 0x10, 16, tag) == 1  # EVP_CTRL_AEAD_GET_TAG
    crypto.EVP_CIPHER_CTX_free(context)
    return ciphertext + tag.raw


def canonical(context):
    out = struct.pack(">H", len(context))
    for key, value in sorted((k.encode(), v.encode()) for k, v in context.items()):
        out += struct.pack(">H", len(key)) + key + struct.pack(">H", len(value)) + value
    return out


def fixed(label, size):
    return hashlib.shake_256(label.encode()).digest(size)


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
