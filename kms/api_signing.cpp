// Signatures, MACs and public keys on the wire.
#include <charconv>

#include "base/error.h"
#include "base/json.h"
#include "hsm/public_key.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "server/answer.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

// A message in base64, a signature and the names of the fields.
constexpr std::size_t max_signing_body_bytes = 96UL * 1024;
// More than any signature of ours: what is too long is not valid, and no error.
constexpr std::size_t max_signature_bytes = 1024;
constexpr std::int64_t max_version_number = 0x7fffffff;

// A body with a message, and whatever else the route has.
struct SigningBody {
    base::Bytes message;
    base::Bytes proof;  // signature or MAC; empty when the route has none
    std::optional<std::uint32_t> version;
};

SigningBody read_signing_body(const server::Request& request, std::string_view proof_name = {}) {
    server::refuse_query(request);
    const base::JsonValue document = parse_body(request, max_signing_body_bytes);
    base::JsonReader reader(document);
    SigningBody body;
    body.message = reader.required_base64("message", max_message_bytes, 0);
    if (!proof_name.empty()) {
        body.proof = reader.required_base64(proof_name, max_signature_bytes, 0);
        if (const auto version = reader.optional_integer("key_version", 1, max_version_number))
            body.version = static_cast<std::uint32_t>(*version);
    }
    reader.refuse_unknown();
    return body;
}

// ?version=N and nothing else.
std::optional<std::uint32_t> read_version_query(const server::Request& request) {
    std::optional<std::uint32_t> version;
    for (const auto& [name, value] : request.query_parameters()) {
        if (name != "version")
            throw Error(ErrorCode::invalid_argument, "\"" + name + "\" is unknown in the query");
        std::uint32_t number = 0;
        const char* end = value.data() + value.size();
        const auto parsed = std::from_chars(value.data(), end, number);
        if (parsed.ec != std::errc() || parsed.ptr != end || number < 1 ||
            number > max_version_number)
            throw Error(ErrorCode::invalid_argument,
                        "\"version\" in the query must be a number from 1");
        version = number;
    }
    return version;
}

server::Response answer_signed(server::Operation& operation, const base::Uuid& key_id,
                               std::string_view name, const Signed& made) {
    operation.set_fact("key_version", std::to_string(made.key_version));
    operation.set_fact("algorithm", std::string(made.algorithm));
    base::JsonWriter answer;
    answer.begin_object().name(name).base64(made.value);
    answer.field("key_id", key_id.to_string()).field("key_version", made.key_version);
    answer.field("algorithm", made.algorithm).end_object();
    return server::json_answer(std::move(answer));
}

server::Response answer_verified(server::Operation& operation, const Verified& verified) {
    operation.set_fact("valid", verified.valid ? "true" : "false");
    base::JsonWriter answer;
    answer.begin_object().field("valid", verified.valid);
    if (verified.valid) {
        operation.set_fact("key_version", std::to_string(verified.key_version));
        answer.field("key_version", verified.key_version);
    }
    answer.end_object();
    return server::json_answer(std::move(answer));
}

}  // namespace

std::vector<server::Route> Api::signing_routes() {
    using server::Method;
    struct Row {
        Method method;
        std::string_view by_id;
        std::string_view by_alias;
        server::Action action;
        std::size_t max_body_bytes;
        std::string_view summary;
        server::Response (Api::*handler)(server::Operation&, const server::Request&);
    };
    const std::vector<Row> rows{
        {Method::POST, "/v1/keys/{key}/sign", "/v1/keys/alias/{alias}/sign", sign_action,
         max_signing_body_bytes, "Sign a message with the primary version of a key pair",
         &Api::sign},
        {Method::POST, "/v1/keys/{key}/verify", "/v1/keys/alias/{alias}/verify", verify_action,
         max_signing_body_bytes, "Tell whether a signature is of a message by a key pair",
         &Api::verify},
        {Method::GET, "/v1/keys/{key}/public-key", "/v1/keys/alias/{alias}/public-key",
         get_public_key, 0, "The public half of a key pair", &Api::give_public_key},
        {Method::POST, "/v1/keys/{key}/mac", "/v1/keys/alias/{alias}/mac", mac_action,
         max_signing_body_bytes, "Make the MAC of a message with the primary version of a MAC key",
         &Api::mac},
        {Method::POST, "/v1/keys/{key}/verify-mac", "/v1/keys/alias/{alias}/verify-mac",
         verify_mac_action, max_signing_body_bytes,
         "Tell whether a MAC is of a message by a MAC key", &Api::verify_mac},
    };
    // Routes hold views: of these texts, which live as long as the program.
    std::vector<server::Route> routes;
    for (const Row& row : rows) {
        const auto handler = [this, act = row.handler](server::Operation& operation,
                                                       const server::Request& request) {
            return (this->*act)(operation, request);
        };
        for (const std::string_view pattern : {row.by_id, row.by_alias}) {
            routes.push_back({row.method, pattern, row.action, server::Access::authenticated,
                              row.max_body_bytes, row.summary, handler});
        }
    }
    return routes;
}

Api::SigningGrant Api::authorize_signing(server::Operation& operation,
                                         const server::Request& request, server::Action action) {
    NamedKey named = name_key(request);
    server::Grant grant = parts_.authorizer.authorize(operation, action, named.resource);
    if (named.key == nullptr) refuse_unknown_key(parts_.authorizer, operation, named.resource);
    bool may_use_compromised = false;
    if (named.key->state == KeyState::compromised) {
        // Asked for and not only looked up, so that the record says whose right it was.
        try {
            static_cast<void>(
                parts_.authorizer.authorize(operation, use_compromised_key, named.resource));
            may_use_compromised = true;
        } catch (const Error& error) {
            if (error.code() != ErrorCode::permission_denied) throw;
        }
    }
    return {std::move(grant), named.key->id, may_use_compromised};
}

server::Response Api::sign(server::Operation& operation, const server::Request& request) {
    const SigningBody body = read_signing_body(request);
    const SigningGrant grant = authorize_signing(operation, request, sign_action);
    return answer_signed(operation, grant.key_id, "signature",
                         parts_.signing.sign(grant.request(), body.message));
}

server::Response Api::verify(server::Operation& operation, const server::Request& request) {
    const SigningBody body = read_signing_body(request, "signature");
    const SigningGrant grant = authorize_signing(operation, request, verify_action);
    return answer_verified(
        operation, parts_.signing.verify(grant.request(), body.message, body.proof, body.version));
}

server::Response Api::give_public_key(server::Operation& operation,
                                      const server::Request& request) {
    const auto version = read_version_query(request);
    const SigningGrant grant = authorize_signing(operation, request, get_public_key);
    const NamedPublicKey given = parts_.signing.public_key(grant.request(), version);
    operation.set_fact("key_version", std::to_string(given.key_version));
    base::JsonWriter answer;
    answer.begin_object().field("public_key", hsm::to_pem(given.public_key));
    answer.field("key_id", grant.key_id.to_string()).field("key_version", given.key_version);
    answer.field("algorithm", given.algorithm).end_object();
    return server::json_answer(std::move(answer));
}

server::Response Api::mac(server::Operation& operation, const server::Request& request) {
    const SigningBody body = read_signing_body(request);
    const SigningGrant grant = authorize_signing(operation, request, mac_action);
    return answer_signed(operation, grant.key_id, "mac",
                         parts_.signing.mac(grant.request(), body.message));
}

server::Response Api::verify_mac(server::Operation& operation, const server::Request& request) {
    const SigningBody body = read_signing_body(request, "mac");
    const SigningGrant grant = authorize_signing(operation, request, verify_mac_action);
    return answer_verified(operation, parts_.signing.verify_mac(grant.request(), body.message,
                                                                body.proof, body.version));
}

}  // namespace kms
