// Watches the key service's audit log from outside: keeps the last checkpoint that it saw and asks
// for the proof that each later log extends it. A log that was forked, rolled back or begun anew
// under its own feet is noticed with the next answer of the key service.
//
//     <file>            the last signed checkpoint of each log, proven to extend the one before
//     <file>.conflict   what contradicts it, once something does; an operator removes it
//
// Cheap where it matters: each answer names the latest checkpoint in a header, and comparing it is
// all that happens on a caller's thread. Proofs are asked for on a thread of its own, at most once
// a second.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "base/log.h"
#include "kms/client/client.h"
#include "server/audit.h"
#include "server/metrics.h"

namespace vault {

struct WitnessConfig {
    std::filesystem::path file;
    // The key service's audit.pem, or several of them in one file; empty: no signature is verified,
    // and what TLS proved of the key service must do.
    std::filesystem::path audit_keys;
    bool refuse = true;  // after a conflict: no call to the key service any more
    std::chrono::milliseconds interval{1000};  // between two proofs
    // How long the key service may answer others and give no proof before it is said loudly.
    std::chrono::milliseconds patience{60'000};
};

// Thread-safe.
class LogWitness final : public kms::AnswerWatch {
public:
    // Reads what it kept. Throws invalid_argument naming the file that makes no sense. References
    // must outlive it. `client` is how to reach the key service; the witness has a connection of
    // its own.
    LogWitness(WitnessConfig config, const kms::ClientConfig& client, server::AuditLog& audit,
               server::Metrics& metrics, base::Log& log);
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

}  // namespace vault
