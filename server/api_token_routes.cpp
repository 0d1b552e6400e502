#include "server/api_token_routes.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/identity_words.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonReader;

constexpr std::size_t max_token_body_bytes = 16UL * 1024;
constexpr std::size_t max_token_page = 100;
constexpr std::size_t max_token_claims = 32;
constexpr std::size_t max_claim_name_bytes = 64;
constexpr std::size_t max_claim_value_bytes = 256;
constexpr unsigned created = 201;

Resource token_resource(std::string name) {
    Resource resource;
    resource.kind = api_token_kind;
    resource.id = std::move(name);
    return resource;
}

Claims read_token_claims(JsonReader& body) {
    Claims claims;
    auto reader = body.optional_object("claims");
    if (!reader) return claims;
    if (reader->members().size() > max_token_claims) body.refuse("claims", "has too many names");
    std::vector<std::string> names;
    for (const auto& member : reader->members()) names.emplace_back(member.name);
    for (const std::string& name : names) {
        if (!is_sound_name(name) || name.size() > max_claim_name_bytes ||
            name.find('=') != std::string::npos) {
            body.refuse("claims", "has a name that is none: 1 to 64 characters, no '='");
        }
        if (is_reserved_claim(name)) body.refuse("claims", "has a name of the house: " + name);
        auto values = reader->optional_string_array(name, max_token_claims, max_claim_value_bytes);
        if (values.empty() || !std::all_of(values.begin(), values.end(), &is_sound_name)) {
            reader->refuse(name, "must be a list of texts");
        }
        claims.emplace(name, std::move(values));
    }
    return claims;
}

void write_token(base::JsonWriter& out, const ApiToken& token) {
    out.field("id", token.id).field("name", token.name);
    out.field("caller", std::string(api_token_prefix) + token.name);
    out.name("claims").begin_object();
    for (const auto& [name, values] : token.claims) {
        out.name(name).begin_array();
        for (const std::string& value : values) out.string(value);
        out.end_array();
    }
    out.end_object();
    out.field("made_by", token.made_by);
    out.field("created_at", base::to_rfc3339(token.created_at));
    out.field("expires_at", base::to_rfc3339(token.expires_at));
    out.name("revoked_at");
    token.revoked_at ? out.string(base::to_rfc3339(*token.revoked_at)) : out.null();
    if (token.revoked_at) out.field("revoked_by", token.revoked_by);
}

struct TokenPage {
    std::size_t limit = max_token_page;
    std::string cursor;
};

TokenPage read_token_page(const Request& request) {
    TokenPage page;
    for (const auto& [name, value] : request.query_parameters()) {
        if (name == "limit") {
            const char* end = value.data() + value.size();
            const auto [stop, error] = std::from_chars(value.data(), end, page.limit);
            if (error == std::errc() && stop == end && page.limit >= 1 &&
                page.limit <= max_token_page) {
                continue;
            }
            throw Error(ErrorCode::invalid_argument, "\"limit\" in the query must be 1 to 100");
        }
        if (name != "cursor") {
            throw Error(ErrorCode::invalid_argument,
                        "\"" + name + "\" in the query is not a known parameter");
        }
        if (!is_api_token_id(value)) {
            throw Error(ErrorCode::invalid_argument,
                        "\"cursor\" in the query is not one that this service gave");
        }
        page.cursor = value;
    }
    return page;
}

class TokenHandlers {
public:
    TokenHandlers(ApiTokens& tokens, const Authorizer& authorizer, std::chrono::seconds most,
                  OrdersOnce* orders)
        : tokens_(tokens), authorizer_(authorizer), max_lifetime_(most), orders_(orders) {}

    Response create(Operation& operation, const Request& request) const {
        refuse_query(request);
        base::JsonLimits limits;
        limits.bytes = max_token_body_bytes;
        const base::JsonValue value = base::parse_json(request.body, limits);
        JsonReader body(value);
        const std::string name(body.required_string("name", 64));
        if (!is_token_name(name)) {
            body.refuse("name", "must be of a-z, 0-9, '.', '-' and '_', at most 64");
        }
        const Claims claims = read_token_claims(body);
        const std::chrono::seconds lifetime(
            body.optional_integer("expires_in_seconds", 1, max_lifetime_.count())
                .value_or(max_lifetime_.count()));
        body.refuse_unknown();

        const Grant grant = authorize_making(operation, name, claims);
        return do_once(orders_, operation, request, [&](const OrdersOnce::Order& order) {
            if (!order.name.empty()) operation.set_fact("token_id", api_token_id_of(order.name));
            operation.record_intent();
            const MadeApiToken made = tokens_.create(grant, name, claims, lifetime, order.name);
            operation.set_fact("token_id", made.token.id);
            base::JsonWriter answer;
            answer.begin_object().field("token", made.text.expose_text());
            write_token(answer, made.token);
            answer.end_object();
            return OrdersOnce::Outcome{json_answer(std::move(answer), created),
                                       api_token_was_made(made.token.id)};
        });
    }

    Response list(Operation& operation, const Request& request) const {
        const Grant grant = authorizer_.authorize(operation, list_api_tokens, token_resource("*"));
        const TokenPage page = read_token_page(request);
        auto tokens = tokens_.list(grant, page.cursor, page.limit + 1);
        const bool more = tokens.size() > page.limit;
        if (more) tokens.pop_back();
        base::JsonWriter answer;
        answer.begin_object().name("api_tokens").begin_array();
        for (const ApiToken& token : tokens) {
            answer.begin_object();
            write_token(answer, token);
            answer.end_object();
        }
        answer.end_array();
        if (more) answer.field("next_cursor", tokens.back().id);
        answer.end_object();
        return json_answer(std::move(answer));
    }

    Response revoke(Operation& operation, const Request& request) const {
        refuse_query(request);
        const std::string& id = request.path_parameter("id");
        if (!is_api_token_id(id)) {
            throw Error(ErrorCode::invalid_argument,
                        "\"id\" in the path must be the id of an API token: 16 hex digits");
        }
        operation.set_fact("token_id", id);
        const auto token = tokens_.find(id);
        // One that is not there is asked about as "*": who may revoke some only learns nothing.
        const Grant grant = authorizer_.authorize(operation, revoke_api_token,
                                                  token_resource(token ? token->name : "*"));
        return do_once(orders_, operation, request, [&](const OrdersOnce::Order&) {
            operation.record_intent();
            const ApiToken revoked = tokens_.revoke(grant, id);
            base::JsonWriter answer;
            answer.begin_object();
            write_token(answer, revoked);
            answer.end_object();
            return OrdersOnce::Outcome{json_answer(std::move(answer))};
        });
    }

private:
    Grant authorize_making(Operation& operation, const std::string& name,
                           const Claims& claims) const {
        Grant grant = authorizer_.authorize(operation, create_api_token, token_resource(name));
        if (operation.caller().method == AuthenticationMethod::api_token) {
            throw Error(ErrorCode::permission_denied, "an API token can't make API tokens");
        }
        for (const auto& [claim, values] : claims) {
            for (const std::string& value : values) {
                Resource resource;
                resource.kind = claim_kind;
                resource.id = claim;
                resource.id += '=';
                resource.id += value;
                static_cast<void>(
                    authorizer_.authorize(operation, grant_claim, std::move(resource)));
            }
        }
        return grant;
    }

    ApiTokens& tokens_;
    const Authorizer& authorizer_;
    std::chrono::seconds max_lifetime_;
    OrdersOnce* orders_;
};

}  // namespace

PolicyWords with_api_token_actions(PolicyWords words) {
    words.add(api_token_kind, {create_api_token.word, list_api_tokens.word, revoke_api_token.word});
    words.add(claim_kind, {grant_claim.word});
    return words;
}

std::vector<Route> api_token_routes(ApiTokens& tokens, const Authorizer& authorizer,
                                    std::chrono::seconds max_lifetime, OrdersOnce* orders) {
    const TokenHandlers handlers(tokens, authorizer, max_lifetime, orders);
    std::vector<Route> rows;
    rows.push_back(
        changing({Method::POST, "/v1/api-tokens", create_api_token, Access::authenticated,
                  max_token_body_bytes, "Make an API token; the answer alone shows it",
                  [handlers](Operation& operation, const Request& request) {
                      return handlers.create(operation, request);
                  }}));
    rows.push_back({Method::GET, "/v1/api-tokens", list_api_tokens, Access::authenticated, 0,
                    "List API tokens, a page at a time; none is shown itself",
                    [handlers](Operation& operation, const Request& request) {
                        return handlers.list(operation, request);
                    }});
    rows.push_back(
        changing({Method::DELETE, "/v1/api-tokens/{id}", revoke_api_token, Access::authenticated, 0,
                  "Revoke an API token", [handlers](Operation& operation, const Request& request) {
                      return handlers.revoke(operation, request);
                  }}));
    return rows;
}

}  // namespace server
