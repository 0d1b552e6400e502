#include "server/audit_proof.h"

#include <algorithm>
#include <charconv>

#include "base/encoding.h"
#include "base/error.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view evidence_heading = "c2sp.org/tlog-proof@v1";
constexpr std::string_view extra_word = "extra ";
constexpr std::string_view index_word = "index ";

[[noreturn]] void no_evidence() {
    throw Error(ErrorCode::invalid_argument,
                "this is no proof of an audit record (C2SP tlog-proof)");
}

// Takes the next line off `text`.
std::string_view next_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) no_evidence();
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    return line;
}

std::string_view take_word(std::string_view& text, std::string_view word) {
    std::string_view line = next_line(text);
    if (!line.starts_with(word)) no_evidence();
    line.remove_prefix(word.size());
    return line;
}

}  // namespace

std::string evidence_text(const RecordEvidence& evidence) {
    std::string text = std::string(evidence_heading) + '\n';
    text.append(extra_word).append(base::to_base64(base::as_bytes(evidence.record))) += '\n';
    text.append(index_word).append(std::to_string(evidence.index)) += '\n';
    for (const MerkleHash& hash : evidence.path) text += base::to_base64(hash) + '\n';
    return text + '\n' + evidence.checkpoint;
}

RecordEvidence parse_evidence(std::string_view text) {
    if (next_line(text) != evidence_heading) no_evidence();
    RecordEvidence evidence;
    const auto record = base::parse_base64(take_word(text, extra_word));
    if (!record || record->empty()) no_evidence();
    evidence.record = base::as_text(*record);
    const std::string_view digits = take_word(text, index_word);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), evidence.index);
    if (error != std::errc() || end != digits.data() + digits.size() ||
        std::to_string(evidence.index) != digits) {
        no_evidence();
    }
    while (true) {
        const std::string_view line = next_line(text);
        if (line.empty()) break;
        const auto hash = base::parse_base64(line);
        if (!hash || hash->size() != MerkleHash().size()) no_evidence();
        std::copy(hash->begin(), hash->end(), evidence.path.emplace_back().begin());
    }
    evidence.checkpoint = text;
    return evidence;
}

Checkpoint check_evidence(const RecordEvidence& evidence, const NoteKey& key) {
    Checkpoint checkpoint = open_checkpoint(evidence.checkpoint, key);
    MerkleHasher hasher;
    if (!verify_inclusion(hasher.leaf(evidence.record), evidence.index, checkpoint.size,
                          evidence.path, checkpoint.root, hasher)) {
        throw Error(ErrorCode::integrity_failure,
                    "the proof does not lead from this record to the checkpoint");
    }
    return checkpoint;
}

}  // namespace server
