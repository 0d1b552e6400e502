// Aliases on the wire: the names by which callers find keys.
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/api_page.h"
#include "server/answer.h"

namespace kms {
namespace {

constexpr std::size_t max_alias_body_bytes = 1024;

const std::string& alias_of(const server::Request& request) {
    const std::string& alias = request.path_parameter("alias");
    if (!is_alias(alias)) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "\"alias\" in the path is not well-formed");
    }
    return alias;
}

void write_alias(base::JsonWriter& out, const std::string& alias, const base::Uuid& key_id) {
    out.begin_object().field("alias", alias).field("key_id", key_id.to_string()).end_object();
}

server::Response alias_answer(const std::string& alias, const base::Uuid& key_id) {
    base::JsonWriter answer;
    write_alias(answer, alias, key_id);
    return server::json_answer(std::move(answer));
}

}  // namespace

std::vector<server::Route> Api::alias_routes() {
    using server::Access;
    using server::Method;
    return {
        {Method::GET, "/v1/aliases", list_keys, Access::authenticated, 0,
         "List aliases, a page at a time",
         [this](server::Operation& operation, const server::Request& request) {
             return list_aliases(operation, request);
         }},
        server::changing({Method::PUT, "/v1/aliases/{alias}", change_alias, Access::authenticated,
                          max_alias_body_bytes, "Give an alias to a master key, or move it there",
                          [this](server::Operation& operation, const server::Request& request) {
                              return put_alias(operation, request);
                          }}),
        server::changing({Method::DELETE, "/v1/aliases/{alias}", change_alias,
                          Access::authenticated, 0, "Take an alias away",
                          [this](server::Operation& operation, const server::Request& request) {
                              return delete_alias(operation, request);
                          }}),
    };
}

server::Response Api::list_aliases(server::Operation& operation, const server::Request& request) {
    static_cast<void>(parts_.authorizer.authorize(operation, list_keys, all_keys()));
    const PageRequest wanted = read_page(request);
    if (!wanted.cursor.empty() && !is_alias(wanted.cursor)) refuse_cursor();
    auto aliases = parts_.catalogue.snapshot()->alias_page(wanted.cursor, wanted.limit + 1);
    const bool is_last = aliases.size() <= wanted.limit;
    if (!is_last) aliases.pop_back();
    base::JsonWriter answer;
    answer.begin_object().name("aliases").begin_array();
    for (const auto& alias : aliases) write_alias(answer, alias.name, alias.key->id);
    answer.end_array();
    if (!is_last) answer.field("next_cursor", to_cursor(aliases.back().name));
    answer.end_object();
    return server::json_answer(std::move(answer));
}

// Three questions to the policy: about the key, about the key under the new name (so that who
// governs some names only can't take others), and about the key that loses the name.
server::Response Api::put_alias(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const std::string& alias = alias_of(request);
    const base::JsonValue body = parse_body(request, max_alias_body_bytes);
    base::JsonReader reader(body);
    const base::Uuid key_id = reader.required_uuid("key");
    reader.refuse_unknown();

    const auto snapshot = parts_.catalogue.snapshot();
    const KeyPointer key = snapshot->find(key_id);
    server::Resource resource;
    resource.kind = key_kind;
    resource.id = key_id.to_string();
    if (key != nullptr) resource = key_resource(*key);
    server::Resource renamed = resource;
    renamed.aliases = {alias};
    const server::Grant grant = parts_.authorizer.authorize(operation, change_alias, resource);
    static_cast<void>(parts_.authorizer.authorize(operation, change_alias, std::move(renamed)));
    const KeyPointer holder = snapshot->find_alias(alias);
    std::optional<server::Grant> from;
    if (holder != nullptr) {
        from = parts_.authorizer.authorize(operation, change_alias, key_resource(*holder));
    }
    if (key == nullptr) refuse_unknown_key(parts_.authorizer, operation, resource);

    operation.set_fact("alias", alias);
    if (holder != nullptr) operation.set_fact("from_key_id", holder->id.to_string());
    const auto work = [&](const std::string& request_id) {
        operation.record_intent();
        parts_.lifecycle.set_alias(grant, from ? &*from : nullptr, alias, {request_id, {}});
        return alias_answer(alias, key_id);
    };
    return parts_.idempotency.once(operation, request, work,
                                   [&] { return alias_answer(alias, key_id); });
}

// Two questions: about the key, and about the key under this name alone.
server::Response Api::delete_alias(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const NamedKey named = name_key(request);
    const std::string& alias = request.path_parameter("alias");
    server::Resource by_this_name = named.resource;
    by_this_name.aliases = {alias};
    const server::Grant grant =
        parts_.authorizer.authorize(operation, change_alias, named.resource);
    static_cast<void>(
        parts_.authorizer.authorize(operation, change_alias, std::move(by_this_name)));
    operation.set_fact("alias", alias);
    const auto removed = [&] {
        base::JsonWriter answer;
        answer.begin_object().field("alias", alias).end_object();
        return server::json_answer(std::move(answer));
    };
    const auto work = [&](const std::string& request_id) {
        if (named.key == nullptr) refuse_unknown_key(parts_.authorizer, operation, named.resource);
        operation.set_fact("from_key_id", named.key->id.to_string());
        operation.record_intent();
        parts_.lifecycle.remove_alias(grant, alias, {request_id, {}});
        return removed();
    };
    return parts_.idempotency.once(operation, request, work, removed);
}

}  // namespace kms
