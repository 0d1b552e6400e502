// The vault's API: JSON over HTTP. Shapes of requests and answers, and the question to the
// authorizer; what is done is vault/service. Fields are checked here, one by one, by name.
#pragma once

#include <vector>

#include "base/log.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/idempotency.h"
#include "server/metrics.h"
#include "server/operational_routes.h"
#include "server/route.h"
#include "vault/data_keys.h"
#include "vault/destruction_api.h"
#include "vault/history_api.h"
#include "vault/list_api.h"
#include "vault/service.h"
#include "vault/store.h"

namespace vault {

// What the handlers work with; everything must outlive them.
struct ApiParts {
    CredentialService& service;
    const server::Authorizer& authorizer;
    Store& store;  // for /readyz, as are keys and audit
    DataKeys& keys;
    const server::AuditLog& audit;
    const server::Metrics& metrics;
    std::vector<server::Route> more_routes{};           // of the daemon's, as ours
    std::vector<server::ReadinessCheck> more_checks{};  // for /readyz
    base::Log* log = nullptr;                           // of rows that can't be shown
    // What every daemon serves: their orders are done once, by `orders`.
    std::vector<server::Route> common_routes{};
    server::Idempotency* orders = nullptr;  // null: an order that is named is refused
    // Those whose callers were written for another service, which knew no Idempotency-Key: they
    // leave the header alone.
    std::vector<server::Route> foreign_routes{};
};

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class Api {
public:
    explicit Api(ApiParts parts);
    Api(const Api&) = delete;
    Api& operator=(const Api&) = delete;

    // Every row of the service, operational ones included.
    std::vector<server::Route> routes();

private:
    server::Response store(server::Operation& operation, const server::Request& request);
    server::Response describe(server::Operation& operation, const server::Request& request);
    server::Response reveal(server::Operation& operation, const server::Request& request);
    server::Response reveal_many(server::Operation& operation, const server::Request& request);

    // Asks for `action` on the credential in the path. An unknown and a forbidden one look alike,
    // since the question comes before the search. Throws invalid_argument naming the parameter.
    server::Grant authorize(server::Operation& operation, server::Action action,
                            const server::Request& request) const;

    // The tags that the credential has now, none if it is not there, when the caller may give it
    // `tags` instead; empty when they can't be read, and he may whatever they are. Throws
    // permission_denied.
    std::optional<Tags> require_new_tags(server::Operation& operation, server::Resource resource,
                                         const Tags& tags) const;

    ApiParts parts_;
    ListApi list_;
    HistoryApi history_;
    DestructionApi destruction_;
};

}  // namespace vault
