// Replaces an expired token by asking the provider, once for all who want it, on all nodes of one
// store. What comes out is a fresh token or an error, never the expired one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "server/authorizer.h"
#include "server/metrics.h"
#include "vault/compat/broker_record.h"
#include "vault/compat/refresh_leases.h"
#include "vault/compat/token_endpoints.h"
#include "vault/service.h"

namespace server {
class Database;
}

namespace vault::compat {

struct RefreshConfig {
    std::vector<TokenEndpointConfig> endpoints;  // none: no token is refreshed
    // How long a fetch waits for another's refresh, and how long its own may take.
    std::chrono::milliseconds deadline{5000};
    std::size_t max_concurrent = 8;  // fetches that refresh or wait, so that a slow provider does
                                     // not hold every worker
    std::chrono::seconds pause{30};  // after a failure, before the provider is asked again
};

// Whose token it is, and what its caller was granted on it.
struct RefreshRights {
    const server::Grant& reveal;
    const server::Grant& refresh;
};

// References must outlive it.
struct RefreshParts {
    CredentialService& service;
    server::Database& database;
    const base::Clock& clock;
    server::Metrics& metrics;  // counts "tokens_refreshed" and "token_refreshes_failed"
};

// Thread-safe.
class TokenRefresh {
public:
    // Throws as TokenEndpoints and as RefreshLeases.
    TokenRefresh(RefreshConfig config, const RefreshParts& parts);

    // Whether a record with that endpoint can be refreshed here.
    bool allows(std::string_view token_endpoint) const { return endpoints_.allows(token_endpoint); }

    // The record with a token that has not expired, in place of `found`, whose token has (or the
    // record that somebody stored meanwhile and that is not to be refreshed). Stored before it is
    // given out. The operation's fact "token_refresh" says how it went: "refreshed", "by_another",
    // "failed", "refused", "not_stored" or "busy". Throws failed_precondition when the provider
    // refuses or may not be asked; unavailable when it does not answer in time, when too many wait,
    // or while a pause after a failure lasts; and what reveal and store throw.
    BrokerRecord fresh(server::Operation& operation, const RefreshRights& rights,
                       const Revealed& found);

    // For the end of a program: who asks or waits ends now, and who comes later ends at once, both
    // with unavailable.
    void cancel() noexcept;

private:
    class Place;
    using Deadline = std::chrono::steady_clock::time_point;

    BrokerRecord reveal_again(server::Operation& operation, const RefreshRights& rights,
                              std::uint64_t& version);
    BrokerRecord refresh_held(server::Operation& operation, const RefreshRights& rights,
                              const CredentialId& id, const std::string& holder);
    FreshToken ask(server::Operation& operation, const CredentialId& id, const std::string& holder,
                   const RefreshOrder& order);
    BrokerRecord store(server::Operation& operation, const RefreshRights& rights,
                       const BrokerRecord& record, std::uint64_t version);
    bool is_settled(const BrokerRecord& record) const;
    void wait_while_held(const CredentialId& id, Deadline deadline);
    [[noreturn]] void refuse_paused(server::Operation& operation, bool refused);

    const RefreshConfig config_;
    RefreshParts parts_;
    TokenEndpoints endpoints_;
    RefreshLeases leases_;
    std::atomic<std::size_t> busy_ = 0;
    std::atomic<bool> cancelled_ = false;
};

}  // namespace vault::compat
