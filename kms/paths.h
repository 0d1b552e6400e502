// The paths of the key service's own API, for judging a configuration when there is no Api to ask.
// Api::routes() is the table; a test compares the two.
#pragma once

#include <array>
#include <string_view>

namespace kms {

inline constexpr std::array<std::string_view, 34> api_paths{
    "/v1/keys",
    "/v1/keys/{key}",
    "/v1/keys/alias/{alias}",
    "/v1/keys/{key}/rotate",
    "/v1/keys/alias/{alias}/rotate",
    "/v1/keys/{key}/enable",
    "/v1/keys/alias/{alias}/enable",
    "/v1/keys/{key}/disable",
    "/v1/keys/alias/{alias}/disable",
    "/v1/keys/{key}/schedule-deletion",
    "/v1/keys/alias/{alias}/schedule-deletion",
    "/v1/keys/{key}/cancel-deletion",
    "/v1/keys/alias/{alias}/cancel-deletion",
    "/v1/keys/{key}/mark-compromised",
    "/v1/keys/alias/{alias}/mark-compromised",
    "/v1/keys/{key}/data-keys",
    "/v1/keys/alias/{alias}/data-keys",
    "/v1/keys/{key}/encrypt",
    "/v1/keys/alias/{alias}/encrypt",
    "/v1/keys/{key}/sign",
    "/v1/keys/alias/{alias}/sign",
    "/v1/keys/{key}/verify",
    "/v1/keys/alias/{alias}/verify",
    "/v1/keys/{key}/public-key",
    "/v1/keys/alias/{alias}/public-key",
    "/v1/keys/{key}/mac",
    "/v1/keys/alias/{alias}/mac",
    "/v1/keys/{key}/verify-mac",
    "/v1/keys/alias/{alias}/verify-mac",
    "/v1/aliases",
    "/v1/aliases/{alias}",
    "/v1/data-keys/unwrap",
    "/v1/data-keys/rewrap",
    "/v1/decrypt",
};

}  // namespace kms
