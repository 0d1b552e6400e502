// Seals an audit log: keeps its Merkle tree, signs a checkpoint of it from time to time, and
// notices when the files were changed behind the daemon's back. It follows the log: it reads what
// is durable from the files, on a thread of its own, so a slow signer or a full disk never holds up
// a record.
//
// Nothing is signed that is not durable, and nothing that does not extend what was signed before
// (C2SP tlog-checkpoint): at start and before each signature the lines are hashed again and
// compared with the last checkpoint and with the hash that the writer remembers.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "server/audit.h"
#include "server/audit_proof.h"
#include "server/checkpoint.h"

namespace server {

// A record's place in the log and the proof that it is covered by a checkpoint.
struct RecordProof {
    std::uint64_t index = 0;  // of the leaf, from 0: the record's sequence number less 1
    MerkleHash leaf{};
    MerkleProof path;
    std::string checkpoint;  // the signed note
};

// Thread-safe. To be taken down before what the signer stands on, and before the log.
class AuditSealer {
public:
    // Checks that the log extends its last checkpoint, then follows it. Throws failed_precondition
    // saying what is wrong and what to do: the log is shorter than its last checkpoint, was
    // changed, or the checkpoint is of another key; unavailable when files can't be read.
    AuditSealer(AuditLog& log, std::unique_ptr<CheckpointSigner> signer, SealConfig config,
                const base::Clock& clock, base::Log& messages);
    // Signs what is there. Waits no longer than the bound for a signer that hangs.
    ~AuditSealer();
    AuditSealer(const AuditSealer&) = delete;
    AuditSealer& operator=(const AuditSealer&) = delete;

    // The latest signed note; empty while there is none.
    std::string checkpoint() const;
    // The latest in one line, "<origin> <size> <root in base64>"; of the empty tree while there is
    // none.
    std::string head() const;
    // Makes a checkpoint of everything that is durable now, unless the latest is one. Throws
    // unavailable when it can't be made within the bound.
    void seal_now();

    // Throws not_found when no checkpoint covers the record (yet), or its tiles are gone.
    RecordProof prove(std::uint64_t sequence) const;
    // The record at a leaf (from 0) with its proof. Throws not_found as prove() does, and when
    // retention removed the record.
    RecordEvidence evidence(std::uint64_t index) const;
    // That the log with the latest checkpoint extends the log of `size` records. Throws not_found
    // when no checkpoint is that large.
    MerkleProof extends(std::uint64_t size, std::string& checkpoint) const;

private:
    struct State;
    std::shared_ptr<State> state_;
};

// What checkpoints of a daemon's log have as origin: `<node>/strongroom/<daemon>`, without
// characters that a key's name can't have.
std::string log_origin(std::string_view node, std::string_view daemon);

}  // namespace server
