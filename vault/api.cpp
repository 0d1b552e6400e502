#include "vault/api.h"

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/operational_routes.h"
#include "vault/actions.h"
#include "vault/begin_anew.h"
#include "vault/credential_answers.h"
#include "vault/item_answers.h"
#include "vault/request_body.h"
#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonReader;
using base::JsonWriter;

// A secret and its metadata at their largest, with room for white space and escapes.
constexpr std::size_t max_store_body_bytes = 128UL * 1024;
constexpr std::size_t max_reveal_body_bytes = 1024;
constexpr std::size_t max_reveals_body_bytes = 64UL * 1024;

// The compact text of a field. Throws when it is too large.
base::WipedString compact(const JsonReader& reader, std::string_view name,
                          const base::JsonValue& value, std::size_t max_bytes) {
    base::WipedString text = base::to_json(value);
    if (text.size() > max_bytes) {
        reader.refuse(name,
                      "must have at most " + std::to_string(max_bytes) + " bytes as compact JSON");
    }
    return text;
}

// As /v1/seal sees it: sealed JSON as a text, too, and what begins like it.
bool looks_sealed(const base::JsonValue& secret) {
    try {
        return sealed_in(secret).has_value();
    } catch (const Error&) {
        return true;
    }
}

// Any JSON, null as well: what a credential holds is its owner's affair.
base::SecretBytes read_secret(JsonReader& reader) {
    const base::JsonValue& secret = reader.required_value("secret");
    if (looks_sealed(secret)) {
        reader.refuse("secret", "is sealed already: it has, or begins with, a field \"__enc\"");
    }
    return base::SecretBytes(base::as_bytes(compact(reader, "secret", secret, max_secret_bytes)));
}

StoreRequest read_store_request(const base::JsonValue& body) {
    JsonReader reader(body);
    StoreRequest wanted;
    wanted.secret = read_secret(reader);
    if (const auto* metadata = reader.optional_value("metadata")) {
        if (metadata->object() == nullptr) reader.refuse("metadata", "must be an object");
        wanted.metadata = compact(reader, "metadata", *metadata, max_metadata_bytes);
    }
    if (reader.has("tags")) {
        wanted.tags = reader.optional_string_map(
            "tags", max_tags, max_tags * (max_tag_name_bytes + max_tag_value_bytes));
        if (!are_tags(*wanted.tags)) {
            reader.refuse("tags",
                          "must have names of up to 64 and values of up to 128 letters, digits and "
                          "characters of ._-:@+=,~");
        }
    }
    if (const auto expires_at = reader.optional_string("expires_at", 64)) {
        wanted.expires_at = read_time(reader, "expires_at", *expires_at);
    }
    wanted.if_version = read_version(reader, "if_version", 0);
    reader.refuse_unknown();
    return wanted;
}

struct RevealRequest {
    std::optional<std::uint64_t> version;
    std::string reason;
};

std::string read_reason(JsonReader& reader) {
    const auto reason = reader.optional_string("reason", max_reason_bytes);
    if (!reason) return {};
    if (!is_reason(*reason)) {
        reader.refuse("reason",
                      "must be a line of text without control characters, and not blanks alone");
    }
    return std::string(*reason);
}

RevealRequest read_reveal_request(const server::Request& request) {
    RevealRequest wanted;
    if (request.body.empty()) return wanted;
    const base::JsonValue body = read_body(request, max_reveal_body_bytes);
    JsonReader reader(body);
    wanted.version = read_version(reader, "version", 1);
    wanted.reason = read_reason(reader);
    reader.refuse_unknown();
    return wanted;
}

// Before the secret is asked for, so that it stands in the record whatever comes of that.
void note_reason(server::Operation& operation, const std::string& reason) {
    if (!reason.empty()) operation.set_fact("reason", reason);
}

struct NamedReveal {
    std::string name;
    std::optional<std::uint64_t> version;
};

struct ManyReveals {
    std::vector<NamedReveal> items;
    std::string reason;  // of them all
};

ManyReveals read_reveals(const server::Request& request) {
    const base::JsonValue body = read_body(request, max_reveals_body_bytes);
    JsonReader reader(body);
    const auto& items = reader.required_array("items", max_reveals);
    ManyReveals wanted;
    wanted.items.reserve(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        JsonReader item(items[i], reader.item_path("items", i));
        NamedReveal one;
        one.name = item.required_string("name", max_name_bytes);
        if (!is_safe_name(one.name)) {
            item.refuse("name",
                        "must have letters, digits and characters of ._-:@+=,~ only and "
                        "not be dots alone");
        }
        one.version = read_version(item, "version", 1);
        item.refuse_unknown();
        wanted.items.push_back(std::move(one));
    }
    wanted.reason = read_reason(reader);
    reader.refuse_unknown();
    return wanted;
}

// Their answers are no orders' to remember: they have secrets in them, or the version that was made
// says it better.
constexpr std::string_view own_repetition =
    "a store or restore with if_version is done once however often it is sent, and every other "
    "call "
    "may be repeated as it is";
constexpr std::string_view openapi_text =
    "POST and DELETE of API tokens, /v1/budgets/lift and /v1/backups take the header "
    "Idempotency-Key, 1 to 128 visible ASCII characters: the same request of the same caller has "
    "the same answer for 24 hours, another request with the same key is answered with 409. The "
    "text of an API token is shown once: the repeated order is answered with 409, which names the "
    "token that it made. All other POST, PUT and DELETE under /v1 refuse the header with 400. A "
    "store or a "
    "restore with if_version is done once however often it is sent; the others may be repeated as "
    "they are.\n\n"
    "Bodies over 16 KiB share 96 MiB over all connections, peers without a client certificate half "
    "of that and one address of theirs 16 MiB: beyond that the answer is 503 with Retry-After, "
    "before the body is read.";

}  // namespace

Api::Api(ApiParts parts)
    : parts_(std::move(parts)),
      list_(parts_.service, parts_.authorizer, parts_.log),
      history_(parts_.service, parts_.authorizer),
      destruction_(parts_.service, parts_.authorizer) {}

std::vector<server::Route> Api::routes() {
    using server::Access;
    using server::Method;
    using server::Operation;
    using server::Request;
    constexpr std::string_view one = "/v1/owners/{owner}/credentials/{name}";
    std::vector<server::Route> rows = {
        server::changing({Method::PUT, one, store_credential, Access::authenticated,
                          max_store_body_bytes, "Store a secret as a new version of a credential",
                          [this](Operation& operation, const Request& request) {
                              return store(operation, request);
                          }}),
        {Method::GET, one, describe_credential, Access::authenticated, 0,
         "Metadata, versions and expiry of a credential, never its secret",
         [this](Operation& operation, const Request& request) {
             return describe(operation, request);
         }},
        {Method::POST, "/v1/owners/{owner}/credentials/{name}/reveal", reveal_credential,
         Access::authenticated, max_reveal_body_bytes, "The secret of a credential",
         [this](Operation& operation, const Request& request) {
             return reveal(operation, request);
         }},
        {Method::POST, "/v1/owners/{owner}/reveal", reveal_credential, Access::authenticated,
         max_reveals_body_bytes, "The secrets of up to 100 credentials of an owner",
         [this](Operation& operation, const Request& request) {
             return reveal_many(operation, request);
         }},
    };
    rows = server::join(std::move(rows), list_.routes());
    rows = server::join(std::move(rows), history_.routes());
    rows = server::join(std::move(rows), destruction_.routes());
    rows = server::join(std::move(rows), parts_.more_routes);
    for (auto& row : rows) row = server::without_orders(std::move(row), own_repetition);
    for (const auto& row : parts_.common_routes) {
        rows.push_back(parts_.orders == nullptr
                           ? server::without_orders(row, own_repetition)
                           : server::done_once(row, *parts_.orders, parts_.authorizer));
    }
    rows = server::join(std::move(rows), parts_.foreign_routes);
    std::vector<server::ReadinessCheck> checks{{"store", [this] { parts_.store.check(); }},
                                               {"audit", [this] { parts_.audit.check(); }},
                                               {"kms", [this] { parts_.keys.check(); }}};
    checks.insert(checks.end(), parts_.more_checks.begin(), parts_.more_checks.end());
    return server::with_operational_routes(std::move(rows),
                                           {.authorizer = parts_.authorizer,
                                            .metrics = parts_.metrics,
                                            .observe = observe,
                                            .daemon = "vaultd",
                                            .title = "Strongroom credential vault",
                                            .version = STRONGROOM_VERSION,
                                            .checks = std::move(checks),
                                            .description = std::string(openapi_text)});
}

server::Grant Api::authorize(server::Operation& operation, server::Action action,
                             const server::Request& request) const {
    CredentialId id{safe_parameter(request, "owner"), safe_parameter(request, "name")};
    return parts_.authorizer.authorize(operation, action,
                                       parts_.service.resource(parts_.authorizer, id));
}

server::Response Api::store(server::Operation& operation, const server::Request& request) {
    const CredentialId id{safe_parameter(request, "owner"), safe_parameter(request, "name")};
    const auto grant = parts_.authorizer.authorize(
        operation, store_credential, parts_.service.resource_to_store(parts_.authorizer, id));
    server::refuse_query(request);
    StoreRequest wanted = read_store_request(read_body(request, max_store_body_bytes));
    if (wanted.tags) {
        wanted.replaced_tags = require_new_tags(operation, grant.resource(), *wanted.tags);
    }
    if (wanted.tags && wanted.metadata) {
        wanted.may_begin_anew = [&] { return may_begin_anew(parts_.authorizer, operation, id); };
    }
    operation.record_intent();
    const auto result = parts_.service.store(grant, wanted, operation.traceparent());
    note_version(operation, result.info.current());
    note_replaced(operation, result);
    require_copy(operation, result.copy, not_copied);
    return credential_answer(result.info, parts_.service.now(), result.created ? 201 : 200);
}

// Tags decide who may do what with all versions, the old secrets too, so to give other ones is a
// right of its own, with the old tags and with the new: who may only store takes no credential to
// where his rights are, nor out of what a rule says of its tags. Whether or not the policy of today
// asks for tags: tomorrow's may. Old ones that can't be read are any.
std::optional<Tags> Api::require_new_tags(server::Operation& operation, server::Resource resource,
                                          const Tags& tags) const {
    resource.tags_left_out = false;
    std::optional<Tags> old;
    bool is_readable = true;
    try {
        old = parts_.service.tags({resource.owner, resource.id});
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
        is_readable = false;
    }
    if (is_readable && old.value_or(Tags{}) == tags) return tags;
    if (old || !is_readable) {
        resource.tags = old.value_or(Tags{});
        resource.of_many = !is_readable;
        static_cast<void>(parts_.authorizer.authorize(operation, tag_credential, resource));
    }
    resource.of_many = false;
    resource.tags = tags;
    static_cast<void>(parts_.authorizer.authorize(operation, tag_credential, resource));
    if (parts_.authorizer.asks_for_tags()) {
        static_cast<void>(
            parts_.authorizer.authorize(operation, store_credential, std::move(resource)));
    }
    return is_readable ? std::optional(old.value_or(Tags{})) : std::nullopt;
}

server::Response Api::describe(server::Operation& operation, const server::Request& request) {
    const auto grant = authorize(operation, describe_credential, request);
    server::refuse_query(request);
    return credential_answer(parts_.service.describe(grant), parts_.service.now(), 200);
}

server::Response Api::reveal(server::Operation& operation, const server::Request& request) {
    const auto grant = authorize(operation, reveal_credential, request);
    server::refuse_query(request);
    const RevealRequest wanted = read_reveal_request(request);
    if (wanted.version) operation.set_fact("version", std::to_string(*wanted.version));
    note_reason(operation, wanted.reason);
    const Revealed revealed =
        parts_.service.reveal(grant, wanted.version, operation.traceparent(), wanted.reason);
    note_version(operation, revealed.version);
    note_data_key(operation, revealed.key_from_cache);
    JsonWriter body;
    body.begin_object();
    write_fields(body, revealed.info, revealed.version, parts_.service.now());
    body.name("secret").raw(revealed.secret.expose_text()).end_object();
    return server::json_answer(std::move(body));
}

server::Response Api::reveal_many(server::Operation& operation, const server::Request& request) {
    const std::string owner = safe_parameter(request, "owner");
    server::refuse_query(request);
    ItemRights rights(parts_.authorizer, operation, reveal_credential);
    rights.require_any(credentials_resource(owner));
    const ManyReveals all = read_reveals(request);
    const std::vector<NamedReveal>& wanted = all.items;
    operation.set_work(wanted.size());
    note_reason(operation, all.reason);
    std::vector<const ItemVerdict*> verdicts;
    std::vector<RevealJob> jobs;
    for (const auto& one : wanted) {
        verdicts.push_back(
            &rights.to(parts_.service.resource(parts_.authorizer, {owner, one.name})));
        if (verdicts.back()->grant) {
            jobs.push_back({&*verdicts.back()->grant, one.version, all.reason});
        }
    }
    const auto outcomes = parts_.service.reveal_many(jobs, operation.traceparent());
    const base::Time now = parts_.service.now();
    std::size_t next = 0;
    std::vector<std::size_t> from_cache;
    ItemAnswers answers(operation);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const RevealOutcome* outcome = verdicts[i]->grant ? &outcomes.at(next++) : nullptr;
        const Error* error =
            outcome == nullptr ? &*verdicts[i]->error : std::get_if<Error>(outcome);
        if (error != nullptr) {
            answers.add_error(wanted[i].name, *error, *verdicts[i]);
            continue;
        }
        const auto& revealed = std::get<Revealed>(*outcome);
        if (revealed.key_from_cache) from_cache.push_back(i);
        JsonWriter& out = answers.add(
            wanted[i].name + "/" + std::to_string(revealed.version.version),
            {{}, key_word({revealed.version.key_id, revealed.version.key_version})}, *verdicts[i]);
        out.begin_object();
        write_fields(out, revealed.info, revealed.version, now);
        out.name("secret").raw(revealed.secret.expose_text()).end_object();
    }
    note_data_keys(operation, from_cache);
    return answers.take();
}

}  // namespace vault
