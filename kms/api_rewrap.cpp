// Wrapping data keys anew on the wire: one or many, under the same key or another.
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/api_data.h"
#include "kms/batch.h"
#include "server/answer.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_key_name_bytes = 70;  // "alias/" and 64

// One thing to wrap anew, as the request has it.
struct RewrapRequest {
    base::Bytes wrapped;
    const Context* context;
    const NamedKey* to_key;  // null: the key that it has
    const Context* to_context;
};

RewrapRequest read_rewrap(base::JsonReader& reader, const CatalogueSnapshot& snapshot,
                          Rights& rights) {
    RewrapRequest wanted{};
    wanted.wrapped = reader.required_base64("wrapped", max_batch_body_bytes, 0);
    wanted.context = &rights.context(read_context(reader));
    if (const auto name = reader.optional_string("to_key", max_key_name_bytes)) {
        wanted.to_key = &rights.named(snapshot, *name, reader.path_of("to_key"));
    }
    // An empty map is another context than none given.
    wanted.to_context = reader.has("to_context")
                            ? &rights.context(read_context(reader, "to_context"))
                            : wanted.context;
    reader.refuse_unknown();
    return wanted;
}

// One item on its way to its result: a job for the service, or a refusal that stands.
struct RewrapItem {
    Named name;
    std::optional<std::size_t> job;
    std::optional<std::size_t> decision;
    Error error = base::decryption_failed();
};

// Takes what is well-formed and allowed as a job. The source is asked about first: who has no right
// to it learns nothing of the target.
RewrapItem prepare(const RewrapRequest& wanted, const CatalogueSnapshot& snapshot, Rights& rights,
                   std::vector<RewrapJob>& jobs) {
    RewrapItem item;
    auto envelope = parse_envelope(EnvelopeKind::data_key, wanted.wrapped);
    if (!envelope) return item;
    item.name = {envelope->key_id, envelope->key_version};
    const KeyPointer key = snapshot.find(envelope->key_id);
    if (key == nullptr) return item;
    const Verdict& source = rights.to_open(rewrap_data_key, key, *wanted.context);
    item.decision = source.decision;
    item.error = source.refusal();
    if (!source.grant) return item;
    const NamedKey& to_key = wanted.to_key != nullptr
                                 ? *wanted.to_key
                                 : rights.named(snapshot, key->id.to_string(), "to_key");
    const Verdict& target = rights.to_use(rewrap_data_key, to_key, *wanted.to_context);
    item.error = target.refusal();
    if (!target.grant) return item;
    item.job = jobs.size();
    jobs.push_back({{&*source.grant, source.compromised ? &*source.compromised : nullptr,
                     wanted.context, std::move(*envelope)},
                    &*target.grant,
                    to_key.key->id,
                    wanted.to_context});
    return item;
}

// `commitment` is null when nobody asked for it.
void write_wrapped(base::JsonWriter& out, const Envelope& envelope,
                   const base::KeyCommitment* commitment) {
    out.begin_object().name("wrapped").base64(to_bytes(envelope));
    write_key(out, envelope);
    if (commitment != nullptr) out.name("commitment").base64(*commitment);
    out.end_object();
}

Named name_of(const Envelope& envelope) { return {envelope.key_id, envelope.key_version}; }

server::Response answer_one(KeyService& service, server::Operation& operation,
                            const RewrapItem& item, std::span<const RewrapJob> jobs, bool commits) {
    if (item.name.version != 0) operation.set_fact("from", item.name.to_string());
    if (!item.job) throw Error(item.error);
    std::vector<base::KeyCommitment> commitments;
    const Envelope anew = service.rewrap(jobs.front(), commits ? &commitments : nullptr);
    operation.set_fact("to", name_of(anew).to_string());
    base::JsonWriter answer;
    write_wrapped(answer, anew, commits ? commitments.data() : nullptr);
    return server::json_answer(std::move(answer));
}

server::Response answer_many(KeyService& service, server::Operation& operation,
                             std::span<const RewrapItem> items, std::span<const RewrapJob> jobs,
                             bool commits) {
    std::vector<base::KeyCommitment> commitments;
    const std::vector<SealAnswer> sealed =
        service.rewrap_many(jobs, commits ? &commitments : nullptr);
    ItemRows rows;
    base::JsonWriter answer;
    answer.begin_object().name("results").begin_array();
    for (const RewrapItem& item : items) {
        const Error* error = item.job ? std::get_if<Error>(&sealed[*item.job]) : &item.error;
        Named made;
        if (error == nullptr) {
            const auto& anew = std::get<Envelope>(sealed[*item.job]);
            made = name_of(anew);
            write_wrapped(answer, anew, commits ? &commitments[*item.job] : nullptr);
        } else {
            write_error(answer, *error);
        }
        rows.add(item.name, error, made, item.decision);
    }
    answer.end_array().end_object();
    rows.write_to(operation);
    return server::json_answer(std::move(answer));
}

}  // namespace

server::Response Api::rewrap(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    Rights rights(parts_.authorizer, operation);
    // Before a body that may be large is read, as for unwraps.
    rights.require_any(rewrap_data_key);
    const auto snapshot = parts_.catalogue.snapshot();
    const base::JsonValue body = parse_body(request, max_batch_body_bytes, max_batch_values);
    base::JsonReader reader(body);
    std::vector<RewrapRequest> wanted;
    const bool commits = reader.optional_boolean("commitment").value_or(false);
    const base::JsonValue::Array* list = reader.optional_array("items", max_batch, 1);
    if (list == nullptr) {
        wanted.push_back(read_rewrap(reader, *snapshot, rights));
    } else {
        reader.refuse_unknown();
        operation.set_work(list->size());
        wanted.reserve(list->size());
        for (std::size_t i = 0; i < list->size(); ++i) {
            base::JsonReader item((*list)[i], reader.item_path("items", i));
            wanted.push_back(read_rewrap(item, *snapshot, rights));
        }
    }

    std::vector<RewrapJob> jobs;
    jobs.reserve(wanted.size());
    std::vector<RewrapItem> items;
    items.reserve(wanted.size());
    for (const auto& one : wanted) items.push_back(prepare(one, *snapshot, rights, jobs));
    if (list == nullptr) return answer_one(parts_.service, operation, items.front(), jobs, commits);
    return answer_many(parts_.service, operation, items, jobs, commits);
}

}  // namespace kms
