// The shape of servers that know each other by one secret: POST /api/credentials/store, /reveal,
// /reveal-download-cred and /get-platform-session, with X-RBAC-SYNC-SECRET. Shapes of requests and
// answers only; what is done is vault/service. See README.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/authorizer.h"
#include "server/route.h"
#include "vault/compat/directus_items.h"
#include "vault/service.h"

namespace vault::compat {

inline constexpr std::string_view sync_secret_header = "x-rbac-sync-secret";

struct SharedSecretConfig {
    std::string name =
        "platforms";  // a profile's credential is credential:<creatorProfileId>/<name>
    std::string download_field = "download";  // of one platform's entry
    std::string session_field = "session";
    std::optional<DirectusConfig> directus{};  // where stores are written through to
};

// References must outlive the API.
struct SharedSecretParts {
    CredentialService& service;
    const server::Authorizer& authorizer;
    // Whether a shared secret is configured that comes in sync_secret_header. Without one every
    // call is answered 500, as these clients expect, and nothing is done.
    bool secret_is_set = false;
    const DirectusItems* items = nullptr;  // that reveals may read from; null: there is none
};

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class SharedSecretApi {
public:
    SharedSecretApi(SharedSecretConfig config, const SharedSecretParts& parts);
    SharedSecretApi(const SharedSecretApi&) = delete;
    SharedSecretApi& operator=(const SharedSecretApi&) = delete;

    std::vector<server::Route> routes();

private:
    // A part of one platform's entry, and the field of the answer that holds it.
    struct Part {
        std::string_view word;
        const std::string& field;
        std::string_view answer;
    };

    server::Response store(server::Operation& operation, const server::Request& request);
    server::Response reveal(server::Operation& operation, const server::Request& request);
    server::Response reveal_part(server::Operation& operation, const server::Request& request,
                                 const Part& part);

    Revealed read(server::Operation& operation, const server::Grant& grant) const;

    SharedSecretConfig config_;
    SharedSecretParts parts_;
};

}  // namespace vault::compat
