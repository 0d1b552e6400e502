// vaultd's configuration file: deploy/examples/vaultd.json explains every field,
// deploy/examples/vaultd.schema.json is its JSON Schema. No secret is in the file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/log.h"
#include "kms/client/client.h"
#include "server/audit.h"
#include "server/database_config.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/identity_config.h"
#include "server/policy.h"
#include "vault/caching_data_keys.h"
#include "vault/compat/config.h"
#include "vault/reasons.h"
#include "vault/value_api.h"
#include "vault/values.h"
#include "vault/witness.h"

namespace vault {

struct Config {
    server::EdgeConfig edge;
    std::optional<server::EdgeConfig> metrics;  // a listener of its own for them
    server::GateConfig gate;
    server::AuditConfig audit;
    server::IdentityConfig identity;
    server::DatabaseConfig store;
    server::PolicyFiles policy;
    std::filesystem::path budgets;  // empty: nobody has a budget
    kms::ClientConfig kms;
    std::string master_key;                   // a key id or "alias/<name>"
    WitnessConfig witness;                    // of the key service's audit log
    std::optional<KeyCacheLimits> key_cache;  // of data keys, for reading; empty: there is none
    std::size_t rewrap_workers = 3;           // of this node, for rewrap jobs; 0: none
    ValueOwners value_owners;
    Passthrough passthrough;      // of values that are not sealed
    compat::Config compat;        // older shapes that are served
    ReasonRules reasons;          // who must say why he reveals
    std::string destruction_key;  // of the key service, signs destructions; empty: none does
    base::LogLevel log_level = base::LogLevel::info;
};

// Throws invalid_argument naming the field, or the file and what is wrong with it.
Config read_config(const std::filesystem::path& file);

}  // namespace vault
