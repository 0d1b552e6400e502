// What each kind of key is in PKCS#11: mechanisms, key type, sizes. The one table of it.
#pragma once

#include <optional>

#include "hsm/pkcs11_session.h"
#include "hsm/token.h"

namespace hsm {

struct KindTraits {
    KeyKind kind;
    CK_KEY_TYPE key_type;
    CK_MECHANISM_TYPE generation;  // of a key, or of a pair when is_pair(kind)
    CK_MECHANISM_TYPE use;         // encrypt and decrypt, sign, or make a MAC
    CK_FLAGS uses;                 // that the module must name for it
    CK_ULONG bits;                 // as mechanisms count the key's size
    std::size_t answer_bytes;      // of a signature as the token gives it, or of a MAC
    base::ByteView curve;          // CKA_EC_PARAMS, an OBJECT IDENTIFIER; else empty
};

const KindTraits& traits_of(KeyKind kind) noexcept;

// Whether the token has both mechanisms, with the uses and for the size that the kind needs. Throws
// Pkcs11Error.
bool is_supported(const Module& module, CK_SLOT_ID slot, KeyKind kind);

// A signature in the form of Token::sign(), or a MAC. Throws Pkcs11Error; internal when the token's
// answer has a wrong length.
base::Bytes sign(const Session& session, CK_OBJECT_HANDLE key, KeyKind kind,
                 base::ByteView message);

// The kind of the secret or private key behind `key`; empty when it is none of ours.
std::optional<KeyKind> read_kind(const Session& session, CK_OBJECT_HANDLE key);

// SubjectPublicKeyInfo of the public half behind `key`, which belongs to a pair of that kind.
// Throws internal when the token gives something else.
base::Bytes read_public_key(const Session& session, CK_OBJECT_HANDLE key, KeyKind kind);

// "RSA", "CKM_AES_KEY_GEN"; "CKK 19", "CKM 4096" for what no kind of ours uses.
std::string key_type_name(CK_KEY_TYPE type);
std::string generation_name(CK_MECHANISM_TYPE mechanism);

}  // namespace hsm
