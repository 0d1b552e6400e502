#include "kms/api.h"

#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "server/answer.h"
#include "server/openapi.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

// "ok", or what is wrong, in the words that callers may see.
template <typename Check>
std::string state_of(const Check& check) {
    try {
        check();
        return "ok";
    } catch (const Error& error) {
        return error.message();
    }
}

server::Response text_answer(std::string_view text, std::string content_type) {
    server::Response response;
    response.content_type = std::move(content_type);
    response.body = text;
    return response;
}

}  // namespace

Api::Api(const ApiParts& parts) : parts_(parts) {}

std::vector<server::Route> Api::routes() {
    std::vector<server::Route> rows = key_routes();
    for (auto& row : data_key_routes()) rows.push_back(std::move(row));
    for (auto& row : operational_routes()) rows.push_back(std::move(row));
    openapi_ = server::openapi_document(server::RouteTable(rows), "Strongroom key service",
                                        STRONGROOM_VERSION)
                   .text();
    return rows;
}

std::vector<server::Route> Api::operational_routes() {
    using server::Access;
    using server::Method;
    return {
        {Method::GET, "/healthz", observe, Access::open, 0, "Whether the process is alive",
         [](server::Operation&, const server::Request&) {
             base::JsonWriter body;
             body.begin_object().field("status", "ok").end_object();
             return server::json_answer(std::move(body));
         }},
        {Method::GET, "/readyz", observe, Access::observed, 0,
         "Whether token, store and audit log are in order",
         [this](server::Operation& operation, const server::Request&) { return ready(operation); }},
        {Method::GET, "/metrics", observe, Access::observed, 0,
         "Counters and histograms in the Prometheus text format",
         [this](server::Operation& operation, const server::Request&) {
             authorize_observe(operation);
             return text_answer(parts_.metrics.text(), "text/plain; version=0.0.4; charset=utf-8");
         }},
        {Method::GET, "/openapi.json", observe, Access::observed, 0,
         "This interface as an OpenAPI document",
         [this](server::Operation&, const server::Request&) {
             return text_answer(openapi_, "application/json");
         }},
    };
}

server::Response Api::ready(server::Operation& operation) {
    authorize_observe(operation);
    const std::string token = state_of([&] { parts_.service.check_token(); });
    const std::string store = state_of([&] { parts_.store.check(); });
    const std::string audit = state_of([&] { parts_.audit.check(); });
    const bool is_ready = token == "ok" && store == "ok" && audit == "ok";
    base::JsonWriter body;
    body.begin_object().field("ready", is_ready).name("checks").begin_object();
    body.field("token", token).field("store", store).field("audit", audit).end_object();
    body.field("policy_hash", parts_.authorizer.policy_hash()).end_object();
    return server::json_answer(std::move(body), is_ready ? 200 : 503);
}

void Api::authorize_observe(server::Operation& operation) const {
    server::Resource resource;
    resource.kind = service_kind;
    resource.id = "kmsd";
    static_cast<void>(parts_.authorizer.authorize(operation, observe, std::move(resource)));
}

server::Resource key_resource(const Key& key) {
    server::Resource resource;
    resource.kind = key_kind;
    resource.id = key.id.to_string();
    resource.aliases = key.aliases;
    resource.tags = key.tags;
    return resource;
}

base::JsonValue parse_body(const server::Request& request, std::size_t max_bytes) {
    const std::string_view type = request.header("content-type");
    const std::string_view media_type = type.substr(0, type.find_first_of("; \t"));
    if (!type.empty() && media_type != "application/json") {
        throw Error(ErrorCode::unsupported_media_type, "the body must be application/json");
    }
    base::JsonLimits limits;
    limits.bytes = max_bytes;
    return base::parse_json(request.body, limits);
}

Api::NamedKey Api::name_key(const server::Request& request) const {
    const auto snapshot = parts_.catalogue.snapshot();
    NamedKey named;
    named.resource.kind = key_kind;
    const auto id_text = request.path_parameters.find("key");
    if (id_text != request.path_parameters.end()) {
        const auto id = base::Uuid::parse(id_text->second);
        if (!id) {
            throw Error(ErrorCode::invalid_argument,
                        "\"key\" in the path must be a UUID in lower case");
        }
        named.key = snapshot->find(*id);
        named.resource.id = id_text->second;
    } else {
        const std::string& alias = request.path_parameter("alias");
        if (!is_alias(alias)) {
            throw Error(ErrorCode::invalid_argument, "\"alias\" in the path is not well-formed");
        }
        named.key = snapshot->find_alias(alias);
        named.resource.aliases = {alias};
    }
    // An unknown key is asked about as it was named: who may not see it learns nothing.
    if (named.key != nullptr) named.resource = key_resource(*named.key);
    return named;
}

}  // namespace kms
