#include "vault/value_api.h"

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/digest.h"
#include "vault/actions.h"
#include "vault/item_answers.h"
#include "vault/record.h"
#include "vault/request_body.h"

namespace vault {
namespace {

using base::Error;
using base::JsonReader;
using base::JsonWriter;

constexpr std::size_t max_values_body_bytes = 2UL * 1024 * 1024;
constexpr std::size_t max_values_body_depth = max_body_depth + 3;  // "items", its items, "value"

// As the request has them; views into its body.
struct WantedValue {
    const base::JsonValue* value;
    std::string context;
};
struct WantedValues {
    bool many = false;
    std::vector<WantedValue> values;
};

WantedValue read_value(JsonReader& reader) {
    WantedValue wanted{&reader.required_value("value"),
                       std::string(reader.required_string("context", max_name_bytes))};
    if (!is_safe_name(wanted.context)) {
        reader.refuse("context",
                      "must have letters, digits and characters of ._-:@+=,~ only and not be dots "
                      "alone");
    }
    reader.refuse_unknown();
    return wanted;
}

WantedValues read_values(const base::JsonValue& body) {
    JsonReader reader(body);
    WantedValues wanted;
    const auto* items = reader.optional_array("items", max_values, 1);
    if (items == nullptr) {
        wanted.values.push_back(read_value(reader));
        return wanted;
    }
    reader.refuse_unknown();
    wanted.many = true;
    wanted.values.reserve(items->size());
    for (std::size_t i = 0; i < items->size(); ++i) {
        JsonReader item((*items)[i], reader.item_path("items", i));
        wanted.values.push_back(read_value(item));
    }
    return wanted;
}

void write_result(JsonWriter& out, const base::JsonValue& given, const SealedValue& sealed) {
    out.begin_object().name("value");
    // A text that held sealed JSON stays a text.
    if (given.string() != nullptr && sealed.state != SealedValue::State::sealed) {
        out.string(sealed.text);
    } else {
        out.raw(sealed.text);
    }
    out.field("state", to_string(sealed.state));
    out.field("key_id", sealed.master_key.key_id.to_string());
    out.field("key_version", sealed.master_key.version).end_object();
}

void write_result(JsonWriter& out, const base::JsonValue& /*given*/, const OpenedValue& opened) {
    out.begin_object().name("value").raw(opened.text.expose_text());
    out.field("sealed", opened.master_key.has_value()).field("reseal", opened.reseal);
    if (opened.master_key) {
        out.field("key_id", opened.master_key->key_id.to_string());
        out.field("key_version", opened.master_key->version);
    }
    out.end_object();
}

ItemKeys keys_of(const SealedValue& sealed) { return {key_word(sealed.master_key), {}}; }
// What passed through unsealed was opened with none.
ItemKeys keys_of(const OpenedValue& opened) {
    return {{}, opened.master_key ? key_word(*opened.master_key) : std::string()};
}

void note_keys(server::Operation& operation, const SealedValue& sealed) {
    operation.set_fact("made", key_word(sealed.master_key));
}
void note_keys(server::Operation& operation, const OpenedValue& opened) {
    if (!opened.master_key) return;
    operation.set_fact("key_id", opened.master_key->key_id.to_string());
    operation.set_fact("key_version", std::to_string(opened.master_key->version));
}

// Which right each value needs, and the jobs of those that have it.
class Jobs {
public:
    Jobs(ItemRights& rights, const std::string& owner, const WantedValues& wanted)
        : wanted_(wanted) {
        for (const WantedValue& one : wanted.values) {
            const ItemVerdict& verdict = rights.to(value_resource(owner, one.context));
            verdicts_.push_back(&verdict);
            if (verdict.grant) jobs_.push_back({&*verdict.grant, one.value});
        }
    }

    std::span<const ValueJob> jobs() const { return jobs_; }

    // One result for each value, in order.
    template <typename Result>
    server::Response answer(server::Operation& operation,
                            const std::vector<std::variant<Result, Error>>& outcomes) const {
        if (!wanted_.many) return answer_one(operation, outcomes);
        ItemAnswers answers(operation);
        std::size_t next = 0;
        for (std::size_t i = 0; i < verdicts_.size(); ++i) {
            const ItemVerdict& verdict = *verdicts_[i];
            const auto* outcome = verdict.grant ? &outcomes.at(next++) : nullptr;
            const Error* error = outcome == nullptr ? &*verdict.error : std::get_if<Error>(outcome);
            const auto& [value, context] = wanted_.values[i];
            if (error != nullptr) {
                answers.add_error(context, *error, verdict);
            } else {
                const auto& result = std::get<Result>(*outcome);
                write_result(answers.add(context, keys_of(result), verdict), *value, result);
            }
        }
        return answers.take();
    }

    // The positions of the values whose jobs are at `places`.
    std::vector<std::size_t> positions(const std::vector<std::size_t>& places) const {
        std::vector<std::size_t> found;
        std::size_t job = 0;
        for (std::size_t i = 0; i < verdicts_.size(); ++i) {
            if (!verdicts_[i]->grant) continue;
            if (found.size() < places.size() && places[found.size()] == job) found.push_back(i);
            ++job;
        }
        return found;
    }

private:
    template <typename Result>
    server::Response answer_one(server::Operation& operation,
                                const std::vector<std::variant<Result, Error>>& outcomes) const {
        if (!verdicts_.front()->grant) throw Error(*verdicts_.front()->error);
        if (const auto* error = std::get_if<Error>(&outcomes.at(0))) throw Error(*error);
        const auto& result = std::get<Result>(outcomes.front());
        note_keys(operation, result);
        JsonWriter out;
        write_result(out, *wanted_.values.front().value, result);
        return server::json_answer(std::move(out));
    }

    const WantedValues& wanted_;
    std::vector<const ItemVerdict*> verdicts_;
    std::vector<ValueJob> jobs_;
};

// Each sealed value is a record of its own for record budgets, whatever its context: by a hash,
// since what passes through unsealed is no name.
void name_records(server::Operation& operation, const WantedValues& wanted) {
    server::Sha256 digest;
    for (const WantedValue& one : wanted.values) {
        const auto hash = digest.digest(base::to_json(*one.value));
        operation.add_record(base::as_text(hash));
    }
}

const std::string& owner_of(const server::Operation& operation, const ValueOwners& owners) {
    const std::string& id = operation.caller().id;
    const auto found = owners.find(id);
    return found == owners.end() ? id : found->second;
}

}  // namespace

ValueApi::ValueApi(ValueApiParts parts) : parts_(std::move(parts)) {}

std::vector<server::Route> ValueApi::routes() {
    using server::Access;
    using server::Method;
    return {
        {Method::POST, "/v1/seal", seal_value, Access::authenticated, max_values_body_bytes,
         "Seal one value or up to 100, to be kept by the caller",
         [this](server::Operation& operation, const server::Request& request) {
             return seal(operation, request);
         }},
        {Method::POST, "/v1/open", open_value, Access::authenticated, max_values_body_bytes,
         "Open one sealed value or up to 100",
         [this](server::Operation& operation, const server::Request& request) {
             return open(operation, request);
         }},
    };
}

server::Response ValueApi::seal(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const std::string& owner = owner_of(operation, parts_.owners);
    ItemRights rights(parts_.authorizer, operation, seal_value);
    rights.require_any(value_resource(owner, "*"));
    const auto body = read_body(request, max_values_body_bytes, max_values_body_depth);
    const WantedValues wanted = read_values(body);
    operation.set_work(wanted.values.size());
    const Jobs jobs(rights, owner, wanted);
    return jobs.answer(operation, parts_.service.seal(jobs.jobs(), operation.traceparent()));
}

server::Response ValueApi::open(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const std::string& owner = owner_of(operation, parts_.owners);
    ItemRights rights(parts_.authorizer, operation, open_value);
    rights.require_any(value_resource(owner, "*"));
    const auto body = read_body(request, max_values_body_bytes, max_values_body_depth);
    const WantedValues wanted = read_values(body);
    operation.set_work(wanted.values.size());
    name_records(operation, wanted);
    const Jobs jobs(rights, owner, wanted);
    const auto outcomes = parts_.service.open(jobs.jobs(), operation.traceparent());
    std::vector<std::size_t> plaintext;
    std::vector<std::size_t> from_cache;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        const auto* opened = std::get_if<OpenedValue>(&outcomes[i]);
        if (opened != nullptr && !opened->master_key) plaintext.push_back(i);
        if (opened != nullptr && opened->key_from_cache) from_cache.push_back(i);
    }
    note_plaintext(operation, jobs.positions(plaintext));
    note_data_keys(operation, jobs.positions(from_cache));
    return jobs.answer(operation, outcomes);
}

// What passed through unsealed is counted and recorded by its position, never by its content.
void ValueApi::note_plaintext(server::Operation& operation,
                              const std::vector<std::size_t>& items) const {
    if (items.empty()) return;
    operation.set_fact("plaintext", to_positions(items));
    parts_.metrics.count("plaintext_opened", static_cast<double>(items.size()));
}

}  // namespace vault
