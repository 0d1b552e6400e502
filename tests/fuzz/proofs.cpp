// What proves something of an audit log, as a stranger could hand it over: evidence of a record,
// paths through the tree, histories of checkpoints, public keys, a token's own files. The first
// byte says which.
#include <algorithm>
#include <string>

#include "hsm/public_key.h"
#include "hsm/softhsm_object_file.h"
#include "server/audit_proof.h"
#include "server/audit_query.h"
#include "server/checkpoint_file.h"
#include "tests/fuzz/only.h"

namespace {

using base::ErrorCode;
using server::MerkleHash;

// An Ed25519 key that signed nothing.
const server::NoteKey& stranger() {
    static const server::NoteKey key = server::NoteKey::from_pem(
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAYN7Md9/3gg5DxfHOeIUrYuHKflJ4oiAKvso1uo2IeEI=\n"
        "-----END PUBLIC KEY-----\n");
    return key;
}

void check_evidence_text(std::string_view text) {
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const auto evidence = server::parse_evidence(text);
        fuzz::require(server::evidence_text(evidence) == text);
        fuzz::require(!fuzz::allow_errors(
            [&] { static_cast<void>(server::check_evidence(evidence, stranger())); }));
    });
}

// A tree of up to 64 leaves, and a proof about it that the input changes: only the right one is
// taken.
class SmallTree {
public:
    explicit SmallTree(std::uint64_t size) {
        for (std::uint64_t i = 0; i < size; ++i)
            leaves_.push_back(hasher_.leaf("record " + std::to_string(i)));
    }
    MerkleHash node(unsigned height, std::uint64_t index) {
        if (height == 0) return leaves_.at(index);
        return hasher_.node(node(height - 1, 2 * index), node(height - 1, 2 * index + 1));
    }
    server::MerkleNodes nodes() {
        return [this](unsigned height, std::uint64_t index) { return node(height, index); };
    }
    MerkleHash root(std::uint64_t size) { return server::tree_root(size, nodes(), hasher_); }
    const MerkleHash& leaf(std::uint64_t index) const { return leaves_.at(index); }
    server::MerkleHasher& hasher() { return hasher_; }

private:
    std::vector<MerkleHash> leaves_;
    server::MerkleHasher hasher_;
};

// Each two bytes: a hash of the proof and what it is changed by; a hash beyond the end is added,
// and a change by nothing takes the last one away.
server::MerkleProof changed(server::MerkleProof proof, base::ByteView changes) {
    for (std::size_t i = 0; i + 1 < changes.size(); i += 2) {
        const std::size_t place = changes[i] % 10U;
        if (changes[i + 1] == 0) {
            if (!proof.empty()) proof.pop_back();
        } else if (place >= proof.size()) {
            proof.emplace_back().fill(changes[i + 1]);
        } else {
            proof[place][changes[i] % MerkleHash().size()] ^= changes[i + 1];
        }
    }
    return proof;
}

void check_paths(base::ByteView input) {
    if (input.size() < 2) return;
    const std::uint64_t size = 1 + input[0] % 64U;
    const std::uint64_t first = 1 + input[1] % size;
    SmallTree tree(size);
    const MerkleHash root = tree.root(size);

    const auto growth = server::consistency_proof(first, size, tree.nodes(), tree.hasher());
    const auto other_growth = changed(growth, input.subspan(2));
    fuzz::require((other_growth == growth) == server::verify_consistency(first, tree.root(first),
                                                                         size, root, other_growth,
                                                                         tree.hasher()));
    const std::uint64_t index = first - 1;
    const auto path = server::inclusion_proof(index, size, tree.nodes(), tree.hasher());
    const auto other_path = changed(path, input.subspan(2));
    fuzz::require((other_path == path) == server::verify_inclusion(tree.leaf(index), index, size,
                                                                   other_path, root,
                                                                   tree.hasher()));
}

void check_history(std::string_view text) {
    const server::NoteHistory history = server::split_notes(text);
    std::string joined;
    for (const std::string& note : history.notes) joined += note + '\n';
    fuzz::require(joined + history.torn == text);
    if (const auto head = server::parse_checkpoint_head(text))
        fuzz::require(server::checkpoint_head(*head) == text);
}

// A line of a log as people are shown it: one line of a table, whatever is in it.
void check_row(std::string_view line) {
    const auto row = server::read_audit_row(line);
    if (!row) return;
    fuzz::require(row->sequence >= 1);
    const std::string csv = server::audit_csv_line(*row);
    bool quoted = false;
    std::size_t cells = 1;
    for (std::size_t i = 0; i + 2 < csv.size(); ++i) {
        if (csv[i] == '"') quoted = !quoted;
        if (quoted) continue;
        fuzz::require(csv[i] != '\r' && csv[i] != '\n');
        if (csv[i] != ',') continue;
        ++cells;
        // A spreadsheet would take it for a formula.
        fuzz::require(std::string_view("=+-@").find(csv[i + 1]) == std::string_view::npos);
    }
    const std::string heading = server::audit_csv_heading();
    fuzz::require(
        !quoted && csv.ends_with("\r\n") &&
        cells == 1U + static_cast<std::size_t>(std::count(heading.begin(), heading.end(), ',')));
    server::AuditFilter everything;
    everything.caller = everything.action = "*";
    fuzz::require(server::wanted(*row, everything));
    server::AuditFilter same;
    same.caller = row->caller;
    if (row->caller.find_first_of("*{}") ==
        std::string::npos)  // else it is another pattern, or none
        fuzz::require(server::wanted(*row, same));
}

void check_public_key(base::ByteView bytes) {
    const auto kind = hsm::kind_of_public_key(bytes);
    fuzz::allow(ErrorCode::invalid_argument,
                [&] { static_cast<void>(server::NoteKey::from_pem(base::as_text(bytes))); });
    const bool signs_notes = fuzz::allow(ErrorCode::invalid_argument, [&] {
        const auto key = server::NoteKey::from_der(bytes);
        fuzz::require(server::NoteKey::from_pem(key.to_pem()).to_der() == key.to_der());
    });
    if (!kind) return;
    // OpenSSL, which verifies, and Botan, which looks at keys, must not differ in what is one.
    if (*kind == hsm::KeyKind::ecdsa_p256 || *kind == hsm::KeyKind::ed25519)
        fuzz::require(signs_notes);
    const base::Bytes signature(64, 9);
    fuzz::require(!hsm::verify_signature(*kind, bytes, bytes, signature));
    fuzz::allow(ErrorCode::invalid_argument,
                [&] { static_cast<void>(server::NoteKey::from_pem(hsm::to_pem(bytes))); });
}

void check_signature(base::ByteView raw) {
    const base::Bytes der = hsm::ecdsa_signature_to_der(raw);
    fuzz::require(!der.empty() && der.front() == 0x30);
}

void check_token_object(base::ByteView file) {
    const auto object = hsm::parse_softhsm_token_object(file);
    if (!object) return;
    const std::string_view text = base::as_text(file);
    fuzz::require(text.find(object->label) != text.npos && text.find(object->serial) != text.npos);
    fuzz::require(!object->label.ends_with(' ') && !object->serial.ends_with(' '));
    // A torn one is none: what follows a whole attribute is another, or nothing.
    base::Bytes more(file.begin(), file.end());
    more.push_back(0);
    fuzz::require(!hsm::parse_softhsm_token_object(more));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const base::ByteView bytes(data + 1, size - 1);
    const std::string_view text = base::as_text(bytes);
    switch (data[0]) {
        case 'e':
            check_evidence_text(text);
            break;
        case 'h':
            check_history(text);
            break;
        case 'r':
            check_row(text);
            break;
        case 'k':
            check_public_key(bytes);
            break;
        case 's':
            check_signature(bytes);
            break;
        case 'o':
            check_token_object(bytes);
            break;
        default:
            check_paths(bytes);
            break;
    }
    return 0;
}
