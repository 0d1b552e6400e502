// Proof that a key in the token is the key it was: a small ciphertext made under it at creation,
// opened again whenever the key's identity matters. A CKA_ID is only a name; a restored or swapped
// token can have another key under it.
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

// What the known answer opens to, and what it is bound to. The AAD can't be mistaken for that of a
// wrapped data key, since it starts with other bytes.
base::ByteView known_plaintext() noexcept;
base::Bytes known_answer_aad(const base::Uuid& key_id, std::uint32_t version);

// One encryption under the version's token key: the caller has counted it. Throws what
// hsm::Token::encrypt throws.
hsm::Encrypted make_known_answer(hsm::Token& token, const base::Uuid& key_id,
                                 const KeyVersion& version);

// Throws unavailable or failed_precondition when the token can't tell.
KeyProof prove_key(hsm::Token& token, const base::Uuid& key_id, const KeyVersion& version);

}  // namespace kms
