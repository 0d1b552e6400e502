// What kmsctl's audit commands share: kmsctl_audit.cpp judges logs and proofs,
// kmsctl_audit_records.cpp shows records.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "kms/kmsctl.h"
#include "server/audit_query.h"
#include "server/audit_verify.h"

namespace kms {

struct AuditOptions {
    std::string directory;
    std::string key_file;
    std::vector<std::string> trusted;
    std::uint64_t record = 0;
    std::string proof;
    std::string receipt;
    std::string name;  // of hash
    std::string value;
    // of show, export and report
    server::AuditFilter filter;
    std::string from;
    std::string before;
    bool whole = false;  // the log is verified whole, whatever is shown of it
    std::uint64_t last = 0;
    bool follow = false;
    std::string format = "jsonl";
    std::string output;
};

// Throws UsageError, naming the option, unless `text` is a time or a day, which is meant as its
// beginning.
base::Time read_audit_time(const std::string& text, const char* option);

// Throws not_found when there is no such folder: a mistake in the arguments, not an empty log.
void require_log(const std::string& directory);

// With a progress bar on a terminal. Throws what the files and the key deserve.
server::AuditFinding verify_log(const AuditOptions& options);

// A command of the family that takes the log's folder.
CLI::App* add_audit_command(CLI::App& family, const char* name, const char* what,
                            AuditOptions& options);

// show, export, report.
void add_audit_record_commands(CLI::App& family, Tool& tool,
                               const std::shared_ptr<AuditOptions>& options);

}  // namespace kms
