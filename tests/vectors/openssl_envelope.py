"""AES-256-GCM by OpenSSL's libcrypto through ctypes, and the canonical encryption context written down
a second time, from the drawing in kms/envelope.h: what the makers of envelope vectors share. Nothing
of the project's code is used."""
import ctypes
import ctypes.util
import hashlib
import struct

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
