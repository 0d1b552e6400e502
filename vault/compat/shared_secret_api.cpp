#include "vault/compat/shared_secret_api.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json.h"
#include "base/uuid.h"
#include "server/answer.h"
#include "server/digest.h"
#include "vault/actions.h"
#include "vault/begin_anew.h"
#include "vault/compat/error_shapes.h"
#include "vault/compat/shared_secret_body.h"
#include "vault/credential_answers.h"

namespace vault::compat {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

constexpr std::string_view not_written_through =
    "the credentials are in the vault and not in Directus: store them again";

// These clients expect the id of a row. It is made of the credential's name, so it stays the same
// (RFC 9562 section 5.8).
base::Uuid row_id(const CredentialId& id) {
    const auto digest = server::Sha256().digest(id.owner + '/' + id.name);
    std::array<std::uint8_t, base::Uuid::size> bytes{};
    std::copy_n(digest.begin(), bytes.size(), bytes.begin());
    bytes[6] = static_cast<std::uint8_t>((bytes[6] & 0x0FU) | 0x80U);
    bytes[8] = static_cast<std::uint8_t>((bytes[8] & 0x3FU) | 0x80U);
    return base::Uuid(bytes);
}

// The native API stores any JSON under these names; clients of these shapes know objects only.
Revealed require_object(Revealed revealed) {
    if (revealed.secret.expose_text().starts_with('{')) return revealed;
    throw Error(ErrorCode::failed_precondition, "what is stored there is no credentials object");
}

server::Response not_configured(server::Operation& /*operation*/,
                                const server::Request& /*request*/) {
    base::JsonWriter body;
    body.begin_object().field("success", false);
    body.field("error", "RBAC_SYNC_WEBHOOK_SECRET not set").end_object();
    return server::json_answer(std::move(body), 500);
}

}  // namespace

SharedSecretApi::SharedSecretApi(SharedSecretConfig config, const SharedSecretParts& parts)
    : config_(std::move(config)), parts_(parts) {}

std::vector<server::Route> SharedSecretApi::routes() {
    using server::Access;
    using server::Operation;
    using server::Request;
    const auto row = [this](std::string_view pattern, server::Action action, std::size_t max_body,
                            std::string_view summary, server::Handler handler) {
        server::Route route{server::Method::POST,
                            pattern,
                            action,
                            Access::authenticated,
                            max_body,
                            summary,
                            std::move(handler),
                            shared_secret_error,
                            server::Credential::shared_secret};
        if (parts_.secret_is_set) return route;
        // Nobody can be known here; the answer tells an operator why, and nothing else happens.
        route.access = Access::open;
        route.recorded = true;
        route.handler = not_configured;
        return route;
    };
    return {
        server::changing(row("/api/credentials/store", store_credential, max_credentials_body_bytes,
                             "Store the credentials of a profile",
                             [this](Operation& operation, const Request& request) {
                                 return store(operation, request);
                             })),
        row("/api/credentials/reveal", reveal_credential, max_selector_body_bytes,
            "The credentials of a profile",
            [this](Operation& operation, const Request& request) {
                return reveal(operation, request);
            }),
        row("/api/credentials/reveal-download-cred", reveal_credential, max_selector_body_bytes,
            "The download credential of a profile's platform",
            [this](Operation& operation, const Request& request) {
                return reveal_part(operation, request,
                                   {"download", config_.download_field, "credentials"});
            }),
        row("/api/credentials/get-platform-session", reveal_credential, max_selector_body_bytes,
            "The session of a profile's platform",
            [this](Operation& operation, const Request& request) {
                return reveal_part(operation, request,
                                   {"session", config_.session_field, "session"});
            }),
    };
}

server::Response SharedSecretApi::store(server::Operation& operation,
                                        const server::Request& request) {
    const JsonValue body = read_fields(request, max_credentials_body_bytes);
    const CredentialId id{read_profile(body), config_.name};
    StoreRequest wanted;
    wanted.secret = read_credentials(body);
    const auto grant = parts_.authorizer.authorize(
        operation, store_credential, parts_.service.resource_to_store(parts_.authorizer, id));
    // This shape gives neither metadata nor tags.
    wanted.may_begin_anew = [&] { return may_begin_anew(parts_.authorizer, operation, id); };
    operation.record_intent();
    const StoreResult stored = parts_.service.store(grant, wanted, operation.traceparent());
    note_version(operation, stored.info.current());
    note_replaced(operation, stored);
    require_copy(operation, stored.copy, not_written_through);
    base::JsonWriter answer;
    answer.begin_object().field("success", true).field("creatorProfileId", id.owner);
    answer.field("id", row_id(id).to_string()).end_object();
    return server::json_answer(std::move(answer));
}

Revealed SharedSecretApi::read(server::Operation& operation, const server::Grant& grant) const {
    if (parts_.items == nullptr || !parts_.items->reads_back())
        return require_object(parts_.service.reveal(grant, std::nullopt, operation.traceparent()));
    operation.set_fact("read_from", "directus");
    const DirectusItem item = parts_.items->read(grant.resource().owner);
    return require_object(
        parts_.service.reveal_kept(grant, item.sealed, item.version, operation.traceparent()));
}

server::Response SharedSecretApi::reveal(server::Operation& operation,
                                         const server::Request& request) {
    const JsonValue body = read_fields(request, max_selector_body_bytes);
    const CredentialId id{read_profile(body), config_.name};
    const auto grant = parts_.authorizer.authorize(operation, reveal_credential,
                                                   parts_.service.resource(parts_.authorizer, id));
    const Revealed revealed = read(operation, grant);
    note_version(operation, revealed.version);
    note_data_key(operation, revealed.key_from_cache);
    base::JsonWriter answer;
    answer.begin_object().field("success", true);
    answer.name("credentials").raw(revealed.secret.expose_text()).end_object();
    return server::json_answer(std::move(answer));
}

// The selector is in the question to the policy: who downloads need not be able to see sessions.
server::Response SharedSecretApi::reveal_part(server::Operation& operation,
                                              const server::Request& request, const Part& part) {
    const JsonValue body = read_fields(request, max_selector_body_bytes);
    const CredentialId id{read_profile(body), config_.name};
    const std::string platform = read_platform(body);
    const auto grant = parts_.authorizer.authorize(
        operation, reveal_credential, parts_.service.resource(parts_.authorizer, id),
        {{"platform", platform}, {"part", std::string(part.word)}});
    const Revealed revealed = read(operation, grant);
    note_version(operation, revealed.version);
    note_data_key(operation, revealed.key_from_cache);
    const JsonValue credentials =
        base::parse_json(revealed.secret.expose_text(), {.bytes = max_secret_bytes});
    const JsonValue* found = find_part(credentials, platform, part.field);
    if (found == nullptr) {
        throw Error(ErrorCode::not_found, "no " + std::string(part.word) + " for this platform");
    }
    base::JsonWriter answer;
    answer.begin_object().field("success", true).field("platform", platform);
    answer.name(part.answer).value(*found).end_object();
    return server::json_answer(std::move(answer));
}

}  // namespace vault::compat
