// The key service's native dialect: JSON over HTTP. Shapes of requests and answers, and the
// question to the authorizer; what is done is kms/service. Fields are checked here, one by one, by
// name.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "kms/catalogue.h"
#include "kms/lifecycle.h"
#include "kms/service.h"
#include "kms/store.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/metrics.h"
#include "server/route.h"

namespace kms {

// What the handlers work with; everything must outlive them.
struct ApiParts {
    KeyService& service;
    KeyLifecycle& lifecycle;
    const Catalogue& catalogue;
    const server::Authorizer& authorizer;
    Store& store;
    const server::AuditLog& audit;
    server::Metrics& metrics;
};

// A key as a request names it: what the policy is asked about, and the key if there is one.
struct NamedKey {
    server::Resource resource;
    KeyPointer key;
};

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class Api {
public:
    explicit Api(const ApiParts& parts);
    Api(const Api&) = delete;
    Api& operator=(const Api&) = delete;

    // Every row of the service, operational ones included.
    std::vector<server::Route> routes();

private:
    std::vector<server::Route> key_routes();
    std::vector<server::Route> data_key_routes();
    std::vector<server::Route> text_routes();

    server::Response create(server::Operation& operation, const server::Request& request);
    server::Response list(server::Operation& operation, const server::Request& request);
    server::Response describe(server::Operation& operation, const server::Request& request);
    server::Response create_data_keys(server::Operation& operation, const server::Request& request);
    server::Response unwrap(server::Operation& operation, const server::Request& request);
    server::Response rewrap(server::Operation& operation, const server::Request& request);
    server::Response encrypt(server::Operation& operation, const server::Request& request);
    server::Response decrypt(server::Operation& operation, const server::Request& request);

    // From the path's {key} or {alias}. Throws invalid_argument naming the parameter.
    NamedKey name_key(const server::Request& request) const;

    ApiParts parts_;
};

// What a policy is asked about when `key` is acted on.
server::Resource key_resource(const Key& key);

// What the policy is asked about, and the key if there is one, by "<uuid>" or "alias/<name>".
// Throws invalid_argument, naming `field`, when it is neither.
NamedKey find_named(const CatalogueSnapshot& snapshot, std::string_view name,
                    std::string_view field);

// The JSON of a request's body. Throws unsupported_media_type when it says that it is something
// else.
base::JsonValue parse_body(const server::Request& request, std::size_t max_bytes);

}  // namespace kms
