// Watches the key service's audit log from outside, for a program that goes on running: keeps the
// last checkpoint that it saw and asks for the proof that each later log extends it. A log that was
// forked, rolled back or begun anew under its own feet is noticed with the next answer of the key
// service.
//
// Cheap where it matters: each answer names the latest checkpoint in a header, and comparing it is
// all that happens on a caller's thread. Proofs are asked for on a thread of its own, at most once
// a second. The files are kms/witness/kept_notes.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "kms/client/client.h"
#include "kms/witness/events.h"

namespace kms {

struct WitnessConfig {
    std::filesystem::path file;  // no two witnesses that run at the same time share it
    // The key service's audit.pem, or several of them in one file; empty: no signature is verified,
    // and what TLS proved of the key service must do.
    std::filesystem::path audit_keys;
    // How many logs the key service may have, at most max_logs: each node has its own, and one that
    // is replaced another. At least one for each url; one more than that is a conflict.
    std::size_t nodes = 0;
    bool refuse = true;  // after a conflict: no call to the key service any more
    std::chrono::milliseconds interval{1000};  // between two proofs
    // How long the key service may answer others and give no proof before it is said loudly.
    std::chrono::milliseconds patience{60'000};
    std::string who = "this program";  // what messages call who watches
};

// Thread-safe.
class LogWitness final : public AnswerWatch {
public:
    // Reads what it kept. Throws invalid_argument naming the file that makes no sense. `client` is
    // how to reach the key service; the witness has a connection of its own. `events` must outlive
    // it, and is told on the witness's thread, but for opened(), within this.
    LogWitness(WitnessConfig config, const ClientConfig& client, WitnessEvents& events);
    ~LogWitness() override;
    LogWitness(const LogWitness&) = delete;
    LogWitness& operator=(const LogWitness&) = delete;

    // Throw unavailable after a conflict, when so configured.
    std::uint64_t before_call() override;
    void after_answer(std::uint64_t before, std::string_view head) override;

    // Throws unavailable while there is a conflict, whatever is configured: for /readyz.
    void check() const;

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with a thread that hangs in a call
};

// What opened() says of a conflict that was found before, by `who`.
std::string earlier_conflict(const std::string& who, const std::filesystem::path& conflict_file);

}  // namespace kms
