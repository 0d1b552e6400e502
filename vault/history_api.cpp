#include "vault/history_api.h"

#include "base/json.h"
#include "server/answer.h"
#include "vault/actions.h"
#include "vault/credential_answers.h"
#include "vault/cursors.h"
#include "vault/request_body.h"

namespace vault {
namespace {

using base::JsonReader;
using base::JsonWriter;

constexpr std::size_t max_restore_body_bytes = 1024;

CredentialId credential_in_path(const server::Request& request) {
    return {safe_parameter(request, "owner"), safe_parameter(request, "name")};
}

RestoreRequest read_restore_request(const base::JsonValue& body) {
    JsonReader reader(body);
    RestoreRequest wanted;
    wanted.version = static_cast<std::uint64_t>(reader.required_integer("version", 1, max_version));
    wanted.if_version = read_version(reader, "if_version", 1);
    if (const auto expires_at = reader.optional_string("expires_at", 64)) {
        wanted.expires_at = read_time(reader, "expires_at", *expires_at);
    }
    reader.refuse_unknown();
    return wanted;
}

void write_record(JsonWriter& out, const VersionRecord& record, std::uint64_t current,
                  base::Time now) {
    const VersionInfo& version = record.version;
    out.begin_object().field("version", version.version);
    out.field("current", version.version == current);
    out.field("created_at", base::to_rfc3339(version.created_at));
    write_expiry(out, version);
    out.field("expired", is_expired(version, now));
    if (record.restored_from) out.field("restored_from", *record.restored_from);
    if (record.erased_at) out.field("erased_at", base::to_rfc3339(*record.erased_at));
    out.field("key_id", version.key_id.to_string()).field("key_version", version.key_version);
    out.end_object();
}

}  // namespace

std::vector<server::Route> HistoryApi::routes() {
    using server::Access;
    using server::Method;
    using server::Operation;
    using server::Request;
    return {{Method::GET, "/v1/owners/{owner}/credentials/{name}/versions", describe_credential,
             Access::authenticated, 0,
             "Every version of a credential that there was, a page at a time, never a secret",
             [this](Operation& operation, const Request& request) {
                 return history(operation, request);
             }},
            server::changing({Method::POST, "/v1/owners/{owner}/credentials/{name}/restore",
                              restore_credential, Access::authenticated, max_restore_body_bytes,
                              "Make a new version of a credential from an older one",
                              [this](Operation& operation, const Request& request) {
                                  return restore(operation, request);
                              }})};
}

server::Response HistoryApi::history(server::Operation& operation, const server::Request& request) {
    const CredentialId id = credential_in_path(request);
    const auto grant =
        authorizer_.authorize(operation, describe_credential, service_.resource(authorizer_, id));
    const PageRequest wanted = read_page(request);
    const VersionPage page =
        service_.history(grant, parse_number_cursor(wanted.after, max_version), wanted.limit);
    JsonWriter body;
    body.begin_object().field("owner", id.owner).field("name", id.name);
    body.name("versions").begin_array();
    for (const auto& record : page.versions) {
        write_record(body, record, page.current, service_.now());
    }
    body.end_array();
    if (page.more) write_cursor(body, std::to_string(page.versions.back().version.version));
    body.end_object();
    return server::json_answer(std::move(body));
}

server::Response HistoryApi::restore(server::Operation& operation, const server::Request& request) {
    const auto grant = authorizer_.authorize(
        operation, restore_credential, service_.resource(authorizer_, credential_in_path(request)));
    server::refuse_query(request);
    const RestoreRequest wanted = read_restore_request(read_body(request, max_restore_body_bytes));
    operation.set_fact("restored_from", std::to_string(wanted.version));
    operation.record_intent();
    const auto result = service_.restore(grant, wanted, operation.traceparent());
    note_version(operation, result.info.current());
    require_copy(operation, result.copy, not_copied);
    return credential_answer(result.info, service_.now(), 200);
}

}  // namespace vault
