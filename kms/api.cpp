#include "kms/api.h"

#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "server/operational_routes.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view repeatable_as_is = "it may be repeated as it is";
constexpr std::string_view openapi_text =
    "Every POST, PUT, PATCH and DELETE that changes something (keys, aliases, API tokens, "
    "suspensions, backups) takes the header Idempotency-Key, 1 to 128 visible ASCII characters: "
    "the same request of the same caller has the same answer for 24 hours, another request with "
    "the same key is answered with 409. The text of an API token is shown once: the repeated order "
    "is answered with 409, which names the token that it made. Calls that change nothing (wrap, "
    "open, rewrap, sign, verify) refuse the header with 400 and may be repeated as they are.\n\n"
    "A body of /v1/data-keys/unwrap and /v1/data-keys/rewrap has 18 MiB at most: 1,000 items with "
    "contexts of the largest size, 8 KiB in 64 entries, also where a rewrap has two of them. Where "
    "contexts are full of characters that JSON escapes it may be fewer. A larger body is refused "
    "before any work. Bodies over 16 KiB share 96 MiB over all connections, peers without a client "
    "certificate half of that and one address of theirs 16 MiB, 18 with a batch: beyond that the "
    "answer is 503 with Retry-After, before the body is read.";

}  // namespace

Api::Api(ApiParts parts) : parts_(std::move(parts)) {}

std::vector<server::Route> Api::routes() {
    std::vector<server::Route> rows;
    for (const auto& orders :
         {key_routes(), lifecycle_routes(), alias_routes(), parts_.more_routes}) {
        for (const auto& row : orders) {
            rows.push_back(server::done_once(row, parts_.idempotency, parts_.authorizer));
        }
    }
    for (const auto& calls : {data_key_routes(), text_routes(), signing_routes()}) {
        for (const auto& row : calls) rows.push_back(server::without_orders(row, repeatable_as_is));
    }
    std::vector<server::ReadinessCheck> checks{{"token", [this] { parts_.service.check_token(); }},
                                               {"store", [this] { parts_.store.check(); }},
                                               {"audit", [this] { parts_.audit.check(); }}};
    checks.insert(checks.end(), parts_.more_checks.begin(), parts_.more_checks.end());
    return server::with_operational_routes(
        std::move(rows),
        {parts_.authorizer, parts_.metrics, observe, "kmsd", "Strongroom key service",
         STRONGROOM_VERSION, std::move(checks), std::string(openapi_text)});
}

server::Resource key_resource(const Key& key) {
    server::Resource resource;
    resource.kind = key_kind;
    resource.id = key.id.to_string();
    resource.aliases = key.aliases;
    resource.tags = key.tags;
    return resource;
}

base::JsonValue parse_body(const server::Request& request, std::size_t max_bytes,
                           std::size_t max_values) {
    const std::string_view type = request.header("content-type");
    const std::string_view media_type = type.substr(0, type.find_first_of("; \t"));
    if (!type.empty() && media_type != "application/json") {
        throw Error(ErrorCode::unsupported_media_type, "the body must be application/json");
    }
    base::JsonLimits limits;
    limits.bytes = max_bytes;
    limits.values = max_values;
    return base::parse_json(request.body, limits);
}

base::JsonValue parse_optional_body(const server::Request& request, std::size_t max_bytes) {
    if (request.body.empty()) return base::JsonValue(base::JsonValue::Object{});
    return parse_body(request, max_bytes);
}

server::Resource all_keys() {
    server::Resource resource;
    resource.kind = key_kind;
    resource.id = "*";
    return resource;
}

Api::AllowedKey Api::authorize_key(server::Operation& operation, const server::Request& request,
                                   server::Action action) const {
    NamedKey named = name_key(request);
    server::Grant grant = parts_.authorizer.authorize(operation, action, named.resource);
    if (named.key == nullptr) refuse_unknown_key(parts_.authorizer, operation, named.resource);
    return {std::move(grant), named.key->id};
}

void refuse_unknown_key(const server::Authorizer& authorizer, server::Operation& operation,
                        const server::Resource& resource) {
    if (authorizer.would_allow(operation, describe_key, resource)) {
        throw Error(ErrorCode::not_found, "there is no such key");
    }
    throw Error(ErrorCode::permission_denied, "the caller may not do this");
}

RecordIntent intent_of(server::Operation& operation) {
    return [&operation](const std::map<std::string, std::string>& facts) {
        for (const auto& [name, value] : facts) operation.set_fact(name, value);
        operation.record_intent();
    };
}

OrderContext order_context(const std::string& request_id, server::Operation& operation) {
    return {request_id, intent_of(operation),
            [&operation] { operation.set_fact("repeated", "made before"); }};
}

NamedKey find_named(const CatalogueSnapshot& snapshot, std::string_view name,
                    std::string_view field) {
    constexpr std::string_view by_alias = "alias/";
    NamedKey named;
    named.resource.kind = key_kind;
    if (name.starts_with(by_alias)) {
        const std::string alias(name.substr(by_alias.size()));
        if (!is_alias(alias)) {
            throw Error(ErrorCode::invalid_argument,
                        "\"" + std::string(field) + "\" names an alias that is not well-formed");
        }
        named.key = snapshot.find_alias(alias);
        named.resource.aliases = {alias};
    } else {
        const auto id = base::Uuid::parse(name);
        if (!id) {
            throw Error(
                ErrorCode::invalid_argument,
                "\"" + std::string(field) + "\" must be a UUID in lower case or alias/<name>");
        }
        named.key = snapshot.find(*id);
        named.resource.id = name;
    }
    // An unknown key is asked about as it was named: who may not see it learns nothing.
    if (named.key != nullptr) named.resource = key_resource(*named.key);
    return named;
}

NamedKey Api::name_key(const server::Request& request) const {
    const auto snapshot = parts_.catalogue.snapshot();
    const auto id = request.path_parameters.find("key");
    if (id != request.path_parameters.end()) {
        if (!base::Uuid::parse(id->second)) {
            throw Error(ErrorCode::invalid_argument,
                        "\"key\" in the path must be a UUID in lower case");
        }
        return find_named(*snapshot, id->second, "key");
    }
    const std::string& alias = request.path_parameter("alias");
    if (!is_alias(alias)) {
        throw Error(ErrorCode::invalid_argument, "\"alias\" in the path is not well-formed");
    }
    return find_named(*snapshot, "alias/" + alias, "alias");
}

}  // namespace kms
