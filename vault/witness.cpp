#include "vault/witness.h"

#include <string>
#include <utility>

namespace vault {

class LogWitness::Reports final : public kms::WitnessEvents {
public:
    Reports(bool refuses, server::AuditLog& audit, server::Metrics& metrics, base::Log& log)
        : refuses_(refuses), audit_(audit), metrics_(metrics), log_(log) {}

    void opened(const std::string& conflict) override {
        if (!conflict.empty()) log_.error(conflict);
        metrics_.gauge("audit_witness_conflict", conflict.empty() ? 0 : 1);
    }
    void log_begun(const server::Checkpoint& first) override {
        log_.info("the key service's audit log is watched from here on",
                  {{"origin", first.origin}, {"records", static_cast<std::int64_t>(first.size)}});
        audit_.event("witness_new_log",
                     {{"origin", first.origin}, {"records", std::to_string(first.size)}});
    }
    void contradicted(const kms::LogConflict& conflict) override {
        log_.error("the key service's audit log contradicts what this vault saw of it",
                   {{"reason", conflict.reason},
                    {"origin", conflict.origin},
                    {"kept", conflict.kept},
                    {"seen", conflict.seen},
                    {"vault_refuses", refuses_}});
        metrics_.count("audit_witness_conflicts");
        metrics_.gauge("audit_witness_conflict", 1);
    }
    void conflict_kept(const kms::LogConflict& conflict) override {
        audit_.event("witness_conflict", {{"reason", conflict.reason},
                                          {"origin", conflict.origin},
                                          {"kept", conflict.kept},
                                          {"seen", conflict.seen}});
    }
    void conflict_not_kept(const std::string& reason) override {
        log_.error(
            "the conflict can't be kept or recorded: a vaultd that starts anew may not know of it. "
            "See to the folder of the witness's file, and let none start before you know why",
            {{"reason", reason}});
    }
    void unproven(const std::string& reason) override {
        log_.error(
            "the key service's audit log can't be watched: one that is set back goes unnoticed",
            {{"reason", reason}});
        metrics_.count("audit_witness_failures");
    }
    void failed(const std::string& reason) override {
        log_.error("the key service's checkpoint can't be kept", {{"reason", reason}});
    }

private:
    const bool refuses_;
    server::AuditLog& audit_;
    server::Metrics& metrics_;
    base::Log& log_;
};

LogWitness::LogWitness(WitnessConfig config, const kms::ClientConfig& client,
                       server::AuditLog& audit, server::Metrics& metrics, base::Log& log)
    : reports_(std::make_unique<Reports>(config.refuse, audit, metrics, log)) {
    config.who = "this vault";
    witness_ = std::make_unique<kms::LogWitness>(std::move(config), client, *reports_);
}

LogWitness::~LogWitness() = default;

}  // namespace vault
