#include "vault/compat/broker_api.h"

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "vault/actions.h"
#include "vault/begin_anew.h"
#include "vault/compat/broker_record.h"
#include "vault/compat/error_shapes.h"
#include "vault/credential_answers.h"
#include "vault/request_body.h"

namespace vault::compat {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_broker_body_bytes = 128UL * 1024;

BrokerRecord read_record(const server::Request& request) {
    return BrokerRecord::from_client(
        request.body.empty() ? base::JsonValue() : read_body(request, max_broker_body_bytes));
}

// Metadata is stored in clear. It is read anew, so that nobody with a hand in the database can
// write other fields into an answer.
void write_metadata(base::JsonWriter& out, const CredentialInfo& info) {
    try {
        const auto metadata = base::parse_json(info.metadata, {.bytes = max_metadata_bytes});
        if (metadata.object() == nullptr) throw base::decryption_failed("metadata is no object");
        for (const auto& member : *metadata.object()) {
            if (is_public(member.name)) out.name(member.name).value(member.value);
        }
    } catch (const Error& error) {
        throw base::decryption_failed("stored metadata: " + error.message());
    }
}

server::Response metadata_answer(const CredentialInfo& info, bool stored, unsigned status) {
    base::JsonWriter body;
    body.begin_object();
    if (stored) body.field("success", true);
    write_metadata(body, info);
    body.field("updated_at", base::to_rfc3339(info.updated_at)).end_object();
    return server::json_answer(std::move(body), status);
}

}  // namespace

BrokerApi::BrokerApi(BrokerConfig config, const RefreshParts& parts,
                     const server::Authorizer& authorizer)
    : config_(std::move(config)),
      service_(parts.service),
      metrics_(parts.metrics),
      authorizer_(authorizer),
      refresh_(config_.refresh, parts) {}

std::vector<server::Route> BrokerApi::routes() {
    using server::Access;
    using server::Method;
    using server::Operation;
    using server::Request;
    constexpr std::string_view one = "/api/credentials";
    return {
        server::changing({Method::POST, one, store_credential, Access::authenticated,
                          max_broker_body_bytes, "Store a client's token",
                          [this](Operation& operation, const Request& request) {
                              return store(operation, request);
                          },
                          broker_error}),
        {Method::GET, one, describe_credential, Access::authenticated, 0,
         "What is known of a client, never its token",
         [this](Operation& operation, const Request& request) {
             return describe(operation, request);
         },
         broker_error},
        {Method::GET, "/api/credentials/token", reveal_credential, Access::authenticated, 0,
         "A client's token, refreshed when it has expired and can be",
         [this](Operation& operation, const Request& request) { return token(operation, request); },
         broker_error},
    };
}

CredentialId BrokerApi::wanted_client(const server::Request& request) const {
    const auto parameters = request.query_parameters();
    for (const auto& [name, value] : parameters) {
        if (name == "client_id") continue;
        throw Error(ErrorCode::invalid_argument, name + " is not a known parameter");
    }
    const auto found = parameters.find("client_id");
    const std::string& client = found == parameters.end() ? config_.default_client : found->second;
    if (!is_safe_name(client)) throw Error(ErrorCode::invalid_argument, "client_id required");
    return {config_.owner, client};
}

server::Response BrokerApi::store(server::Operation& operation, const server::Request& request) {
    const BrokerRecord record = read_record(request);
    const auto order = record.refresh();
    if (order && !refresh_.allows(order->token_endpoint)) {
        throw Error(ErrorCode::invalid_argument, "refresh.token_endpoint is not allowed here");
    }
    StoreRequest wanted;
    wanted.secret = record.secret();
    if (wanted.secret.size() > max_secret_bytes) {
        throw Error(ErrorCode::invalid_argument, "the record must have at most " +
                                                     std::to_string(max_secret_bytes) +
                                                     " bytes as compact JSON");
    }
    wanted.metadata = record.metadata();
    wanted.expires_at = record.expires_at();
    const CredentialId id{config_.owner, record.client_id()};
    const auto grant = authorizer_.authorize(operation, store_credential,
                                             service_.resource_to_store(authorizer_, id));
    // This shape gives no tags.
    wanted.may_begin_anew = [&] { return may_begin_anew(authorizer_, operation, id); };
    operation.record_intent();
    const StoreResult stored = service_.store(grant, wanted, operation.traceparent());
    note_version(operation, stored.info.current());
    note_replaced(operation, stored);
    require_copy(operation, stored.copy, not_copied);
    return metadata_answer(stored.info, true, stored.created ? 201 : 200);
}

server::Response BrokerApi::describe(server::Operation& operation, const server::Request& request) {
    const auto grant = authorizer_.authorize(
        operation, describe_credential, service_.resource(authorizer_, wanted_client(request)));
    return metadata_answer(service_.describe(grant), false, 200);
}

// What was fetched, and whether it had expired, stands in the record of each fetch.
server::Response BrokerApi::token(server::Operation& operation, const server::Request& request) {
    const auto resource = service_.resource(authorizer_, wanted_client(request));
    const auto grant = authorizer_.authorize(operation, reveal_credential, resource);
    const Revealed found = service_.reveal(grant, std::nullopt, operation.traceparent());
    note_version(operation, found.version);
    note_data_key(operation, found.key_from_cache);
    BrokerRecord record = BrokerRecord::from_secret(found.secret);
    const bool was_expired = record.is_expired(service_.now());
    operation.set_fact("token_expired", was_expired ? "true" : "false");
    metrics_.count(was_expired ? "expired_tokens_fetched" : "tokens_fetched");
    if (was_expired && record.refresh()) {
        const auto right = authorizer_.authorize(operation, refresh_credential, resource);
        record = refresh_.fresh(operation, {grant, right}, found);
    }
    base::JsonWriter body;
    body.begin_object();
    record.write_token(body);
    body.field("token_expired", record.is_expired(service_.now())).end_object();
    return server::json_answer(std::move(body));
}

}  // namespace vault::compat
