// kmsd's configuration file: deploy/examples/kmsd.json explains every field,
// deploy/examples/kmsd.schema.json is its JSON Schema. No secret is in the file, only where to read
// one.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/secret_bytes.h"
#include "hsm/token_config.h"
#include "server/audit.h"
#include "server/database_config.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/identity_config.h"
#include "server/policy.h"

namespace kms {

// Where the PKCS#11 module runs.
enum class TokenProcess {
    worker,      // in a child: neither the module nor the PIN is ever in kmsd
    in_process,  // in kmsd
};

// How one token is opened.
struct TokenAccess {
    std::string name;  // among several; else empty
    hsm::TokenConfig token;
    std::filesystem::path worker_program;
    std::chrono::milliseconds deadline{};  // of one call
    // The worker reads this file by itself; empty: what was typed is in `pin`. Without a worker the
    // PIN is in `pin` in any case.
    std::filesystem::path pin_file;
    base::SecretBytes pin;
};

struct Config {
    server::EdgeConfig edge;
    std::optional<server::EdgeConfig> metrics;  // a listener of its own for them
    server::GateConfig gate;
    server::AuditConfig audit;
    server::IdentityConfig identity;
    TokenProcess process = TokenProcess::worker;
    // One, or several that hold the same keys: each of these has a name and a worker.
    std::vector<TokenAccess> tokens;
    server::DatabaseConfig store;
    server::PolicyFiles policy;
    std::filesystem::path budgets;  // empty: nobody has a budget
    base::LogLevel log_level = base::LogLevel::info;
};

// Reads the file, and the PIN that it points to unless a worker is to read that. Unless it says
// otherwise, the programs strongroom-key-readback and strongroom-token-worker are beside `program`.
// Throws invalid_argument naming the
// field, or the file and what is wrong with it.
Config read_config(const std::filesystem::path& file, const std::filesystem::path& program);

}  // namespace kms
