// The configuration "identity" of both daemons (deploy/examples/kmsd.json), and what is built from
// it. Without it only client certificates are taken. No secret is in it.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "server/https_client.h"
#include "server/identity.h"
#include "server/introspection.h"
#include "server/jwks_source.h"
#include "server/jwt.h"

namespace server {

struct ApiTokenConfig {
    std::chrono::hours max_lifetime = std::chrono::days(90);
    std::filesystem::path key_file;  // mode 0600; the same on every node of one database
};

struct JwtIssuerConfig {
    JwtRules rules;
    JwksTimes times;
    std::filesystem::path file;  // of the two exactly one is given
    std::optional<HttpsConfig> https;
};

struct IntrospectionConfig {
    IntrospectionRules rules;
    HttpsConfig https;
};

struct SharedSecretConfig {
    struct OneCaller {
        std::string name;
        std::vector<std::filesystem::path> hash_files;
    };
    std::vector<std::string> headers = {"x-strongroom-secret"};  // lower case; never empty
    std::vector<OneCaller> callers;
};

struct IdentityConfig {
    bool client_certificates = true;
    std::optional<ApiTokenConfig> api_tokens;
    std::vector<JwtIssuerConfig> jwt;
    std::optional<IntrospectionConfig> introspection;
    std::optional<SharedSecretConfig> shared_secrets;
    std::vector<RouteMethods> routes;
};

// "identity", which may be absent. Reads no file but the configuration. Throws invalid_argument
// naming the field.
IdentityConfig read_identity_config(base::JsonReader& top, const std::filesystem::path& folder);

}  // namespace server
