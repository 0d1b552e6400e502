// Data keys on the wire: make and wrap, unwrap one or many.
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "server/answer.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_data_keys_body_bytes = 64UL * 1024;
constexpr std::size_t max_unwrap_body_bytes = 1024UL * 1024;  // 100 items with large contexts

std::string version_name(const base::Uuid& key_id, std::uint32_t version) {
    return key_id.to_string() + "/" + std::to_string(version);
}

EncryptionContext read_context(base::JsonReader& reader) {
    return reader.optional_string_map("context", max_context_entries, max_context_bytes);
}

void write_plaintext(base::JsonWriter& out, const base::SecretBytes& plaintext,
                     const WrappedDataKey& wrapped) {
    out.begin_object().name("plaintext").base64(plaintext.expose());
    out.field("key_id", wrapped.key_id.to_string()).field("key_version", wrapped.key_version);
    out.end_object();
}

void write_error(base::JsonWriter& out, const Error& error) {
    out.begin_object().name("error").begin_object();
    out.field("code", base::to_string(error.code())).field("message", error.message());
    out.end_object().end_object();
}

// The answer to one item of a batch on its way: a job for the token, or a refusal that stands.
struct BatchItem {
    std::optional<WrappedDataKey> wrapped;
    std::optional<std::size_t> job;
    Error error = base::decryption_failed();
};

// What was decided for one key and context.
struct Verdict {
    std::optional<server::Grant> grant;
    Error error = base::decryption_failed();
};

}  // namespace

std::vector<server::Route> Api::data_key_routes() {
    using server::Access;
    using server::Method;
    const auto create_handler = [this](server::Operation& operation,
                                       const server::Request& request) {
        return create_data_keys(operation, request);
    };
    return {
        {Method::POST, "/v1/keys/{key}/data-keys", create_data_key, Access::authenticated,
         max_data_keys_body_bytes, "Make data keys, wrapped under a master key", create_handler},
        {Method::POST, "/v1/keys/alias/{alias}/data-keys", create_data_key, Access::authenticated,
         max_data_keys_body_bytes, "Make data keys, wrapped under the master key of an alias",
         create_handler},
        {Method::POST, "/v1/data-keys/unwrap", unwrap_data_key, Access::authenticated,
         max_unwrap_body_bytes, "Unwrap one data key or many",
         [this](server::Operation& operation, const server::Request& request) {
             return unwrap(operation, request);
         }},
    };
}

server::Response Api::create_data_keys(server::Operation& operation,
                                       const server::Request& request) {
    server::refuse_query(request);
    NamedKey named = name_key(request);
    const base::JsonValue body = parse_body(request, max_data_keys_body_bytes);
    base::JsonReader reader(body);
    const EncryptionContext context = read_context(reader);
    NewDataKeys wanted;
    wanted.bytes = static_cast<std::size_t>(
        reader.optional_integer("bytes", min_data_key_bytes, max_data_key_bytes).value_or(32));
    wanted.count =
        static_cast<std::size_t>(reader.optional_integer("count", 1, max_batch).value_or(1));
    wanted.with_plaintext = reader.optional_boolean("plaintext").value_or(true);
    reader.refuse_unknown();

    const server::Grant grant =
        parts_.authorizer.authorize(operation, create_data_key, std::move(named.resource), context);
    if (named.key == nullptr) throw Error(ErrorCode::not_found, "there is no such key");
    const FreshDataKeys fresh =
        parts_.service.create_data_keys(grant, named.key->id, context, wanted);
    operation.set_fact("key_version", std::to_string(fresh.key_version));
    operation.set_fact("count", std::to_string(fresh.keys.size()));

    base::JsonWriter answer;
    answer.begin_object().field("key_id", fresh.key_id.to_string());
    answer.field("key_version", fresh.key_version).name("data_keys").begin_array();
    for (const auto& key : fresh.keys) {
        answer.begin_object().name("wrapped").base64(key.wrapped);
        if (wanted.with_plaintext) answer.name("plaintext").base64(key.plaintext.expose());
        answer.end_object();
    }
    answer.end_array().end_object();
    return server::json_answer(std::move(answer));
}

Api::UnwrapRequest Api::read_unwrap(base::JsonReader& reader) {
    UnwrapRequest wanted;
    // Any length passes: what is no wrapped data key gets the one answer of everything that does
    // not open.
    wanted.wrapped = reader.required_base64("wrapped", max_unwrap_body_bytes, 0);
    wanted.context = read_context(reader);
    reader.refuse_unknown();
    return wanted;
}

server::Response Api::unwrap(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const base::JsonValue body = parse_body(request, max_unwrap_body_bytes);
    base::JsonReader reader(body);
    std::vector<UnwrapRequest> wanted;
    const base::JsonValue::Array* items = reader.optional_array("items", max_batch, 1);
    if (items == nullptr) {
        wanted.push_back(read_unwrap(reader));
    } else {
        reader.refuse_unknown();
        for (std::size_t i = 0; i < items->size(); ++i) {
            base::JsonReader item((*items)[i], reader.item_path("items", i));
            wanted.push_back(read_unwrap(item));
        }
    }
    // Who has no right to any key learns nothing from the blob, whatever it is.
    if (!parts_.authorizer.may_ever(operation.caller(), unwrap_data_key)) {
        server::Resource any_key;
        any_key.kind = key_kind;
        any_key.id = "*";
        static_cast<void>(
            parts_.authorizer.authorize(operation, unwrap_data_key, std::move(any_key)));
    }
    if (items == nullptr) return unwrap_one(operation, std::move(wanted.front()));
    return unwrap_many(operation, std::move(wanted));
}

// A key that the caller may not use looks like one that does not exist, unless the caller may see
// it anyway.
server::Grant Api::authorize_unwrap(server::Operation& operation, const KeyPointer& key,
                                    const EncryptionContext& context) const {
    server::Resource resource = key_resource(*key);
    try {
        return parts_.authorizer.authorize(operation, unwrap_data_key, resource, context);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::permission_denied) throw;
        if (parts_.authorizer.would_allow(operation, describe_key, std::move(resource))) throw;
    }
    throw base::decryption_failed("no right to unwrap under this key");
}

server::Response Api::unwrap_one(server::Operation& operation, UnwrapRequest wanted) {
    auto wrapped = parse_wrapped(wanted.wrapped);
    if (!wrapped) throw base::decryption_failed("not a wrapped data key");
    const KeyPointer key = parts_.catalogue.snapshot()->find(wrapped->key_id);
    if (key == nullptr) throw base::decryption_failed("no such key");
    const server::Grant grant = authorize_unwrap(operation, key, wanted.context);
    operation.set_fact("key_version", std::to_string(wrapped->key_version));
    const UnwrapJob job{&grant, std::move(*wrapped), canonical_context(wanted.context)};
    const base::SecretBytes plaintext = parts_.service.unwrap(job);
    base::JsonWriter answer;
    write_plaintext(answer, plaintext, job.wrapped);
    return server::json_answer(std::move(answer));
}

server::Response Api::unwrap_many(server::Operation& operation, std::vector<UnwrapRequest> wanted) {
    const auto snapshot = parts_.catalogue.snapshot();
    // Decided once for each key and context; std::map keeps the grants where they are.
    std::map<std::pair<base::Uuid, base::Bytes>, Verdict> verdicts;
    const auto decide = [&](const KeyPointer& key, const EncryptionContext& context) {
        Verdict verdict;
        try {
            verdict.grant = authorize_unwrap(operation, key, context);
        } catch (const Error& error) {
            verdict.error = error;
        }
        return verdict;
    };

    std::vector<BatchItem> items(wanted.size());
    std::vector<UnwrapJob> jobs;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        items[i].wrapped = parse_wrapped(wanted[i].wrapped);
        if (!items[i].wrapped) continue;
        const KeyPointer key = snapshot->find(items[i].wrapped->key_id);
        if (key == nullptr) continue;
        base::Bytes context = canonical_context(wanted[i].context);
        auto verdict = verdicts.find({key->id, context});
        if (verdict == verdicts.end()) {
            verdict =
                verdicts.emplace(std::make_pair(key->id, context), decide(key, wanted[i].context))
                    .first;
        }
        if (!verdict->second.grant) {
            items[i].error = verdict->second.error;
            continue;
        }
        items[i].job = jobs.size();
        jobs.push_back({&*verdict->second.grant, *items[i].wrapped, std::move(context)});
    }
    const std::vector<UnwrapAnswer> opened = parts_.service.unwrap_many(jobs);

    base::JsonWriter answer;
    answer.begin_object().name("results").begin_array();
    for (const BatchItem& item : items) {
        const UnwrapAnswer* result = item.job ? &opened[*item.job] : nullptr;
        const std::string name =
            item.wrapped ? version_name(item.wrapped->key_id, item.wrapped->key_version) : "";
        if (result != nullptr && std::holds_alternative<base::SecretBytes>(*result)) {
            write_plaintext(answer, std::get<base::SecretBytes>(*result), *item.wrapped);
            operation.add_item({name, "ok"});
            continue;
        }
        const Error& error = result == nullptr ? item.error : std::get<Error>(*result);
        write_error(answer, error);
        operation.add_item({name, std::string(base::to_string(error.code()))});
    }
    answer.end_array().end_object();
    return server::json_answer(std::move(answer));
}

}  // namespace kms
