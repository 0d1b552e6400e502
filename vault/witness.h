// vaultd's witness of the key service's audit log: kms/witness/witness, with vaultd's log, metrics
// and audit log told of what it finds.
#pragma once

#include <memory>

#include "base/log.h"
#include "kms/witness/witness.h"
#include "server/audit.h"
#include "server/metrics.h"

namespace vault {

using WitnessConfig = kms::WitnessConfig;

// Thread-safe.
class LogWitness final : public kms::AnswerWatch {
public:
    // As kms::LogWitness. References must outlive it.
    LogWitness(WitnessConfig config, const kms::ClientConfig& client, server::AuditLog& audit,
               server::Metrics& metrics, base::Log& log);
    ~LogWitness() override;
    LogWitness(const LogWitness&) = delete;
    LogWitness& operator=(const LogWitness&) = delete;

    std::uint64_t before_call() override { return witness_->before_call(); }
    void after_answer(std::uint64_t before, std::string_view head) override {
        witness_->after_answer(before, head);
    }
    // Throws unavailable while there is a conflict, whatever is configured: for /readyz.
    void check() const { witness_->check(); }

private:
    class Reports;
    std::unique_ptr<Reports> reports_;
    std::unique_ptr<kms::LogWitness> witness_;
};

}  // namespace vault
