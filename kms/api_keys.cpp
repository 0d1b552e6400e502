// Keys on the wire: create, list, describe.
#include <charconv>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "server/answer.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_create_body_bytes = 16UL * 1024;
constexpr std::size_t max_description_bytes = 256;
constexpr std::size_t max_tags = 50;
constexpr std::size_t max_tags_bytes = 4096;
constexpr std::int64_t max_page = 100;
constexpr std::int64_t default_page = 50;

server::Resource all_keys() {
    server::Resource resource;
    resource.kind = key_kind;
    resource.id = "*";
    return resource;
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
    reader.refuse_unknown();
    return wanted;
}

[[noreturn]] void refuse_parameter(std::string_view name, std::string_view complaint) {
    throw Error(ErrorCode::invalid_argument,
                "\"" + std::string(name) + "\" in the query " + std::string(complaint));
}

std::size_t parse_limit(const std::string& text) {
    std::int64_t limit = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, limit);
    if (error != std::errc() || stop != end || limit < 1 || limit > max_page) {
        refuse_parameter("limit", "must be an integer from 1 to " + std::to_string(max_page));
    }
    return static_cast<std::size_t>(limit);
}

struct PageRequest {
    std::size_t limit = default_page;
    std::optional<base::Uuid> after;
};

PageRequest read_page(const server::Request& request, const CatalogueSnapshot& keys) {
    PageRequest page;
    for (const auto& [name, value] : request.query_parameters()) {
        if (name == "limit") {
            page.limit = parse_limit(value);
        } else if (name == "cursor") {
            const auto bytes = base::parse_hex(value);
            if (bytes && bytes->size() == base::Uuid::size) {
                page.after = base::Uuid::from_bytes(*bytes);
            }
            if (!page.after || keys.find(*page.after) == nullptr) {
                refuse_parameter("cursor", "is not one that this service gave");
            }
        } else {
            refuse_parameter(name, "is not a known parameter");
        }
    }
    return page;
}

void write_optional(base::JsonWriter& out, std::string_view name, std::optional<bool> value) {
    out.name(name);
    if (value) {
        out.boolean(*value);
    } else {
        out.null();
    }
}

// What the token said; null when it has no such key.
void write_attributes(base::JsonWriter& out, const std::optional<hsm::KeyAttributes>& attributes) {
    out.name("attributes");
    if (!attributes) {
        out.null();
        return;
    }
    out.begin_object();
    write_optional(out, "sensitive", attributes->sensitive);
    write_optional(out, "extractable", attributes->extractable);
    write_optional(out, "always_sensitive", attributes->always_sensitive);
    write_optional(out, "never_extractable", attributes->never_extractable);
    write_optional(out, "local", attributes->local);
    out.field("mechanism", attributes->mechanism);
    out.name("check_value").begin_object();
    out.field("value", base::to_hex(attributes->check_value));
    out.field("method", "CKA_CHECK_VALUE: first bytes of a zero block under AES-ECB");
    out.end_object().end_object();
}

void write_version(base::JsonWriter& out, const KeyVersion& version,
                   const std::optional<hsm::KeyAttributes>* attributes) {
    out.begin_object().field("version", version.version);
    out.field("state", to_string(version.state));
    out.field("created_at", base::to_rfc3339(version.created_at));
    out.field("token_key_id", base::to_hex(version.token_key_id.bytes()));
    out.field("wraps_reserved", version.wraps_reserved);
    if (attributes != nullptr) write_attributes(out, *attributes);
    out.end_object();
}

// `attributes` has one for each version, or is empty for an answer without them.
void write_key(base::JsonWriter& out, const Key& key,
               std::span<const std::optional<hsm::KeyAttributes>> attributes = {}) {
    out.begin_object().field("id", key.id.to_string());
    out.field("state", to_string(key.state)).field("profile", hsm::to_string(key.profile));
    out.field("description", key.description).field("tags", key.tags);
    out.name("aliases").begin_array();
    for (const auto& alias : key.aliases) out.string(alias);
    out.end_array();
    out.field("primary_version", key.primary_version);
    out.field("created_at", base::to_rfc3339(key.created_at));
    out.name("versions").begin_array();
    for (std::size_t i = 0; i < key.versions.size(); ++i) {
        write_version(out, key.versions[i], i < attributes.size() ? &attributes[i] : nullptr);
    }
    out.end_array().end_object();
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
        {Method::POST, "/v1/keys", create_key, Access::authenticated, max_create_body_bytes,
         "Make a master key in the token",
         [this](server::Operation& operation, const server::Request& request) {
             return create(operation, request);
         }},
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
    const base::JsonValue body = parse_body(request, max_create_body_bytes);
    const NewKey wanted = read_new_key(body);
    const server::Grant grant = parts_.authorizer.authorize(operation, create_key, all_keys());
    const KeyDescription made = parts_.lifecycle.create(grant, wanted);
    operation.set_fact("key_id", made.key->id.to_string());
    base::JsonWriter answer;
    write_key(answer, *made.key, made.attributes);
    return server::json_answer(std::move(answer), 201);
}

server::Response Api::list(server::Operation& operation, const server::Request& request) {
    const server::Grant grant = parts_.authorizer.authorize(operation, list_keys, all_keys());
    const PageRequest wanted = read_page(request, *parts_.catalogue.snapshot());
    const KeyPage page = parts_.lifecycle.list(grant, wanted.after, wanted.limit);
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
    NamedKey named = name_key(request);
    const server::Grant grant =
        parts_.authorizer.authorize(operation, describe_key, std::move(named.resource));
    if (named.key == nullptr) throw Error(ErrorCode::not_found, "there is no such key");
    const KeyDescription description = parts_.lifecycle.describe(grant, named.key->id);
    base::JsonWriter answer;
    write_key(answer, *description.key, description.attributes);
    return server::json_answer(std::move(answer));
}

}  // namespace kms
