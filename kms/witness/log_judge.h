// Judges a service's audit logs by their signed checkpoints: asks for the latest one, has it proven
// to extend what was kept, and keeps it. Who asks when is the caller's: kms/witness/witness does on
// a thread of its own, kms/witness/command_witness at a command's end.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kms/client/client.h"
#include "kms/witness/conflict.h"
#include "kms/witness/kept_notes.h"
#include "kms/witness/seen_heads.h"
#include "server/checkpoint.h"

namespace kms {

// How many logs the service may have, each node its own: as configured, at least one for each url.
std::size_t count_logs(std::size_t configured, const ClientConfig& client);

// Not thread-safe.
class LogJudge {
public:
    // What the headers of answers said of the log of that name: SeenHeads::of(), beside a call that
    // began with ask().
    using Said = std::function<std::optional<SeenHeads::Head>(const std::string& origin)>;

    struct Finding {
        std::optional<LogConflict> conflict{};
        std::optional<server::Checkpoint> kept{};  // what was proven and kept
        bool is_new = false;                       // none of that log was kept before
    };

    // `audit_keys`: the service's audit.pem, or several in one file; empty: no signature is
    // verified. `client` is how to reach the service; the connection is one of its own, which no
    // AnswerWatch sees. `logs`: count_logs(). Throws invalid_argument naming the file that makes no
    // sense.
    LogJudge(KeptNotes& kept, const std::filesystem::path& audit_keys, const ClientConfig& client,
             std::size_t logs);

    // At most three calls. What the header of an answer said is unsigned: it is held to the first
    // signed checkpoint that is as large or larger, and a signed one that is asked for afterwards
    // is no smaller, since the service publishes both at once. Throws what the calls throw,
    // unavailable where the service has no proof, what KeptNotes::keep() throws.
    Finding ask(const Said& said);

    // When ask() threw `error`: the service shows no audit log, though one of it was kept. Of
    // several nodes one may be new.
    std::optional<LogConflict> hides(const base::Error& error) const;

private:
    struct Growth {
        std::optional<LogConflict> conflict{};
        std::optional<server::Checkpoint> now{};  // proven to extend the one before
        std::string note{};                       // the signed one of `now`
    };
    std::optional<server::Checkpoint> open(const std::string& note) const;
    Finding judge(const std::string& note, const Said& said);
    Finding judge_growth(const std::string& kept_note, const server::Checkpoint& kept,
                         const Said& said);
    std::optional<LogConflict> judge_header(const server::Checkpoint& now, const std::string& note,
                                            const Said& said);
    base::JsonValue ask_proof(std::uint64_t size);
    Growth ask_growth(const server::Checkpoint& before, const std::string& evidence);
    bool is_one_too_many(const std::string& origin) const;

    KeptNotes& kept_;
    const std::vector<server::NoteKey> keys_;
    Client client_;
    const std::size_t logs_;
};

}  // namespace kms
