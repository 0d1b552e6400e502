// The proof that a record is in an audit log, as one text that a caller can keep: C2SP tlog-proof,
// with the record itself as the extra data.
//
//     c2sp.org/tlog-proof@v1
//     extra <base64 of the record's line>
//     index 41
//     <base64 of a hash>                  the path of the leaf, RFC 6962 2.1.1
//     …
//                                         (an empty line)
//     <the signed checkpoint that covers it>
//
// Text and arithmetic only; it is judged with a public key and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/checkpoint.h"
#include "server/merkle.h"

namespace server {

struct RecordEvidence {
    std::string record;       // the line, without its end
    std::uint64_t index = 0;  // of the leaf, from 0
    MerkleProof path;
    std::string checkpoint;  // the signed note
};

std::string evidence_text(const RecordEvidence& evidence);
// Throws invalid_argument when `text` has not the form; nothing of it is verified.
RecordEvidence parse_evidence(std::string_view text);

// The checkpoint, when `key` signed it and the path leads from the record to it. Throws
// integrity_failure otherwise.
Checkpoint check_evidence(const RecordEvidence& evidence, const NoteKey& key);

}  // namespace server
