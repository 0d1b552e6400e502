// The paths of the vault's own API, for judging a configuration when there is no Api to ask.
// The routes() of Api, HistoryApi, ListApi, DestructionApi, RewrapApi and ValueApi are the table;
// tests compare the two.
#pragma once

#include <array>
#include <string_view>

namespace vault {

inline constexpr std::array<std::string_view, 15> api_paths{
    "/v1/credentials",
    "/v1/owners/{owner}/credentials",
    "/v1/owners/{owner}/credentials/{name}",
    "/v1/owners/{owner}/credentials/{name}/reveal",
    "/v1/owners/{owner}/credentials/{name}/versions",
    "/v1/owners/{owner}/credentials/{name}/restore",
    "/v1/owners/{owner}/reveal",
    "/v1/owners/{owner}/erase",
    "/v1/owners/{owner}/destructions",
    "/v1/rewrap-jobs",
    "/v1/rewrap-jobs/{id}",
    "/v1/rewrap-jobs/{id}/failures",
    "/v1/rewrap-jobs/{id}/cancel",
    "/v1/seal",
    "/v1/open",
};

// Of the older shapes (vault/compat), where they are configured.
inline constexpr std::array<std::string_view, 4> shared_secret_paths{
    "/api/credentials/store",
    "/api/credentials/reveal",
    "/api/credentials/reveal-download-cred",
    "/api/credentials/get-platform-session",
};
inline constexpr std::array<std::string_view, 2> broker_paths{
    "/api/credentials",
    "/api/credentials/token",
};

}  // namespace vault
