// Data keys on the wire: make and wrap, unwrap one or many.
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/api_data.h"
#include "kms/batch.h"
#include "kms/each_key.h"
#include "server/answer.h"
#include "server/gate_trace.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

// One thing to unwrap, as the request has it.
struct UnwrapRequest {
    base::Bytes wrapped;
    const Context* context;
    std::string traceparent;  // of an item of a call that holds the work of several traces
};

constexpr std::size_t max_traceparent_bytes = 256;

// As with the header, a text that is malformed is no reason to refuse (Trace Context 3.2.2.2). What
// is no text, or longer than any can be, is refused.
std::string read_traceparent(base::JsonReader& item) {
    const auto text = item.optional_string("traceparent", max_traceparent_bytes);
    return text && server::is_traceparent(*text) ? std::string(*text) : std::string();
}

UnwrapRequest read_unwrap(base::JsonReader& reader, Rights& rights) {
    UnwrapRequest wanted{};
    // Any length passes: what is no wrapped data key gets the one answer of everything that does
    // not open.
    wanted.wrapped = reader.required_base64("wrapped", max_batch_body_bytes, 0);
    wanted.context = &rights.context(read_context(reader));
    return wanted;
}

void write_plaintext(base::JsonWriter& out, const base::SecretBytes& plaintext,
                     const Envelope& envelope) {
    out.begin_object().name("plaintext").base64(plaintext.expose());
    write_key(out, envelope);
    out.end_object();
}

// One item on its way to its result: a job for the service, or a refusal that stands.
struct UnwrapItem {
    Named name;
    const Verdict* verdict = nullptr;
    std::optional<std::size_t> job;  // of its call's
    std::string traceparent{};
};

// Takes what is well-formed and allowed as a job of the call whose first is at `first`.
UnwrapItem prepare(const UnwrapRequest& wanted, const CatalogueSnapshot& snapshot, Rights& rights,
                   std::size_t first, std::vector<OpenJob>& jobs) {
    UnwrapItem item;
    item.traceparent = wanted.traceparent;
    auto envelope = parse_envelope(EnvelopeKind::data_key, wanted.wrapped);
    if (!envelope) return item;
    item.name = {envelope->key_id, envelope->key_version};
    const KeyPointer key = snapshot.find(envelope->key_id);
    if (key == nullptr) return item;
    item.verdict = &rights.to_open(unwrap_data_key, key, *wanted.context);
    if (!item.verdict->grant) return item;
    item.job = jobs.size() - first;
    jobs.push_back({&*item.verdict->grant,
                    item.verdict->compromised ? &*item.verdict->compromised : nullptr,
                    wanted.context, std::move(*envelope)});
    return item;
}

// One call on its way to its answer. The jobs of several calls go to the service together.
class UnwrapCall {
public:
    UnwrapCall(const server::Authorizer& authorizer, server::Operation& operation)
        : operation_(operation), rights_(std::make_unique<Rights>(authorizer, operation)) {}

    // Adds what is to be opened to `jobs`. Throws what the caller is to hear, having added nothing.
    void begin(const server::Request& request, const Catalogue& catalogue,
               std::vector<OpenJob>& jobs) {
        server::refuse_query(request);
        // Who has no right to any key learns nothing from the blob, whatever it is; nor does he
        // fill the memory, since what a large body says takes many times its room.
        rights_->require_any(unwrap_data_key);
        const base::JsonValue body = parse_body(request, max_batch_body_bytes, max_batch_values);
        const std::vector<UnwrapRequest> wanted = read(body);
        for (const auto& one : wanted) operation_.add_record(base::as_text(one.wrapped));
        const auto snapshot = catalogue.snapshot();
        items_.reserve(wanted.size());
        first_ = jobs.size();
        try {
            for (const auto& one : wanted)
                items_.push_back(prepare(one, *snapshot, *rights_, first_, jobs));
        } catch (...) {
            jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(first_), jobs.end());
            throw;
        }
        count_ = jobs.size() - first_;
    }

    // Of what there is of all calls, this one's.
    template <typename Each>
    std::span<const Each> own(const std::vector<Each>& all) const {
        return std::span(all).subspan(first_, count_);
    }

    // With this call's jobs and answers. Throws what the caller is to hear.
    server::Response answer(std::span<const OpenJob> jobs, std::span<const OpenAnswer> opened) {
        return is_list_ ? answer_many(jobs, opened) : answer_one(jobs, opened);
    }

private:
    std::vector<UnwrapRequest> read(const base::JsonValue& body) {
        base::JsonReader reader(body);
        std::vector<UnwrapRequest> wanted;
        const base::JsonValue::Array* list = reader.optional_array("items", max_batch, 1);
        is_list_ = list != nullptr;
        if (!is_list_) {
            wanted.push_back(read_unwrap(reader, *rights_));
            reader.refuse_unknown();
            return wanted;
        }
        reader.refuse_unknown();
        operation_.set_work(list->size());
        wanted.reserve(list->size());
        for (std::size_t i = 0; i < list->size(); ++i) {
            base::JsonReader item((*list)[i], reader.item_path("items", i));
            wanted.push_back(read_unwrap(item, *rights_));
            wanted.back().traceparent = read_traceparent(item);
            item.refuse_unknown();
        }
        return wanted;
    }

    static const Error* error_of(const UnwrapItem& item, std::span<const OpenAnswer> opened) {
        static const Error unknown = base::decryption_failed();
        if (item.job) return std::get_if<Error>(&opened[*item.job]);
        return item.verdict == nullptr ? &unknown : &item.verdict->refusal();
    }

    server::Response answer_one(std::span<const OpenJob> jobs, std::span<const OpenAnswer> opened) {
        const UnwrapItem& item = items_.front();
        if (item.name.version != 0) {
            operation_.set_fact("key_version", std::to_string(item.name.version));
        }
        if (const Error* error = error_of(item, opened)) throw Error(*error);
        base::JsonWriter answer;
        write_plaintext(answer, std::get<base::SecretBytes>(opened[*item.job]),
                        jobs[*item.job].envelope);
        return server::json_answer(std::move(answer));
    }

    server::Response answer_many(std::span<const OpenJob> jobs,
                                 std::span<const OpenAnswer> opened) {
        ItemRows rows;
        base::JsonWriter answer;
        answer.begin_object().name("results").begin_array();
        for (const UnwrapItem& item : items_) {
            const Error* error = error_of(item, opened);
            if (error == nullptr) {
                write_plaintext(answer, std::get<base::SecretBytes>(opened[*item.job]),
                                jobs[*item.job].envelope);
            } else {
                write_error(answer, *error);
            }
            rows.add(item.name, error, {},
                     item.verdict == nullptr ? std::nullopt : std::optional(item.verdict->decision),
                     item.traceparent);
        }
        answer.end_array().end_object();
        rows.write_to(operation_);
        return server::json_answer(std::move(answer));
    }

    server::Operation& operation_;
    std::unique_ptr<Rights> rights_;  // the jobs point into it
    bool is_list_ = false;
    std::size_t first_ = 0;  // of its jobs among those of all calls
    std::size_t count_ = 0;
    std::vector<UnwrapItem> items_;
};

}  // namespace

EncryptionContext read_context(base::JsonReader& reader, std::string_view field) {
    return reader.optional_string_map(field, max_context_entries, max_context_bytes);
}

void write_error(base::JsonWriter& out, const Error& error) {
    out.begin_object().name("error").begin_object();
    out.field("code", base::to_string(error.code())).field("message", error.message());
    out.end_object().end_object();
}

void write_key(base::JsonWriter& out, const Envelope& envelope) {
    out.field("key_id", envelope.key_id.to_string()).field("key_version", envelope.key_version);
}

std::vector<server::Route> Api::data_key_routes() {
    using server::Access;
    using server::Method;
    const auto create_handler = [this](server::Operation& operation,
                                       const server::Request& request) {
        return create_data_keys(operation, request);
    };
    return {
        {Method::POST, "/v1/keys/{key}/data-keys", create_data_key, Access::authenticated,
         max_data_body_bytes, "Make data keys, wrapped under a master key", create_handler},
        {Method::POST, "/v1/keys/alias/{alias}/data-keys", create_data_key, Access::authenticated,
         max_data_body_bytes, "Make data keys, wrapped under the master key of an alias",
         create_handler},
        {Method::POST,
         "/v1/data-keys/unwrap",
         unwrap_data_key,
         Access::authenticated,
         max_batch_body_bytes,
         "Unwrap one data key or up to 1,000",
         [this](server::Operation& operation, const server::Request& request) {
             return unwrap(operation, request);
         },
         {},
         server::Credential::any,
         false,
         [this](std::span<server::JointCall> calls) { unwrap_together(calls); }},
        {Method::POST, "/v1/data-keys/rewrap", rewrap_data_key, Access::authenticated,
         max_batch_body_bytes,
         "Wrap one data key or up to 1,000 anew, with its commitment where that is asked for",
         [this](server::Operation& operation, const server::Request& request) {
             return rewrap(operation, request);
         }},
    };
}

server::Response Api::create_data_keys(server::Operation& operation,
                                       const server::Request& request) {
    server::refuse_query(request);
    NamedKey named = name_key(request);
    const base::JsonValue body = parse_body(request, max_data_body_bytes);
    base::JsonReader reader(body);
    const Context context(read_context(reader));
    NewDataKeys wanted;
    wanted.bytes = static_cast<std::size_t>(
        reader.optional_integer("bytes", min_data_key_bytes, max_data_key_bytes).value_or(32));
    wanted.count =
        static_cast<std::size_t>(reader.optional_integer("count", 1, max_batch).value_or(1));
    wanted.with_plaintext = reader.optional_boolean("plaintext").value_or(true);
    reader.refuse_unknown();
    operation.set_work(wanted.count);

    const server::Grant grant =
        parts_.authorizer.authorize(operation, create_data_key, named.resource, context.entries);
    if (named.key == nullptr) refuse_unknown_key(parts_.authorizer, operation, named.resource);
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

server::Response Api::unwrap(server::Operation& operation, const server::Request& request) {
    UnwrapCall call(parts_.authorizer, operation);
    std::vector<OpenJob> jobs;
    call.begin(request, parts_.catalogue, jobs);
    return call.answer(jobs, parts_.service.unwrap_many(jobs));
}

void Api::unwrap_together(std::span<server::JointCall> calls) {
    std::vector<UnwrapCall> begun;
    begun.reserve(calls.size());
    std::vector<OpenJob> jobs;
    for (auto& call : calls) {
        begun.emplace_back(parts_.authorizer, call.operation);
        server::settle(call, [&]() -> std::optional<server::Response> {
            begun.back().begin(call.request, parts_.catalogue, jobs);
            return std::nullopt;
        });
    }
    std::optional<std::vector<OpenAnswer>> opened;
    const auto start = std::chrono::steady_clock::now();
    try {
        opened = parts_.service.unwrap_many(jobs);
    } catch (const Error&) {
        // It may be one call's key. Each is asked by itself then, unless the token hangs.
        if (std::chrono::steady_clock::now() - start > quick_failure) throw;
    }
    for (std::size_t i = 0; i < calls.size(); ++i) {
        if (calls[i].error) continue;
        server::settle(calls[i], [&] {
            const auto own = begun[i].own(jobs);
            if (opened) return std::optional(begun[i].answer(own, begun[i].own(*opened)));
            return std::optional(begun[i].answer(own, parts_.service.unwrap_many(own)));
        });
    }
}

}  // namespace kms
