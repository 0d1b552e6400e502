// kmsctl as a witness of the key service's audit log: what it finds is said on standard error.
#include <memory>
#include <string>

#include "kms/kmsctl.h"
#include "kms/witness/command_witness.h"

namespace kms {
namespace {

constexpr const char* witness_tool = "kmsctl";

class KmsctlWitness final : public ToolWitness, private WitnessEvents {
public:
    explicit KmsctlWitness(const Connection& connection)
        : file_(connection.witness.file.string()),
          witness_({connection.witness.file, connection.witness.audit_key, connection.witness.nodes,
                    witness_tool},
                   connection.client, *this) {}

    AnswerWatch& watch() override { return witness_; }
    bool conclude() noexcept override {
        try {
            return witness_.conclude();
        } catch (const std::exception& error) {
            failed(error.what());
            return false;
        }
    }

private:
    void opened(const std::string& conflict) override {
        if (conflict.empty()) return;
        explain(witness_tool, "ALARM: " + conflict);
        explain_what_to_do();
    }
    void log_begun(const server::Checkpoint& first) override {
        explain(witness_tool, "the audit log " + first.origin + " is watched from here on, " +
                                  std::to_string(first.size) + " records; kept in " + file_);
    }
    void contradicted(const LogConflict& conflict) override {
        explain(witness_tool,
                "ALARM: the key service's audit log contradicts what kmsctl saw of it: " +
                    conflict.reason +
                    (conflict.origin.empty() ? std::string() : " (" + conflict.origin + ")"));
    }
    void conflict_kept(const LogConflict& /*conflict*/) override {
        explain(witness_tool, "what was kept and what was seen is in " + file_ +
                                  ".conflict; no command calls the key service while it is there");
        explain_what_to_do();
    }
    void conflict_not_kept(const std::string& reason) override {
        explain(witness_tool,
                "the conflict can't be kept: " + reason +
                    ". The next command would call the key service again: give none before you "
                    "know why its log contradicts itself (kmsctl audit verify, copies of the log, "
                    "vaultd's own witness), and see to the folder of " +
                    file_);
    }
    void unproven(const std::string& reason) override {
        explain(witness_tool, "the key service's audit log can't be watched: " + reason +
                                  ". While this goes on, a log that is set back goes unnoticed");
    }
    void failed(const std::string& reason) override { unproven(reason); }

    void explain_what_to_do() const {
        explain(
            witness_tool,
            "find out first why (kmsctl audit verify, copies of the log, vaultd's own witness). "
            "Remove that file to go on with the log that was kept; to take the log as it is "
            "now for a new one remove " +
                file_ + " as well, and give kmsctl that log's audit.pem");
    }

    const std::string file_;
    CommandWitness witness_;
};

}  // namespace

std::unique_ptr<ToolWitness> make_kmsctl_witness(const Connection& connection) {
    return std::make_unique<KmsctlWitness>(connection);
}

}  // namespace kms
