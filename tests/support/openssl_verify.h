// Judges signatures, public keys and MACs by OpenSSL, which has no part in making them.
#pragma once

#include <string>

#include "base/bytes.h"

namespace tests {

enum class OpensslScheme { ecdsa_sha256, ecdsa_sha384, ed25519, rsa_pss_sha256 };

// `public_key` is SubjectPublicKeyInfo, DER. False when OpenSSL takes the key or the signature for
// malformed.
bool openssl_verifies(OpensslScheme scheme, base::ByteView public_key, base::ByteView message,
                      base::ByteView signature);
// As "EC/prime256v1", "EC/secp384r1", "ED25519", "RSA/3072"; empty for no key.
std::string openssl_key_name(base::ByteView public_key);
base::Bytes openssl_hmac_sha256(base::ByteView key, base::ByteView message);

}  // namespace tests
