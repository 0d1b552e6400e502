// The key service's native dialect: JSON over HTTP. Shapes of requests and answers, and the
// question to the authorizer; what is done is kms/service. Fields are checked here, one by one, by
// name.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "kms/catalogue.h"
#include "kms/lifecycle.h"
#include "kms/service.h"
#include "kms/signing.h"
#include "kms/store.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/idempotency.h"
#include "server/metrics.h"
#include "server/operational_routes.h"
#include "server/route.h"

namespace kms {

// What the handlers work with; everything must outlive them.
struct ApiParts {
    KeyService& service;
    KeyLifecycle& lifecycle;
    server::Idempotency& idempotency;
    KeySigning& signing;
    const Catalogue& catalogue;
    const server::Authorizer& authorizer;
    Store& store;
    server::AuditLog& audit;
    server::Metrics& metrics;
    // Of the daemon's, in the OpenAPI document like ours; what changes something there does it by
    // the same `idempotency`.
    std::vector<server::Route> more_routes{};
    std::vector<server::ReadinessCheck> more_checks{};  // for /readyz
};

// A key as a request names it: what the policy is asked about, and the key if there is one.
struct NamedKey {
    server::Resource resource;
    KeyPointer key;
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
    // The right to one act of KeySigning.
    struct SigningGrant {
        server::Grant grant;
        base::Uuid key_id;
        bool may_use_compromised = false;
        SigningRequest request() const { return {&grant, key_id, may_use_compromised}; }
    };

    std::vector<server::Route> key_routes();
    std::vector<server::Route> lifecycle_routes();
    std::vector<server::Route> alias_routes();
    std::vector<server::Route> data_key_routes();
    std::vector<server::Route> text_routes();
    std::vector<server::Route> signing_routes();

    server::Response create(server::Operation& operation, const server::Request& request);
    server::Response list(server::Operation& operation, const server::Request& request);
    server::Response describe(server::Operation& operation, const server::Request& request);
    server::Response change(server::Operation& operation, const server::Request& request);
    server::Response rotate(server::Operation& operation, const server::Request& request);
    // A method of KeyLifecycle that takes a key to another state.
    using Transition = KeyPointer (KeyLifecycle::*)(const server::Grant&, const base::Uuid&,
                                                    const OrderContext&);
    server::Response go_to_state(server::Operation& operation, const server::Request& request,
                                 server::Action action, Transition transition);
    server::Response schedule_deletion(server::Operation& operation,
                                       const server::Request& request);
    server::Response put_alias(server::Operation& operation, const server::Request& request);
    server::Response delete_alias(server::Operation& operation, const server::Request& request);
    server::Response list_aliases(server::Operation& operation, const server::Request& request);
    server::Response create_data_keys(server::Operation& operation, const server::Request& request);
    server::Response unwrap(server::Operation& operation, const server::Request& request);
    // One pass over the token for all of them.
    void unwrap_together(std::span<server::JointCall> calls);
    server::Response rewrap(server::Operation& operation, const server::Request& request);
    server::Response encrypt(server::Operation& operation, const server::Request& request);
    server::Response decrypt(server::Operation& operation, const server::Request& request);

    server::Response sign(server::Operation& operation, const server::Request& request);
    server::Response verify(server::Operation& operation, const server::Request& request);
    server::Response give_public_key(server::Operation& operation, const server::Request& request);
    server::Response mac(server::Operation& operation, const server::Request& request);
    server::Response verify_mac(server::Operation& operation, const server::Request& request);
    // Asks for `action` on the key that the path names. Throws permission_denied, not_found.
    SigningGrant authorize_signing(server::Operation& operation, const server::Request& request,
                                   server::Action action);

    // The key of the path with the right to do `action` to it. Throws permission_denied, not_found.
    struct AllowedKey {
        server::Grant grant;
        base::Uuid id;
    };
    AllowedKey authorize_key(server::Operation& operation, const server::Request& request,
                             server::Action action) const;
    // Does an order on one key once; answers with the key as it is then.
    server::Response order_once(server::Operation& operation, const server::Request& request,
                                const base::Uuid& key_id,
                                const std::function<KeyPointer(const OrderContext&)>& order);
    // From the path's {key} or {alias}. Throws invalid_argument naming the parameter.
    NamedKey name_key(const server::Request& request) const;

    ApiParts parts_;
};

// How the audit log takes down what the order of `operation`, which must outlive this, is about to
// do.
RecordIntent intent_of(server::Operation& operation);

// An order's context in the key service. `operation` must outlive it.
OrderContext order_context(const std::string& request_id, server::Operation& operation);

// What a policy is asked about when `key` is acted on.
server::Resource key_resource(const Key& key);

// What the policy is asked about, and the key if there is one, by "<uuid>" or "alias/<name>".
// Throws invalid_argument, naming `field`, when it is neither.
NamedKey find_named(const CatalogueSnapshot& snapshot, std::string_view name,
                    std::string_view field);

// The JSON of a request's body. Throws unsupported_media_type when it says that it is something
// else, and invalid_argument when it has more than `max_values` values; 0: as many as fit.
base::JsonValue parse_body(const server::Request& request, std::size_t max_bytes,
                           std::size_t max_values = 0);
// The same, where no body stands for {}.
base::JsonValue parse_optional_body(const server::Request& request, std::size_t max_bytes);

// For a key that a caller named and that is not there: throws not_found when he may describe it,
// else permission_denied, as for a key that he may not use, so that the two look alike.
[[noreturn]] void refuse_unknown_key(const server::Authorizer& authorizer,
                                     server::Operation& operation,
                                     const server::Resource& resource);

// What a policy is asked about for an action on all keys.
server::Resource all_keys();

}  // namespace kms
