// "compat" of vaultd's configuration: which of the older shapes it serves.
// deploy/examples/vaultd.json explains every field. No secret is in it.
#pragma once

#include <filesystem>
#include <optional>

#include "base/json.h"
#include "vault/compat/broker_api.h"
#include "vault/compat/shared_secret_api.h"

namespace vault::compat {

struct Config {
    std::optional<SharedSecretConfig> shared_secret;
    std::optional<BrokerConfig> broker;
};

// "compat", which may be absent. Throws invalid_argument naming the field.
Config read_config(base::JsonReader& top, const std::filesystem::path& folder);

// Reads what the configuration names, for --check-config. Throws invalid_argument.
void check_files(const Config& config);

}  // namespace vault::compat
