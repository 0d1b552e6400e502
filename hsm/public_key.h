// What is known of a signing key outside of the token: its public half, and what its signatures
// look like there. Public data only; no PKCS#11 type, no token.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"
#include "hsm/token.h"

namespace hsm {

// SubjectPublicKeyInfo (RFC 5280 4.1.2.7), DER. `point` is uncompressed, 04 || x || y (SEC 1
// 2.3.3) for ECDSA, the 32 bytes of RFC 8032 for Ed25519 (RFC 8410). Both numbers are unsigned,
// big endian. Throws internal for a kind that is no such pair.
base::Bytes curve_public_key(KeyKind kind, base::ByteView point);
base::Bytes rsa_public_key(base::ByteView modulus, base::ByteView exponent);

// The kind of pair that `public_key` (SubjectPublicKeyInfo) belongs to; empty when it is no valid
// key of any of them: a point must be on its curve, an RSA modulus have 3072 or 4096 bits.
std::optional<KeyKind> kind_of_public_key(base::ByteView public_key);

// "-----BEGIN PUBLIC KEY-----" (RFC 7468 13), with a line feed at the end.
std::string to_pem(base::ByteView public_key);

// SHA-256 or SHA-384 of the message, as `kind` signs it. Throws internal for Ed25519, which takes
// the message itself, and for kinds that don't sign.
base::Bytes signing_digest(KeyKind kind, base::ByteView message);

// ECDSA: r || s, both of the same length, as PKCS#11 gives them, to DER (Ecdsa-Sig-Value, RFC 3279
// 2.2.3).
base::Bytes ecdsa_signature_to_der(base::ByteView raw);

// Whether `signature`, in the form of Token::sign(), is one of `message` under `public_key`. False
// for anything malformed, also for a public key of another kind. Thread-safe.
bool verify_signature(KeyKind kind, base::ByteView public_key, base::ByteView message,
                      base::ByteView signature);

}  // namespace hsm
