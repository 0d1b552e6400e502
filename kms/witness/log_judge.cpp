#include "kms/witness/log_judge.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "server/merkle.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;
using server::Checkpoint;

constexpr std::size_t max_key_bytes = 1024UL * 1024;
constexpr std::size_t max_proof_hashes = 64;
constexpr std::size_t max_note_text = 64UL * 1024;
constexpr std::string_view pem_end = "-----END PUBLIC KEY-----";
constexpr std::string_view not_signed = "a checkpoint is not signed by the audit key";

std::vector<server::NoteKey> read_audit_keys(const std::filesystem::path& file) {
    std::vector<server::NoteKey> keys;
    if (file.empty()) return keys;
    const std::string text = base::read_trusted_file(file, max_key_bytes);
    try {
        for (std::size_t begin = 0, end = 0; (end = text.find(pem_end, begin)) != std::string::npos;
             begin = end) {
            end += pem_end.size();
            keys.push_back(server::NoteKey::from_pem(text.substr(begin, end - begin)));
        }
    } catch (const Error& error) {
        throw Error(ErrorCode::invalid_argument, file.string() + ": " + error.message());
    }
    if (keys.empty()) {
        throw Error(ErrorCode::invalid_argument, file.string() + " holds no public key (PEM)");
    }
    return keys;
}

ClientConfig own_client(ClientConfig config) {
    config.watch = nullptr;
    config.max_connections = 1;
    return config;
}

// Empty when it is none.
std::optional<server::MerkleProof> read_proof(base::JsonReader& reader) {
    server::MerkleProof proof;
    for (const auto& item : reader.required_array("proof", max_proof_hashes, 0)) {
        const auto hash =
            item.string() == nullptr ? std::nullopt : base::parse_base64(*item.string());
        if (!hash || hash->size() != server::MerkleHash().size()) return std::nullopt;
        std::copy(hash->begin(), hash->end(), proof.emplace_back().begin());
    }
    return proof;
}

}  // namespace

std::size_t count_logs(std::size_t configured, const ClientConfig& client) {
    return std::max(configured, client.more_urls.size() + 1);
}

LogJudge::LogJudge(KeptNotes& kept, const std::filesystem::path& audit_keys,
                   const ClientConfig& client, std::size_t logs)
    : kept_(kept), keys_(read_audit_keys(audit_keys)), client_(own_client(client)), logs_(logs) {}

LogJudge::Finding LogJudge::ask(const Said& said) {
    return judge(client_.get_text("/v1/audit/checkpoint"), said);
}

std::optional<LogConflict> LogJudge::hides(const Error& error) const {
    if (error.code() != ErrorCode::not_found || kept_.empty()) return std::nullopt;
    const auto& [origin, note] = *kept_.by_origin().begin();
    return LogConflict{"the key service shows no audit log any more", origin, note, {}};
}

// The checkpoint of a note, signed by one of the audit keys when there are any; empty when it is
// not.
std::optional<Checkpoint> LogJudge::open(const std::string& note) const {
    if (keys_.empty()) return server::parse_checkpoint_text(server::parse_note(note).text);
    for (const server::NoteKey& key : keys_) {
        try {
            return server::open_checkpoint(note, key);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::integrity_failure) throw;
        }
    }
    return std::nullopt;
}

// Of a log begun anew under another name nothing that was kept says anything: how many there are is
// for the operator to say.
bool LogJudge::is_one_too_many(const std::string& origin) const {
    const auto& kept = kept_.by_origin();
    return !kept.empty() && kept.size() >= logs_ && kept.find(origin) == kept.end();
}

LogJudge::Finding LogJudge::judge(const std::string& note, const Said& said) {
    const auto opened = open(note);
    if (!opened) return {LogConflict{std::string(not_signed), {}, kept_.text(), note}};
    const Checkpoint& now = *opened;
    if (is_one_too_many(now.origin)) {
        return {LogConflict{std::string(log_of_another_name), now.origin, kept_.text(), note}};
    }
    const auto place = kept_.by_origin().find(now.origin);
    if (place == kept_.by_origin().end()) {
        if (auto lie = judge_header(now, note, said)) return {std::move(lie)};
        kept_.keep(now.origin, note);
        return {std::nullopt, now, true};
    }
    const std::string kept_note = place->second;
    const Checkpoint kept = server::parse_checkpoint_text(server::parse_note(kept_note).text);
    if (now.size > kept.size) return judge_growth(kept_note, kept, said);
    if (now.size < kept.size) {
        return {LogConflict{std::string(log_is_shorter), now.origin, kept_note, note}};
    }
    if (now.root != kept.root) {
        return {LogConflict{std::string(two_logs_of_one_size), now.origin, kept_note, note}};
    }
    return {judge_header(now, note, said)};
}

std::optional<LogConflict> LogJudge::judge_header(const Checkpoint& now, const std::string& note,
                                                  const Said& said) {
    const auto told = said(now.origin);
    if (!told || told->checkpoint.size == 0) return std::nullopt;
    const Checkpoint& head = told->checkpoint;
    const auto lie = [&](std::string_view reason) {
        return LogConflict{std::string(reason), now.origin, server::checkpoint_text(head), note};
    };
    if (head.size > now.size) {
        if (!told->must_be_known) return std::nullopt;
        return lie("the signed checkpoint is of a shorter audit log than answers named before it");
    }
    if (head.size < now.size) return ask_growth(head, server::checkpoint_text(head)).conflict;
    if (head.root != now.root) return lie(two_logs_of_one_size);
    return std::nullopt;
}

LogJudge::Finding LogJudge::judge_growth(const std::string& kept_note, const Checkpoint& kept,
                                         const Said& said) {
    const Growth growth = ask_growth(kept, kept_note);
    if (growth.conflict) return {growth.conflict};
    if (auto lie = judge_header(*growth.now, growth.note, said)) return {std::move(lie)};
    kept_.keep(growth.now->origin, growth.note);
    return {std::nullopt, growth.now};
}

// Another node's log may be shorter: that it has no proof is no answer, and who never has one is
// reported.
base::JsonValue LogJudge::ask_proof(std::uint64_t size) {
    try {
        return client_.call("GET", "/v1/audit/proof?size=" + std::to_string(size), {});
    } catch (const Error& error) {
        if (error.code() != ErrorCode::not_found) throw;
        throw Error(ErrorCode::unavailable, "the key service gives no proof", error.message());
    }
}

// Asks the service to prove that its log extends `before`, of which `evidence` tells.
LogJudge::Growth LogJudge::ask_growth(const Checkpoint& before, const std::string& evidence) {
    const base::JsonValue answer = ask_proof(before.size);
    base::JsonReader reader(answer);
    Growth growth;
    growth.note = reader.required_string("checkpoint", max_note_text);
    const auto contradiction = [&](std::string_view reason) {
        growth.conflict = LogConflict{std::string(reason), before.origin, evidence, growth.note};
        return growth;
    };
    const auto opened = open(growth.note);
    if (!opened) return contradiction(not_signed);
    if (is_one_too_many(opened->origin)) return contradiction(log_of_another_name);
    if (opened->origin != before.origin) {
        throw Error(ErrorCode::unavailable, "another node of the key service gave the proof");
    }
    const auto proof = read_proof(reader);
    if (!proof) return contradiction("the proof is none");
    server::MerkleHasher hasher;
    if (opened->size < before.size ||
        !server::verify_consistency(before.size, before.root, opened->size, opened->root, *proof,
                                    hasher)) {
        return contradiction("the audit log does not extend the one that was there before");
    }
    growth.now = opened;
    return growth;
}

}  // namespace kms
