// Keys on the wire: create, list, describe.
#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/api_limits.h"
#include "kms/api_page.h"
#include "kms/context_rule_json.h"
#include "kms/key_json.h"
#include "server/answer.h"

namespace kms {
namespace {

std::string kind_words() {
    std::string words;
    for (const auto kind : hsm::all_key_kinds) {
        words += (words.empty() ? "" : ", ") + std::string(hsm::to_string(kind));
    }
    return words;
}

NewKey read_new_key(const base::JsonValue& body) {
    base::JsonReader reader(body);
    NewKey wanted;
    wanted.alias = reader.optional_string("alias", 64).value_or("");
    if (!wanted.alias.empty() && !is_alias(wanted.alias)) {
        reader.refuse("alias",
                      "must start with a letter or digit and have only lower-case letters, digits, "
                      "'-', '_' and '.'");
    }
    wanted.description =
        reader.optional_string("description", max_description_bytes, 0).value_or("");
    wanted.tags = reader.optional_string_map("tags", max_tags, max_tags_bytes);
    if (const auto profile = reader.optional_string("profile", 64)) {
        const auto parsed = hsm::parse_key_profile(*profile);
        if (!parsed) reader.refuse("profile", "must be \"sealed\" or \"restorable\"");
        wanted.profile = *parsed;
    }
    if (const auto kind = reader.optional_string("kind", 64)) {
        const auto parsed = hsm::parse_key_kind(*kind);
        if (!parsed) reader.refuse("kind", "must be one of " + kind_words());
        wanted.kind = *parsed;
    }
    if (const auto days =
            reader.optional_integer("rotation_period_days", 1, max_rotation_period_days)) {
        wanted.rotation_period_days = static_cast<int>(*days);
    }
    if (auto rule = reader.optional_object("context_rule")) {
        wanted.context_rule = read_context_rule(*rule);
    }
    reader.refuse_unknown();
    return wanted;
}

}  // namespace

std::vector<server::Route> Api::key_routes() {
    using server::Access;
    using server::Method;
    const auto describe_handler = [this](server::Operation& operation,
                                         const server::Request& request) {
        return describe(operation, request);
    };
    return {
        server::changing({Method::POST, "/v1/keys", create_key, Access::authenticated,
                          max_key_body_bytes, "Make a master key in the token",
                          [this](server::Operation& operation, const server::Request& request) {
                              return create(operation, request);
                          }}),
        {Method::GET, "/v1/keys", list_keys, Access::authenticated, 0,
         "List master keys, a page at a time",
         [this](server::Operation& operation, const server::Request& request) {
             return list(operation, request);
         }},
        {Method::GET, "/v1/keys/{key}", describe_key, Access::authenticated, 0,
         "Describe a master key, with the attributes that the token gives", describe_handler},
        {Method::GET, "/v1/keys/alias/{alias}", describe_key, Access::authenticated, 0,
         "Describe a master key by its alias", describe_handler},
    };
}

server::Response Api::create(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const base::JsonValue body = parse_body(request, max_key_body_bytes);
    const NewKey wanted = read_new_key(body);
    const server::Grant grant = parts_.authorizer.authorize(operation, create_key, all_keys());
    if (!wanted.alias.empty()) {
        // Who may make keys may not therefore give them names that policies go by.
        server::Resource named;
        named.kind = key_kind;
        named.aliases = {wanted.alias};
        static_cast<void>(parts_.authorizer.authorize(operation, change_alias, std::move(named)));
    }
    if (!wanted.tags.empty()) {
        // Nor tags, which policies go by as well.
        server::Resource tagged;
        tagged.kind = key_kind;
        if (!wanted.alias.empty()) tagged.aliases = {wanted.alias};
        tagged.tags = wanted.tags;
        static_cast<void>(parts_.authorizer.authorize(operation, tag_key, std::move(tagged)));
    }
    const auto make = [&](const std::string& request_id) {
        const KeyDescription made =
            parts_.lifecycle.create(grant, wanted, order_context(request_id, operation));
        operation.set_fact("key_id", made.key->id.to_string());
        base::JsonWriter answer;
        write_description(answer, made);
        return server::json_answer(std::move(answer), 201);
    };
    return parts_.idempotency.once(operation, request, make);
}

server::Response Api::list(server::Operation& operation, const server::Request& request) {
    const server::Grant grant = parts_.authorizer.authorize(operation, list_keys, all_keys());
    const PageRequest wanted = read_page(request);
    std::optional<base::Uuid> after;
    if (!wanted.cursor.empty()) {
        if (wanted.cursor.size() != base::Uuid::size) refuse_cursor();
        after = base::Uuid::from_bytes(base::as_bytes(wanted.cursor));
        if (parts_.catalogue.snapshot()->find(*after) == nullptr) refuse_cursor();
    }
    const KeyPage page = parts_.lifecycle.list(grant, after, wanted.limit);
    base::JsonWriter answer;
    answer.begin_object().name("keys").begin_array();
    for (const auto& key : page.keys) write_key(answer, *key);
    answer.end_array();
    if (page.next) answer.field("next_cursor", base::to_hex(page.next->bytes()));
    answer.end_object();
    return server::json_answer(std::move(answer));
}

server::Response Api::describe(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const AllowedKey key = authorize_key(operation, request, describe_key);
    base::JsonWriter answer;
    write_description(answer, parts_.lifecycle.describe(key.grant, key.id));
    return server::json_answer(std::move(answer));
}

}  // namespace kms
