// Signed checkpoints: what a log claims to be at one moment, in the formats that the tools of
// transparency logs read. A checkpoint is C2SP tlog-checkpoint, its signature C2SP signed-note:
//
//     node-1/strongroom/kmsd                             origin: which log
//     20852163                                           number of records
//     CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=       root of its Merkle tree (RFC 6962)
//                                                        (an empty line)
//     — node-1/strongroom/kmsd Az3grlgtzPICa5OS8npV…     base64(key id (4 bytes) || signature)
//
// Text and signatures only; when a checkpoint is made is server/audit_sealer, where it is kept is
// server/checkpoint_file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "server/merkle.h"

namespace server {

struct Checkpoint {
    std::string origin;
    std::uint64_t size = 0;
    MerkleHash root{};
    bool operator==(const Checkpoint&) const = default;
};

// The note's text: three lines, each with its line end.
std::string checkpoint_text(const Checkpoint& checkpoint);
// Extension lines are read over. Throws invalid_argument.
Checkpoint parse_checkpoint_text(std::string_view text);

// "<origin> <size> <root>", as answers name the latest checkpoint in a header; unsigned.
std::string checkpoint_head(const Checkpoint& checkpoint);
// Empty when it is none.
std::optional<Checkpoint> parse_checkpoint_head(std::string_view head);

// The signature types of C2SP signed-note that we make and verify.
enum class NoteAlgorithm : std::uint8_t {
    ed25519 = 0x01,     // over the text; 64 bytes
    ecdsa_p256 = 0x02,  // over the SHA-256 of the text; DER Ecdsa-Sig-Value
};

// Who signs checkpoints: a key in a token, or a service that has one. Called by one thread at a
// time; a call may take long or throw.
class CheckpointSigner {
public:
    virtual ~CheckpointSigner() = default;
    // SubjectPublicKeyInfo, DER, of an Ed25519 or P-256 key. Throws unavailable when it can't be
    // learned now.
    virtual base::Bytes public_key() = 0;
    // The signature of `text` by that key, as NoteAlgorithm says. Throws unavailable when that
    // can't be done now.
    virtual base::Bytes sign(std::string_view text) = 0;
};

// One signature line: `— <name> base64(key id || signature)`.
struct NoteSignature {
    std::string name;
    std::uint32_t key_id = 0;
    base::Bytes signature;
};

// A note taken apart; nothing of it is verified.
struct Note {
    std::string text;  // with its last line end
    std::vector<NoteSignature> signatures;
};

// Throws invalid_argument when `note` has not the form of a signed note with at most 16 signatures.
Note parse_note(std::string_view note);

// A public key that notes are verified with. Thread-safe. Holds a key of OpenSSL.
class NoteKey {
public:
    // PEM (BEGIN PUBLIC KEY) or DER SubjectPublicKeyInfo of an Ed25519 or P-256 key. Throws
    // invalid_argument.
    static NoteKey from_pem(std::string_view pem);
    static NoteKey from_der(base::ByteView spki);
    ~NoteKey();
    NoteKey(NoteKey&& other) noexcept;
    NoteKey& operator=(NoteKey&& other) noexcept;

    NoteAlgorithm algorithm() const;
    // Of this key under that name: SHA-256(name || LF || 0x01 || key)[:4] for Ed25519, SHA-256 of
    // the SubjectPublicKeyInfo [:4] for ECDSA.
    std::uint32_t key_id(std::string_view name) const;
    // Whether this key signed the note under `name` and nothing was changed since. False as well
    // when a second signature of this key does not verify.
    bool verify(const Note& note, std::string_view name) const;
    // What tools of transparency logs take as a key: `<name>+<key id, hex>+<base64>`.
    std::string verifier_key(std::string_view name) const;

    std::string to_pem() const;
    // SubjectPublicKeyInfo.
    const base::Bytes& to_der() const;

private:
    struct Key;
    explicit NoteKey(std::unique_ptr<Key> key);
    std::unique_ptr<Key> key_;
};

// The checkpoint as a note signed under its origin as name. Throws what the signer throws, and
// internal when the signature does not verify under the signer's own public key: such a checkpoint
// must never be published.
std::string sign_checkpoint(const Checkpoint& checkpoint, CheckpointSigner& signer);

// The checkpoint of a note that `key` signed under the checkpoint's origin. Throws
// integrity_failure with the reason otherwise.
Checkpoint open_checkpoint(std::string_view note, const NoteKey& key);

}  // namespace server
