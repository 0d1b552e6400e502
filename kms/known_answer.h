// Proof that a key in the token is the key it was. A CKA_ID is only a name; a restored or swapped
// token can have another key under it. So at creation each version leaves something in the
// catalogue that only that key fits to, asked for again whenever the key's identity matters: of an
// AES key a small ciphertext, of an HMAC key a MAC, of a pair its public key, under which it must
// sign.
#pragma once

#include "hsm/token.h"
#include "kms/key.h"

namespace kms {

enum class KeyProof {
    proven,
    missing,    // the token has no key of that id
    different,  // it has one, but another than the one that made the known answer
};
std::string_view to_string(KeyProof proof) noexcept;

// What the known answer is of, and what it is bound to. The AAD can't be mistaken for that of a
// wrapped data key, since it starts with other bytes.
base::ByteView known_plaintext() noexcept;
base::Bytes known_answer_aad(const base::Uuid& key_id, std::uint32_t version);

// What KeyVersion::known_answer keeps: IV and ciphertext of an AES key; else `ciphertext` is the
// MAC or the public key (SubjectPublicKeyInfo), and the IV zero. One encryption under an AES
// version: the caller has counted it. Throws what hsm::Token throws.
hsm::Encrypted make_known_answer(hsm::Token& token, const Key& key, const KeyVersion& version);

// Whether the version's key in the token is the right one, and the token is held to it from now on,
// whatever comes of it (Token::hold_to): of several tokens only one with this key is used,
// whichever was believed before, and each is used once it has the key. Not for a version without a
// known answer: that is `different`, and nothing is held. Throws unavailable or failed_precondition
// when the token can't tell.
KeyProof hold_to_known_answer(hsm::Token& token, const Key& key, const KeyVersion& version);

// Whether the key that the token uses now, of its own choice, is the right one: the way to tell why
// a use failed. When it is not, the token is held to the right one. Throws as above.
KeyProof prove_key(hsm::Token& token, const Key& key, const KeyVersion& version);

// The public key of a version of a pair, SubjectPublicKeyInfo, as the catalogue keeps it; empty
// while the version is pending.
base::ByteView public_key_of(const KeyVersion& version) noexcept;

}  // namespace kms
