#include "vault/destruction_api.h"

#include <limits>

#include "base/json.h"
#include "server/answer.h"
#include "vault/actions.h"
#include "vault/credential_answers.h"
#include "vault/cursors.h"

namespace vault {
namespace {

using base::JsonWriter;

void write_record(JsonWriter& out, const DestructionRecord& record) {
    out.begin_object().field("id", record.id.to_string()).field("text", record.text);
    if (const auto& signature = record.signature) {
        out.name("signature").base64(signature->bytes);
        out.field("algorithm", signature->algorithm);
        out.field("key_id", signature->key.key_id.to_string());
        out.field("key_version", signature->key.version);
    }
    out.end_object();
}

void note_destruction(server::Operation& operation, const Destruction& made) {
    operation.set_fact("destruction", made.id.to_string());
    operation.set_fact("versions", std::to_string(made.versions()));
}

}  // namespace

std::vector<server::Route> DestructionApi::routes() {
    using server::Access;
    using server::Method;
    using server::Operation;
    using server::Request;
    return {
        server::changing({Method::DELETE, "/v1/owners/{owner}/credentials/{name}",
                          delete_credential, Access::authenticated, 0,
                          "Destroy the wrapped data keys of all versions of a credential",
                          [this](Operation& operation, const Request& request) {
                              return destroy(operation, request);
                          }}),
        server::changing({Method::POST, "/v1/owners/{owner}/erase", erase_owner,
                          Access::authenticated, 0,
                          "Destroy up to 100 of an owner's credentials; again until it is complete",
                          [this](Operation& operation, const Request& request) {
                              return erase(operation, request);
                          }}),
        {Method::GET, "/v1/owners/{owner}/destructions", list_destructions, Access::authenticated,
         0, "The signed records of what was destroyed of an owner, a page at a time",
         [this](Operation& operation, const Request& request) { return list(operation, request); }},
    };
}

server::Response DestructionApi::destroy(server::Operation& operation,
                                         const server::Request& request) {
    const CredentialId id{safe_parameter(request, "owner"), safe_parameter(request, "name")};
    const auto grant =
        authorizer_.authorize(operation, delete_credential, service_.resource(authorizer_, id));
    server::refuse_query(request);
    operation.record_intent();
    const Destroyed done = service_.destroy(grant, operation.traceparent());
    note_destruction(operation, done.destruction);
    require_copy(operation, done.copy, copy_not_destroyed);
    JsonWriter body;
    body.begin_object().name("destroyed").begin_object();
    body.field("owner", id.owner).field("name", id.name);
    body.field("versions", done.destruction.versions());
    body.field("at", base::to_rfc3339(done.destruction.at)).end_object();
    body.name("record");
    write_record(body, done.record);
    body.end_object();
    return server::json_answer(std::move(body));
}

server::Response DestructionApi::erase(server::Operation& operation,
                                       const server::Request& request) {
    const std::string owner = safe_parameter(request, "owner");
    const auto grant = authorizer_.authorize(operation, erase_owner, credentials_resource(owner));
    server::refuse_query(request);
    operation.record_intent();
    const Destroyed done = service_.erase_owner(grant, operation.traceparent());
    const Destruction& made = done.destruction;
    const Erasure erasure = made.erasure.value_or(Erasure{});
    note_destruction(operation, made);
    operation.set_fact("erasure", erasure.id.to_string());
    operation.set_fact("part", std::to_string(erasure.part));
    for (std::size_t i = 0; i < made.credentials.size(); ++i) {
        operation.add_item({made.credentials[i].name, "ok", {}, std::to_string(i), 0});
    }
    require_copy(operation, done.copy, copy_not_destroyed);
    JsonWriter body;
    body.begin_object().name("destroyed").begin_object().field("owner", owner);
    body.field("credentials", std::uint64_t{made.credentials.size()});
    body.field("versions", made.versions()).field("at", base::to_rfc3339(made.at)).end_object();
    body.name("erasure").begin_object().field("id", erasure.id.to_string());
    body.field("part", erasure.part).field("credentials", erasure.credentials);
    body.field("versions", erasure.versions).field("complete", erasure.complete).end_object();
    body.name("record");
    write_record(body, done.record);
    body.end_object();
    return server::json_answer(std::move(body));
}

server::Response DestructionApi::list(server::Operation& operation,
                                      const server::Request& request) {
    const std::string owner = safe_parameter(request, "owner");
    const auto grant =
        authorizer_.authorize(operation, list_destructions, credentials_resource(owner));
    const PageRequest wanted = read_page(request, {"name"});
    const auto name = wanted.more.find("name");
    if (name != wanted.more.end() && !is_safe_name(name->second)) {
        refuse_parameter("name", "is no name of a credential");
    }
    const DestructionPage page = service_.destructions(
        grant, name == wanted.more.end() ? std::string() : name->second,
        parse_number_cursor(wanted.after, std::numeric_limits<std::int64_t>::max()), wanted.limit);
    JsonWriter body;
    body.begin_object().name("destructions").begin_array();
    for (const auto& record : page.records) write_record(body, record);
    body.end_array();
    if (page.more) write_cursor(body, std::to_string(page.last));
    body.end_object();
    return server::json_answer(std::move(body));
}

}  // namespace vault
